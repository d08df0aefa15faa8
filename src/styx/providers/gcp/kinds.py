"""Machine types: the accelerators in them or attached to them, and what each family asks of an instance.

A machine of the family N1 may be given accelerators, of a kind and count of one's choice. Such a pair is an offer of its own, and its
`instance_type` says both: `n1-standard-8+T4:1`, by the accelerator's common name. All other accelerators belong to a machine type
(`a2-highgpu-1g`) and need no mention.

Memory is told as the machine's own system will see it: firmware and the kernel keep some of it, and a task that asked for the nominal
size would be given a machine that could not hold it. So a sixteenth is taken off, and 64 MiB more below 4 GiB.

Facts are from Google's pages "Machine families resource and comparison guide" and "GPU machine types".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import msgspec

__all__ = [
    "ACCELERATORS",
    "ATTACHABLE",
    "Kind",
    "attached",
    "attachments",
    "parse",
    "plain_name",
    "quota",
    "usable_memory",
]

ACCELERATORS: dict[str, str] = {
    "A100": "nvidia-tesla-a100",
    "A100-80GB": "nvidia-a100-80gb",
    "B200": "nvidia-b200",
    "GB200": "nvidia-gb200",
    "H100": "nvidia-h100-80gb",
    "H100-MEGA": "nvidia-h100-mega-80gb",
    "H200": "nvidia-h200-141gb",
    "L4": "nvidia-l4",
    "P100": "nvidia-tesla-p100",
    "P4": "nvidia-tesla-p4",
    "RTXPRO6000": "nvidia-rtx-pro-6000",
    "T4": "nvidia-tesla-t4",
    "V100": "nvidia-tesla-v100",
}
"""Google's names by the common ones, which are SkyPilot's."""
_PLAIN = {google: plain for plain, google in ACCELERATORS.items()}

ATTACHABLE: dict[str, dict[int, tuple[int, int]]] = {
    "T4": {1: (48, 312), 2: (48, 312), 4: (96, 624)},
    "P4": {1: (24, 156), 2: (48, 312), 4: (96, 624)},
    "V100": {1: (12, 78), 2: (24, 156), 4: (48, 312), 8: (96, 624)},
    "P100": {1: (16, 104), 2: (32, 208), 4: (96, 624)},
}
"""What may be attached to a machine of N1: by accelerator and count, the most vCPUs and GiB of memory that it may have."""

_TYPE = re.compile(r"([a-z][a-z0-9-]{1,60})(?:\+([A-Za-z0-9-]{1,20}):([1-9]\d?))?")
_ARM = ("t2a", "c4a", "n4a", "a4x")
_HYPERDISK = ("n4", "n4a", "n4d", "c4", "c4a", "c4d", "h4d", "x4", "m4", "a4", "a4x", "g4", "a3-ultragpu")
"""Families and types that take no Persistent Disk to boot from, but Hyperdisk Balanced."""
_COMMON = frozenset({"e2", "f1", "g1", "n1"})
"""Families whose CPUs count against one quota."""
_STANDS_STILL = ("a2", "a3", "a4", "a4x", "g2", "g4", "h3", "h4d", "z3", "x4")
"""Families that cannot be moved to another host while they run: the machine is ended when its host has to be."""


class Kind(msgspec.Struct, frozen=True):
    """A machine type with what is attached to it; `accelerator` is Google's name, "" for none."""

    machine_type: str
    accelerator: str = ""
    count: int = 0

    @property
    def family(self) -> str:
        return self.machine_type.partition("-")[0]

    @property
    def accelerated(self) -> bool:
        return bool(self.accelerator) or self.family in {"a2", "a3", "a4", "a4x", "g2", "g4"}

    @property
    def arch(self) -> str:
        return "arm64" if self.family in _ARM else "x86_64"

    @property
    def disk_type(self) -> str:
        series = "-".join(self.machine_type.split("-")[:2])
        newer = self.family in _HYPERDISK or series in _HYPERDISK or self.machine_type.endswith("-metal")
        return "hyperdisk-balanced" if newer else "pd-balanced"

    @property
    def migrates(self) -> bool:
        return not self.accelerator and self.family not in _STANDS_STILL and not self.machine_type.endswith("-metal")


def parse(instance_type: str) -> Kind | None:
    """None for what is no machine type, or names an accelerator that is not known or cannot be attached."""
    match = _TYPE.fullmatch(instance_type)
    if match is None:
        return None
    machine_type, name, count = match.groups()
    if name is None:
        return Kind(machine_type)
    if name not in ATTACHABLE or int(count) not in ATTACHABLE[name] or not machine_type.startswith("n1-"):
        return None
    return Kind(machine_type, ACCELERATORS[name], int(count))


def attached(machine_type: str, accelerators: Iterable[tuple[str, int]]) -> str:
    """The `instance_type` of a machine of Google's, of its machine type and its accelerators by Google's names."""
    for google, count in accelerators:
        if machine_type.startswith("n1-") and count:
            return f"{machine_type}+{plain_name(google)}:{count}"
    return machine_type


def attachments(machine_type: str, cpus: int, memory: int) -> Iterator[tuple[str, str, int]]:
    """What may be attached to a machine type with so many thousandths of a CPU and MiB: how `instance_type` goes on, the accelerator's
    common name, and the count."""
    if not machine_type.startswith("n1-"):
        return
    for name, counts in ATTACHABLE.items():
        for count, (most_cpus, most_memory) in counts.items():
            if cpus <= most_cpus * 1_000 and memory <= most_memory << 10:
                yield f"+{name}:{count}", name, count


def plain_name(google: str) -> str:
    """The common name of an accelerator, "" for what is none that computes (a virtual workstation) or is not known."""
    return _PLAIN.get(google, "")


def quota(instance_type: str, accelerators: Iterable[tuple[str, int]]) -> str:
    """Which of a project's quotas in each region is the first to be used up by such machines: that of the accelerators, where there are
    any, else that of the family's CPUs; N1 and E2 share one. Names are those of the metrics, as far as they follow from ours."""
    for name, _ in accelerators:
        return f"{name}_GPUS"
    family = instance_type.partition("-")[0]
    return "CPUS" if family in _COMMON else f"{family.upper()}_CPUS"


def usable_memory(mebibytes: int) -> int:
    """Bytes that a system sees of a machine with so much memory."""
    return (mebibytes * 15 // 16 - (64 if mebibytes < 4_096 else 0)) << 20
