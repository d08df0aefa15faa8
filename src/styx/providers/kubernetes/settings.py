"""What `[providers.kubernetes]` in `styx.toml` may say. Credentials are those of the kubeconfig, or of the service account of the pod
that the server runs in.

    [providers.kubernetes]
    kubeconfig = "~/.kube/config"            # default: KUBECONFIG, else ~/.kube/config
    image = "python:3.12"                    # of tasks that name none
    contexts = [
      {context = "prod", namespace = "batch", pods = 200, gpus = {A100 = 8}},
      {context = "in-cluster", namespace = "styx"},     # the cluster that the server itself runs in
    ]

Each entry of `contexts` is one place, a node to the scheduler. Whatever it does not say is taken from the table above it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from styx.config.table import Reader, Wrong, flag, read_table, whole
from styx.core.resources import Resources
from styx.core.suggest import one_of
from styx.core.units import byte_count, got, milliseconds, thousandths
from styx.errors import Problem, SpecError

__all__ = ["IN_CLUSTER", "Gpu", "Place", "Settings", "read"]

IN_CLUSTER = "in-cluster"
"""The context of the cluster that the server itself runs in, as the service account of its pod."""

_WHERE = "$.providers.kubernetes"
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_LABEL = re.compile(r"([a-z0-9]([a-z0-9.-]*[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")
_PODS = 100
_EFFECTS = {"", "NoSchedule", "PreferNoSchedule", "NoExecute"}
_NVIDIA = "nvidia.com/gpu"


class Gpu(msgspec.Struct, frozen=True):
    """One kind of accelerator: how many there are, the resource that stands for them, and the labels of the nodes that have them."""

    count: int
    resource: str = _NVIDIA
    select: tuple[tuple[str, str], ...] = ()


class Place(msgspec.Struct, frozen=True):
    """A namespace of a cluster."""

    context: str
    namespace: str = "default"
    image: str = ""
    init_image: str = "python:3.12-slim"
    cpus: int = 0  # thousandths; 0: as many as there may be pods of one CPU
    memory: int = 0  # bytes; 0: no bound but the cluster's own
    disk: int = 0
    gpus: tuple[tuple[str, Gpu], ...] = ()
    pods: int = _PODS
    logs: int = 50  # streams of logs open at once
    image_wait: float = 120.0  # seconds in which an image that cannot be pulled may yet be
    node_wait: float = 300.0  # seconds after which a deleted pod whose node says nothing counts as lost
    limit_cpus: bool = False
    node_selector: tuple[tuple[str, str], ...] = ()
    tolerations: tuple[dict[str, Any], ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    annotations: tuple[tuple[str, str], ...] = ()
    service_account: str = ""
    priority_class: str = ""
    image_pull_secrets: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.context}/{self.namespace}"

    @property
    def capacity(self) -> Resources:
        accelerators = tuple(sorted((name, gpu.count) for name, gpu in self.gpus))
        much = 1 << 60
        return Resources(self.cpus or self.pods * 64_000, self.memory or much, self.disk or much, accelerators)

    def gpu(self, name: str) -> Gpu:
        return dict(self.gpus).get(name, Gpu(0))


class Settings(msgspec.Struct, frozen=True):
    places: tuple[Place, ...]
    kubeconfig: str = ""


def read(given: Mapping[str, Any], environ: Mapping[str, str]) -> Settings:
    """Raises SpecError with every problem at once, paths under `$.providers.kubernetes`."""
    problems: list[Problem] = []
    usual = {key: reader for key, reader in _READERS.items() if key != "context"}
    common = read_table(given, usual, _WHERE, problems, of="kubernetes", beside=("contexts", "kubeconfig"))
    contexts = given.get("contexts")
    places: list[Place] = []
    if not isinstance(contexts, list) or not contexts or not all(isinstance(one, Mapping) for one in contexts):
        hint = 'write contexts = [{context = "NAME", namespace = "NAMESPACE"}]'
        problems.append(Problem(f"{_WHERE}.contexts", f"contexts must be a list of tables, got {got(contexts)}", hint))
        contexts = []
    for at, one in enumerate(contexts):
        where = f"{_WHERE}.contexts[{at}]"
        values = {**common, **read_table(one, _READERS, where, problems, of="kubernetes")}
        if "context" not in one:
            hint = f"a context of the kubeconfig, or {IN_CLUSTER!r}"
            problems.append(Problem(f"{where}.context", "each place names its context", hint))
        elif "context" in values:
            places.append(Place(**values))
    names = [place.name for place in places]
    problems += [
        Problem(f"{_WHERE}.contexts", f"{name} stands in it twice", "one entry for each namespace")
        for name in sorted(set(names))
        if names.count(name) > 1
    ]
    kubeconfig = given.get("kubeconfig", "")
    if not isinstance(kubeconfig, str):
        problems.append(
            Problem(f"{_WHERE}.kubeconfig", f"kubeconfig must be the path of a file, got {got(kubeconfig)}")
        )
        kubeconfig = ""
    if problems:
        raise SpecError(problems)
    return Settings(tuple(places), _path(kubeconfig or environ.get("KUBECONFIG", ""), environ))


def _path(text: str, environ: Mapping[str, str]) -> str:
    """Several, separated as in KUBECONFIG, are read as one."""
    home = environ.get("HOME", "")
    paths = [part for part in text.split(":") if part] or ([f"{home}/.kube/config"] if home else [])
    return ":".join(str(Path(home) / part[2:]) if part.startswith("~/") else part for part in paths)


def _text(what: str, pattern: re.Pattern[str]) -> Callable[[object], str]:
    def take(value: object) -> str:
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise Wrong(f"{what}, got {got(value)}")
        return value

    return take


def _count(most: int) -> Callable[[object], int]:
    return lambda value: whole(value, most)


def _seconds(value: object) -> float:
    return milliseconds(value) / 1_000


def _pairs(value: object) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, Mapping) or not all(
        isinstance(key, str) and _LABEL.fullmatch(key) and isinstance(text, str) for key, text in value.items()
    ):
        raise Wrong(f"a table of labels to texts, got {got(value)}")
    return tuple(value.items())


def _labels(value: object) -> tuple[tuple[str, str], ...]:
    pairs = _pairs(value)
    for key, text in pairs:
        if not _VALUE.fullmatch(text):
            raise Wrong(f"labels with values of at most 63 letters, digits, '-', '_' and '.', got {text!r} for {key}")
    return pairs


def _names(value: object) -> tuple[str, ...]:
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(one, str) and _NAME.fullmatch(one) for one in names):
        raise Wrong(f"a list of names, got {got(value)}")
    return tuple(names)


def _tolerations(value: object) -> tuple[dict[str, Any], ...]:
    known = {"key", "operator", "value", "effect", "tolerationSeconds"}
    if not isinstance(value, list) or not all(isinstance(one, Mapping) for one in value):
        raise Wrong(f"a list of tables, got {got(value)}")
    for one in value:
        strange = sorted(set(one) - known)
        if strange:
            raise Wrong(f"of {one_of(sorted(known))}, got {strange[0]!r} in one")
        if one.get("operator", "Equal") not in {"Equal", "Exists"} or one.get("effect", "") not in _EFFECTS:
            raise Wrong(f"with the operator Equal or Exists and an effect of {one_of(sorted(_EFFECTS - {''}))}")
    return tuple(dict(one) for one in value)


def _gpus(value: object) -> tuple[tuple[str, Gpu], ...]:
    what = 'a table such as {A100 = 8} or {A100 = {count = 8, select = {"nvidia.com/gpu.product" = "NVIDIA-A100"}}}'
    if not isinstance(value, Mapping):
        raise Wrong(f"{what}, got {got(value)}")
    return tuple((str(name), _gpu(one, what)) for name, one in value.items())


def _gpu(value: object, what: str) -> Gpu:
    if not isinstance(value, Mapping):
        return Gpu(whole(value, 1_000_000))
    if "count" not in value or not set(value) <= {"count", "resource", "select"}:
        raise Wrong(f"{what}, got {got(value)}")
    resource = _text("the name of a resource such as nvidia.com/gpu", _LABEL)(value.get("resource", _NVIDIA))
    return Gpu(whole(value["count"], 1_000_000), resource, _labels(value.get("select", {})))


_READERS: dict[str, Reader] = {
    "context": _text("the name of a context", re.compile(r"[^\s/][^\n]{0,252}")),
    "namespace": _text("the name of a namespace", re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")),
    "image": _text("the name of an image", re.compile(r"\S{1,500}")),
    "init_image": _text("the name of an image with Python", re.compile(r"\S{1,500}")),
    "cpus": thousandths,
    "memory": byte_count,
    "disk": byte_count,
    "gpus": _gpus,
    "pods": _count(100_000),
    "logs": _count(5_000),
    "image_wait": _seconds,
    "node_wait": _seconds,
    "limit_cpus": flag,
    "node_selector": _labels,
    "tolerations": _tolerations,
    "labels": _labels,
    "annotations": _pairs,
    "service_account": _text("the name of a service account", _NAME),
    "priority_class": _text("the name of a priority class", _NAME),
    "image_pull_secrets": _names,
}
