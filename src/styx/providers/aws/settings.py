"""What `[providers.aws]` in `styx.toml` may say. Nothing of it is a credential: those are found where every AWS tool finds them
(the environment, `~/.aws`, the machine's role).

    [providers.aws]
    regions = ["us-east-1", "eu-west-1"]   # default: AWS_REGION, AWS_DEFAULT_REGION, or the profile's
    profile = "work"                       # of ~/.aws/config
    images = { x86_64 = "ami-0abc", arm64 = "/my/ssm/parameter" }   # also nvidia-x86_64, nvidia-arm64, neuron-x86_64
    disk = "100GiB"                        # that a machine has for its work, on its root volume (gp3)
    subnets = { us-east-1a = "subnet-0abc" }   # default: the default subnets of the default VPC
    security_group = "styx"                # a name, found or made without inbound rules; or an id (sg-...)
    instance_profile = "workers"           # an IAM instance profile the machines get
    tags = { team = "search" }
    endpoint_url = "http://127.0.0.1:5000" # of every service, for tests
    [providers.aws.functions]              # Lambda as a place; without it there is none
    concurrency = 50                       # invocations at once in each region
"""

from __future__ import annotations

import configparser
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from styx.config.table import Reader, Wrong, byte_size, items, keyed, mapping, read_table, text, url, whole
from styx.core.suggest import did_you_mean
from styx.core.units import got
from styx.errors import Problem, SpecError
from styx.providers.base import CLUSTER_TAG, TOKEN_TAG

__all__ = ["IMAGES", "Settings", "read"]

_DEBIAN = "/aws/service/debian/release/12/latest"
_DEEP_LEARNING = "/aws/service/deeplearning/ami"
IMAGES = {
    "x86_64": f"{_DEBIAN}/amd64",
    "arm64": f"{_DEBIAN}/arm64",
    "nvidia-x86_64": f"{_DEEP_LEARNING}/x86_64/base-oss-nvidia-driver-gpu-ubuntu-24.04/latest/ami-id",
    "nvidia-arm64": f"{_DEEP_LEARNING}/arm64/base-oss-nvidia-driver-gpu-ubuntu-24.04/latest/ami-id",
    "neuron-x86_64": "/aws/service/neuron/dlami/base/ubuntu-24.04/latest/image_id",
}
"""Public parameters that name the newest image in each region. All carry Python 3.11 or later as `python3` (Debian 12: 3.11,
Ubuntu 24.04: 3.12; Amazon Linux 2023 has 3.9), and those for accelerators also the driver, without which no agent finds one."""

_REGION = re.compile(r"[a-z]{2}(?:-[a-z]+)+-\d{1,2}")
_ZONE = re.compile(r"[a-z]{2}(?:-[a-z]+)+-\d{1,2}(?:-[a-z]+-\d)?[a-z]")
_IMAGE = re.compile(r"ami-[0-9a-z]{4,40}|/[A-Za-z0-9_./-]{1,1010}")
_SUBNET = re.compile(r"subnet-[0-9a-f]{8,17}")
_NAME = re.compile(r"[A-Za-z0-9 ._:/()#,@\[\]+=&;{}!$*-]{1,128}")
_MOST_DISK = (
    12 << 40
)  # with what is added for the image and the file system a gp3 volume stays below the 16 TiB of every region


class Settings(msgspec.Struct, frozen=True):
    """`regions` is empty when nothing names one: then nothing can be brought up, and `check` says so."""

    regions: tuple[str, ...] = ()
    profile: str = ""
    endpoint_url: str = ""
    images: tuple[tuple[str, str], ...] = tuple(IMAGES.items())
    disk: int = 100 << 30
    subnets: tuple[tuple[str, str], ...] = ()
    security_group: str = "styx"
    instance_profile: str = ""
    tags: tuple[tuple[str, str], ...] = ()
    concurrency: int = 0  # of functions in each region; 0: functions are not used


def read(given: Mapping[str, Any], environ: Mapping[str, str]) -> Settings:
    """Raises SpecError with every problem at once, paths under `$.providers.aws`."""
    problems: list[Problem] = []
    values = read_table(given, _READERS, "$.providers.aws", problems, of="aws")
    if problems:
        raise SpecError(problems)
    if "functions" in values:
        values["concurrency"] = values.pop("functions")
    if "regions" not in values:
        values["regions"] = _usual_region(environ, values.get("profile", ""))
    return Settings(**values)


def _regions(value: object) -> tuple[str, ...]:
    names = items(value, 50, "a list of regions such as ['us-east-1']")
    read = [text(name, "a region such as us-east-1", _REGION, f"[{at}]") for at, name in enumerate(names)]
    return tuple(dict.fromkeys(read))


def _profile(value: object) -> str:
    return text(value, "the name of a profile in ~/.aws/config", _NAME)


def _disk(value: object) -> int:
    return byte_size(value, 1 << 30, _MOST_DISK, "from 1GiB to 12TiB")


def _images(value: object) -> tuple[tuple[str, str], ...]:
    return keyed(value, "an image id (ami-...) or the name of an SSM parameter (/...)", _IMAGE, IMAGES)


def _subnets(value: object) -> tuple[tuple[str, str], ...]:
    return tuple(
        (
            text(zone, "keyed by zones such as us-east-1a", _ZONE),
            text(subnet, "a subnet's id such as subnet-0123abcd", _SUBNET, f".{zone}"),
        )
        for zone, subnet in mapping(value, "a mapping of zones to subnets").items()
    )


def _group(value: object) -> str:
    return text(value, "the name or the id of a security group", _NAME)


def _role(value: object) -> str:
    return text(value, "the name or the ARN of an instance profile", re.compile(r"[\w+=,.@:/-]{1,300}"))


def _tags(value: object) -> tuple[tuple[str, str], ...]:
    tags: list[tuple[str, str]] = []
    for key, said in mapping(value, "a mapping of names to texts").items():
        if not 1 <= len(key) <= 128 or key.startswith("aws:") or key in {CLUSTER_TAG, TOKEN_TAG, "Name"}:
            raise Wrong(f"named by 1 to 128 characters, and not as Styx's or Amazon's own tags, got {got(key)}")
        if not isinstance(said, str) or len(said) > 256:
            raise Wrong(f"a text of at most 256 characters, got {got(said)}", under=f".{key}")
        tags.append((key, said))
    if len(tags) > 40:
        raise Wrong(f"at most 40, got {len(tags)}")
    return tuple(tags)


def _functions(value: object) -> int:
    table = mapping(value, "a table with `concurrency`")
    for key in table:
        if key != "concurrency":
            raise Wrong(
                f"a table with `concurrency` alone, got {got(key)} in it", hint=did_you_mean(key, ["concurrency"])
            )
    return whole(table.get("concurrency", 50), 10_000, ".concurrency")


_READERS: dict[str, Reader] = {
    "regions": _regions,
    "profile": _profile,
    "endpoint_url": url,
    "images": _images,
    "disk": _disk,
    "subnets": _subnets,
    "security_group": _group,
    "instance_profile": _role,
    "tags": _tags,
    "functions": _functions,
}


def _usual_region(environ: Mapping[str, str], profile: str) -> tuple[str, ...]:
    """The region that other AWS tools would use here."""
    for variable in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        if _REGION.fullmatch(environ.get(variable, "")):
            return (environ[variable],)
    given = environ.get("AWS_CONFIG_FILE", "")
    home = environ.get("HOME", "")
    if not given and not home:
        return ()
    path = Path(given) if given else Path(home) / ".aws" / "config"
    name = profile or environ.get("AWS_PROFILE", "") or "default"
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read(path, encoding="utf-8")
    except (OSError, UnicodeDecodeError, configparser.Error):
        return ()  # the SDK reads the same file, and says what is wrong with it
    section = name if name == "default" else f"profile {name}"
    region = parser.get(section, "region", fallback="").strip()
    return (region,) if _REGION.fullmatch(region) else ()
