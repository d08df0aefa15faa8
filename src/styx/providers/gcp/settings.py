"""What `[providers.gcp]` in `styx.toml` may say.

[providers.gcp]
project = "my-project"                 # default: GOOGLE_CLOUD_PROJECT, or the one that the key file names
zones = ["europe-west4-a", "us-central1-a"]   # where machines may be brought up; default: CLOUDSDK_COMPUTE_ZONE
credentials = "key.json"               # default: what every tool of Google's would find (GOOGLE_APPLICATION_CREDENTIALS,
                                       # the file of `gcloud auth application-default login`, the machine's own account)
images = { x86_64 = "projects/debian-cloud/global/images/family/debian-12" }   # also arm64, nvidia-x86_64, nvidia-arm64
disk = "30GiB"                         # of the boot disk, where a task does not say
network = "default"                    # a name, or projects/P/global/networks/N
subnetworks = { europe-west4 = "workers" }    # by region; default: the network's own in each region
external_ip = false                    # true: each machine gets a public address; else Cloud NAT has to let it out
service_account = "workers@my-project.iam.gserviceaccount.com"   # that the machines get; default: none
network_tags = ["styx"]                # for firewall rules; Styx makes none
labels = { team = "search" }
endpoint = "http://127.0.0.1:5000"     # of every API, for tests
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from styx.config.table import Reader, Wrong, byte_size, flag, items, keyed, mapping, read_table, text, url
from styx.core.units import got
from styx.errors import Problem, SpecError
from styx.providers.base import CLUSTER_TAG, TOKEN_TAG

__all__ = ["IMAGES", "Settings", "read", "region_of"]

_ACCELERATED = "projects/ubuntu-os-accelerator-images/global/images/family/ubuntu-accelerator-2404"
IMAGES = {
    "x86_64": "projects/debian-cloud/global/images/family/debian-12",
    "arm64": "projects/debian-cloud/global/images/family/debian-12-arm64",
    "nvidia-x86_64": f"{_ACCELERATED}-amd64-with-nvidia-580",
    "nvidia-arm64": f"{_ACCELERATED}-arm64-with-nvidia-580",
}
"""Families of public images, of which a machine gets the newest. All carry Python 3.11 or later as `python3` (Debian 12: 3.11,
Ubuntu 24.04: 3.12), and those for accelerators also the driver, without which no agent finds one."""

_PROJECT = re.compile(r"(?:[a-z0-9.-]{1,60}:)?[a-z][a-z0-9-]{4,28}[a-z0-9]")
_ZONE = re.compile(r"[a-z]+-[a-z]+\d{1,2}-[a-z]")
_REGION = re.compile(r"[a-z]+-[a-z]+\d{1,2}")
_NAME = re.compile(r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")
_IMAGE = re.compile(r"(?:https://\S+/)?projects/[\w.:-]+/global/images/(?:family/)?[a-z][a-z0-9-]{0,62}")
_NETWORK = re.compile(r"(?:projects/[\w.:-]+/global/networks/)?[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")
_SUBNETWORK = re.compile(r"(?:projects/[\w.:-]+/regions/[a-z0-9-]+/subnetworks/)?[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")
_ACCOUNT = re.compile(r"default|[^\s@]{1,100}@[^\s@]{1,100}")
_LABEL = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_LABEL_VALUE = re.compile(r"[a-z0-9_-]{0,63}")
_MOST_DISK = 64 << 40  # of a persistent disk


class Settings(msgspec.Struct, frozen=True):
    """`zones` is empty when nothing names one: then nothing can be brought up, and `check` says so. With `project` "" it is the one of
    the credentials."""

    project: str = ""
    zones: tuple[str, ...] = ()
    credentials: str = ""
    endpoint: str = ""
    images: tuple[tuple[str, str], ...] = tuple(IMAGES.items())
    disk: int = 100 << 30
    network: str = "default"
    subnetworks: tuple[tuple[str, str], ...] = ()
    external_ip: bool = False
    service_account: str = ""
    network_tags: tuple[str, ...] = ("styx",)
    labels: tuple[tuple[str, str], ...] = ()


def region_of(zone: str) -> str:
    return zone.rpartition("-")[0]


def read(given: Mapping[str, Any], environ: Mapping[str, str]) -> Settings:
    """Raises SpecError with every problem at once, paths under `$.providers.gcp`."""
    problems: list[Problem] = []
    values = read_table(given, _READERS, "$.providers.gcp", problems, of="gcp")
    if problems:
        raise SpecError(problems)
    if "project" not in values:
        values["project"] = _usual(
            environ, ("GOOGLE_CLOUD_PROJECT", "CLOUDSDK_CORE_PROJECT", "GCLOUD_PROJECT"), _PROJECT
        )
    if "zones" not in values:
        zone = _usual(environ, ("CLOUDSDK_COMPUTE_ZONE",), _ZONE)
        values["zones"] = (zone,) if zone else ()
    return Settings(**values)


def _usual(environ: Mapping[str, str], variables: tuple[str, ...], shape: re.Pattern[str]) -> str:
    """What other tools of Google's would use here."""
    for variable in variables:
        if shape.fullmatch(environ.get(variable, "")):
            return environ[variable]
    return ""


def _project(value: object) -> str:
    return text(value, "a project's id such as my-project-123 (not its name or number)", _PROJECT)


def _zones(value: object) -> tuple[str, ...]:
    names = items(value, 200, "a list of zones such as ['europe-west4-a']")
    found = []
    for at, name in enumerate(names):
        if isinstance(name, str) and _REGION.fullmatch(name):
            raise Wrong(
                f"a list of zones, and {name!r} is a region", under=f"[{at}]", hint=f"its first zone is {name}-a"
            )
        found.append(text(name, "a zone such as europe-west4-a", _ZONE, f"[{at}]"))
    return tuple(dict.fromkeys(found))


def _credentials(value: object) -> str:
    return text(value, "the path of a file with credentials", re.compile(r".*\S.*"))


def _url(value: object) -> str:
    return url(value).rstrip("/")


def _disk(value: object) -> int:
    return byte_size(value, 10 << 30, _MOST_DISK, "from 10GiB to 64TiB")


def _images(value: object) -> tuple[tuple[str, str], ...]:
    return keyed(value, "an image such as projects/debian-cloud/global/images/family/debian-12", _IMAGE, IMAGES)


def _network(value: object) -> str:
    return text(value, "the name of a network, or projects/P/global/networks/N", _NETWORK)


def _subnetworks(value: object) -> tuple[tuple[str, str], ...]:
    what = "the name of a subnetwork, or projects/P/regions/R/subnetworks/S"
    return tuple(
        (text(region, "keyed by regions such as europe-west4", _REGION), text(name, what, _SUBNETWORK, f".{region}"))
        for region, name in mapping(value, "a mapping of regions to subnetworks").items()
    )


def _account(value: object) -> str:
    return text(value, "the address of a service account", _ACCOUNT)


def _tags(value: object) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)) or len(value) > 64:
        raise Wrong(f"a list of at most 64 network tags, got {got(value)}")
    return tuple(
        text(name, "a network tag: lower-case letters, digits and -", _NAME, f"[{at}]") for at, name in enumerate(value)
    )


def _labels(value: object) -> tuple[tuple[str, str], ...]:
    labels: list[tuple[str, str]] = []
    for key, said in mapping(value, "a mapping of names to texts").items():
        if not _LABEL.fullmatch(key) or key in {CLUSTER_TAG, TOKEN_TAG}:
            raise Wrong(f"named by lower-case letters, digits, _ and -, and not as Styx's own labels, got {got(key)}")
        labels.append((key, text(said, "at most 63 lower-case letters, digits, _ and -", _LABEL_VALUE, f".{key}")))
    if len(labels) > 60:
        raise Wrong(f"at most 60, got {len(labels)}")
    return tuple(labels)


_READERS: dict[str, Reader] = {
    "project": _project,
    "zones": _zones,
    "credentials": _credentials,
    "images": _images,
    "disk": _disk,
    "network": _network,
    "subnetworks": _subnetworks,
    "external_ip": flag,
    "service_account": _account,
    "network_tags": _tags,
    "labels": _labels,
    "endpoint": _url,
}
