"""An order as a pod and its Secret. Pure.

Everything of an attempt is named by (cluster, attempt) alone, so that an order repeated is the same pod. The pod carries a finalizer: whoever
deletes it, it stays until its end is on the server's disk, so one that is not there was never made, and its attempt may be made again.

What must not be read by whoever may read pods is in the Secret: secrets, results of other tasks, the ticket for the working folder. It is made
right after the pod, which cannot start without it, and belongs to it: the cluster removes it when the pod is gone, however that came.

Kubernetes replaces `$(NAME)` in commands and in values of variables, and `$$` by `$`; so every `$` is written twice.
"""

from __future__ import annotations

import base64
import functools
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import msgspec

from styx.core.resources import Resources
from styx.protocol.messages import Secret
from styx.providers.base import CLUSTER_TAG, RunOrder
from styx.providers.kubernetes.objects import Pod
from styx.providers.kubernetes.objects import Secret as SecretObject
from styx.providers.kubernetes.settings import Place

__all__ = [
    "ATTEMPT", "FINALIZER", "GONE", "TASK", "WORKDIR", "CannotMake", "Noted",
    "attempt_of", "name_of", "note_of", "noted", "pod_of", "secret_of", "values_of",
]  # fmt: skip

TASK = "task"
WORKDIR = "workdir"
GONE = 3
"""The init container's exit code when the server has the working folder no more; see `fetch`."""

ATTEMPT = "styx-attempt"
FINALIZER = "styx.orchestrator/attempt"
_ORDER = "styx-order"  # the annotation with what a server that starts anew must know
_WORK = "/styx/work"
_RESULTS = "/styx/results"
_LAST_WORDS = "/dev/termination-log"
_MOST = 900_000  # bytes in a Secret, of the 1 MiB it may have with its keys
_ALLOWANCE = (
    3_600  # seconds that the cluster's own deadline leaves for images and working folders: it counts from before these
)
_GPU = "nvidia.com/gpu"


class CannotMake(Exception):
    """There is no such pod; the message says why."""


class Noted(msgspec.Struct, frozen=True, omit_defaults=True):
    """What stands at a pod about its order."""

    resources: Resources = Resources(0)
    timeout: int = 0  # milliseconds
    exclusive: bool = False
    secret: bool = False  # it cannot start without its Secret


def name_of(cluster: str, attempt: int) -> str:
    return f"styx-{cluster}-{attempt}"


def attempt_of(pod: Pod) -> int:
    """-1: it is none of ours."""
    text = (pod.metadata.labels or {}).get(ATTEMPT, "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else -1


def note_of(order: RunOrder) -> Noted:
    spec = order.spec
    return Noted(spec.resources, spec.timeout, spec.exclusive, bool(_secret_data(order)))


def noted(pod: Pod) -> Noted:
    try:
        return msgspec.json.decode((pod.metadata.annotations or {}).get(_ORDER, "{}"), type=Noted)
    except msgspec.MsgspecError:
        return Noted()


def pod_of(order: RunOrder, place: Place) -> dict[str, Any]:
    """The pod. Raises CannotMake."""
    spec = order.spec
    image = spec.image or place.image
    if not image:
        raise CannotMake("it names no image, and the settings of this place have none: give it `image:`")
    task: dict[str, Any] = {
        "name": TASK,
        "image": image,
        "command": ["/bin/sh", "-c", *_literal(spec.command)] if spec.shell else _literal(spec.command),
        "env": _variables(order),
        "resources": _resources(spec.resources, place),
        "terminationMessagePath": _LAST_WORDS,
        "terminationMessagePolicy": "File",
        "volumeMounts": [],
    }
    body: dict[str, Any] = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": max(1, -(-spec.grace // 1_000)),
        "enableServiceLinks": False,
        "automountServiceAccountToken": bool(place.service_account),
        "containers": [task],
        "volumes": [],
    }
    if spec.timeout:
        body["activeDeadlineSeconds"] = -(-spec.timeout // 1_000) + _ALLOWANCE
    if order.archive:
        task["workingDir"] = _WORK
        task["volumeMounts"].append({"name": "work", "mountPath": _WORK})
        body["volumes"].append({"name": "work", "emptyDir": {}})
        body["initContainers"] = [_workdir(order, place)]
    elif spec.workdir:
        task["workingDir"] = spec.workdir
    if order.results:
        items = [{"key": f"result-{at}", "path": name} for at, (name, _) in enumerate(order.results)]
        source = {"secretName": name_of(order.cluster, order.run.attempt), "items": items}
        task["volumeMounts"].append({"name": "results", "mountPath": _RESULTS, "readOnly": True})
        body["volumes"].append({"name": "results", "secret": source})
    _place(body, order, place)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name_of(order.cluster, order.run.attempt),
            "labels": {
                **dict(place.labels),
                "app.kubernetes.io/managed-by": "styx",
                CLUSTER_TAG: order.cluster,
                ATTEMPT: str(order.run.attempt),
                "styx-job": spec.job_id,
            },
            "annotations": {**dict(place.annotations), _ORDER: msgspec.json.encode(note_of(order)).decode()},
            "finalizers": [FINALIZER],
        },
        "spec": body,
    }


def secret_of(order: RunOrder, owner: str) -> dict[str, Any] | None:
    """Its Secret, owned by the pod with this uid; None when it needs none. Raises CannotMake."""
    data = _secret_data(order)
    if not data:
        return None
    if sum(map(len, data.values())) > _MOST:
        raise CannotMake(
            f"its secrets and the results that it needs take more than {_MOST:,} bytes, which is what a Secret of Kubernetes holds"
        )
    name = name_of(order.cluster, order.run.attempt)
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": name,
            "labels": {
                "app.kubernetes.io/managed-by": "styx",
                CLUSTER_TAG: order.cluster,
                ATTEMPT: str(order.run.attempt),
            },
            "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": name, "uid": owner}],
        },
        "type": "Opaque",
        "immutable": True,
        "data": {key: base64.b64encode(value).decode() for key, value in data.items()},
    }


def values_of(secret: SecretObject) -> tuple[Secret, ...]:
    """What is to be struck out of the output of a pod that was found again."""
    found = []
    for key, text in sorted((secret.data or {}).items()):
        if key.startswith("env-"):
            found.append(Secret(key, base64.b64decode(text).decode("utf-8", "surrogateescape")))
    return tuple(found)


def _secret_data(order: RunOrder) -> dict[str, bytes]:
    data = {f"env-{at}": one.value.encode("utf-8", "surrogateescape") for at, one in enumerate(order.secrets)}
    data |= {f"result-{at}": content for at, (_, content) in enumerate(order.results)}
    if order.archive:
        data["ticket"] = order.archive_token.encode()
    return data


def _variables(order: RunOrder) -> list[dict[str, Any]]:
    """The task's own override those of Styx, and secrets both; each name stands once."""
    spec, run = order.spec, order.run
    plain = {
        "STYX_JOB_ID": spec.job_id,
        "STYX_TASK_ID": f"{spec.task_id}.{run.index}" if spec.array else spec.task_id,
        "STYX_TASK_NAME": spec.name,
        "STYX_ATTEMPT": str(run.number),
        "STYX_RESULT": _LAST_WORDS,
    }
    if spec.array:
        plain |= {"STYX_ARRAY_INDEX": str(run.index), "STYX_ARRAY_SIZE": str(spec.array)}
    if order.results:
        plain["STYX_RESULTS"] = _RESULTS
    plain |= dict(spec.env)
    made: dict[str, dict[str, Any]] = {
        name: {"name": name, "value": value.replace("$", "$$")} for name, value in plain.items()
    }
    secret = name_of(order.cluster, run.attempt)
    for at, one in enumerate(order.secrets):
        made[one.name] = {"name": one.name, **_from_secret(secret, f"env-{at}")}
    return list(made.values())


def _from_secret(name: str, key: str) -> dict[str, Any]:
    return {"valueFrom": {"secretKeyRef": {"name": name, "key": key}}}


def _workdir(order: RunOrder, place: Place) -> dict[str, Any]:
    plain = {
        "STYX_ARCHIVE_URL": order.archive_url,
        "STYX_ARCHIVE_SHA256": order.archive,
        "STYX_ARCHIVE_TARGET": _WORK,
        "STYX_ARCHIVE_CA": order.archive_ca,
    }
    env = [{"name": name, "value": value.replace("$", "$$")} for name, value in plain.items() if value]
    secret = name_of(order.cluster, order.run.attempt)
    env.append({"name": "STYX_ARCHIVE_TOKEN", **_from_secret(secret, "ticket")})
    return {
        "name": WORKDIR,
        "image": place.init_image,
        "command": ["python3", "-c", *_literal((_fetch(),))],
        "env": env,
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
        "terminationMessagePath": _LAST_WORDS,
        "volumeMounts": [{"name": "work", "mountPath": _WORK}],
    }


@functools.cache
def _fetch() -> str:
    return (files("styx.providers.kubernetes") / "fetch.py").read_text("utf-8")


def _literal(command: tuple[str, ...]) -> list[str]:
    return [word.replace("$", "$$") for word in command]


def _resources(wanted: Resources, place: Place) -> dict[str, Any]:
    requests: dict[str, str] = {}
    limits: dict[str, str] = {}
    if wanted.cpus:
        requests["cpu"] = f"{wanted.cpus}m"
        if place.limit_cpus:
            limits["cpu"] = f"{wanted.cpus}m"
    if wanted.memory:
        requests["memory"] = limits["memory"] = str(wanted.memory)
    if wanted.disk:
        requests["ephemeral-storage"] = limits["ephemeral-storage"] = str(wanted.disk)
    for name, count in wanted.accelerators:
        resource = place.gpu(name).resource
        total = str(count + int(limits.get(resource, 0)))
        requests[resource] = limits[resource] = total
    return {"requests": requests, "limits": limits}


def _place(body: dict[str, Any], order: RunOrder, place: Place) -> None:
    """Where it may go."""
    selector = dict(place.node_selector)
    tolerations: list[Mapping[str, Any]] = list(place.tolerations)
    for name, _ in order.spec.resources.accelerators:
        gpu = place.gpu(name)
        selector |= dict(gpu.select)
        tolerations.append({"key": gpu.resource, "operator": "Exists", "effect": "NoSchedule"})
    if selector:
        body["nodeSelector"] = selector
    if tolerations:
        body["tolerations"] = tolerations
    if place.service_account:
        body["serviceAccountName"] = place.service_account
    if place.priority_class:
        body["priorityClassName"] = place.priority_class
    if place.image_pull_secrets:
        body["imagePullSecrets"] = [{"name": name} for name in place.image_pull_secrets]
