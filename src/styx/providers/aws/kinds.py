"""What an instance type holds, as the API describes it, and its accelerators by the names that people use (SkyPilot's).

Memory is told as the machine's own system will see it. A type's nominal memory is never all there: firmware, the kernel's own
tables and what it keeps for a crash take 3 to 5 % of a large machine and some 70 MiB of a small one (a "16 GiB" machine shows
15.3 GiB). A task that asked for the nominal size would be given a machine that then could not hold it. So a sixteenth is taken
off, which leaves just more than the decimal size (16 GiB become 15 GiB, which is 16.1 GB), and 64 MiB more below 4 GiB.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from styx.core.resources import Resources

__all__ = ["InstanceType", "accelerators", "described", "image_kind", "quota", "usable_memory"]

_RENAMED = {
    "Radeon Pro V520": "RadeonProV520",
    "RTX PRO Server 6000": "RTXPRO6000",
    "RTX PRO 4500": "RTXPRO4500",
    "Gaudi HL-205": "Gaudi",
    "Qualcomm AI100": "AI100",
    "M60": "M60",
}
_PLAIN_MEMORY = {"A100": 40_960, "V100": 16_384}
"""MiB that the plain name means, of kinds that come in two sizes; the larger is named with it (A100-80GB)."""


class InstanceType(msgspec.Struct, frozen=True, gc=False):
    name: str
    vcpus: int
    memory: int  # MiB, nominal
    arch: str
    accelerators: tuple[tuple[str, int], ...] = ()

    def resources(self, disk: int) -> Resources:
        """What such a machine has with so many bytes of disk."""
        return Resources(self.vcpus * 1_000, usable_memory(self.memory), disk, self.accelerators)


_STANDARD = frozenset("acdhimrtz")
_GROUPS = {
    "dl": "DL", "f": "F", "g": "G and VT", "gr": "G and VT", "hpc": "HPC", "inf": "Inf", "mac": "Mac", "p": "P", "trn": "Trn",
    "u": "High Memory", "vt": "G and VT", "x": "X",
}  # fmt: skip


def quota(name: str, *, spot: bool) -> str:
    """Which of EC2's quotas a machine of this type counts against with its vCPUs, in each region; on demand and spot have each their own.
    From "Amazon EC2 instance type quotas" and "Spot Instance quotas" in the user guide."""
    letters = name[: next((at for at, letter in enumerate(name) if not letter.isalpha()), len(name))]
    group = _GROUPS.get(letters) or ("Standard" if letters[:1] in _STANDARD else letters.upper())
    if spot and group == "P" and name[1:2].isdecimal() and int(name[1:2]) >= 5:
        return "P5"
    return group


def usable_memory(mebibytes: int) -> int:
    """Bytes that a system sees of a machine with so much memory."""
    return (mebibytes * 15 // 16 - (64 if mebibytes < 4_096 else 0)) << 20


def image_kind(arch: str, has: tuple[tuple[str, int], ...]) -> str:
    """Which of `settings.IMAGES` such a machine needs."""
    if not has:
        return arch
    return f"neuron-{arch}" if all(name.startswith(("Inferentia", "Trainium")) for name, _ in has) else f"nvidia-{arch}"


def described(said: Mapping[str, Any]) -> InstanceType | None:
    """From one entry of DescribeInstanceTypes; None for what cannot run an agent as it is (Macs, which come with a host of their
    own, 32-bit and paravirtual types) or whose accelerators cannot be counted whole (a fraction of a GPU)."""
    supported = (said.get("ProcessorInfo") or {}).get("SupportedArchitectures") or []
    arch = next((name for name in ("x86_64", "arm64") if name in supported), "")
    if not arch or "hvm" not in said.get("SupportedVirtualizationTypes", ["hvm"]):
        return None
    has = accelerators(said)
    if has is None:
        return None
    vcpus, memory = int(said["VCpuInfo"]["DefaultVCpus"]), int(said["MemoryInfo"]["SizeInMiB"])
    return InstanceType(str(said["InstanceType"]), vcpus, memory, arch, has)


def accelerators(said: Mapping[str, Any]) -> tuple[tuple[str, int], ...] | None:
    """Kinds and counts, sorted; None where there is a part of one. FPGAs and video encoders are not counted."""
    counts: dict[str, int] = {}
    for name, count in _listed(said):
        if count < 1:
            return None
        counts[name] = counts.get(name, 0) + count
    return tuple(sorted(counts.items()))


def _listed(said: Mapping[str, Any]) -> Iterable[tuple[str, int]]:
    for gpu in (said.get("GpuInfo") or {}).get("Gpus") or []:
        yield _named(str(gpu["Name"]), int((gpu.get("MemoryInfo") or {}).get("SizeInMiB") or 0)), int(gpu["Count"])
    neuron = (said.get("NeuronInfo") or {}).get("NeuronDevices") or []
    for device in neuron:
        yield _named(str(device["Name"]), 0), int(device["Count"])
    if not neuron:
        for device in (said.get("InferenceAcceleratorInfo") or {}).get("Accelerators") or []:
            yield _named(str(device["Name"]), 0), int(device["Count"])


def _named(name: str, mebibytes: int) -> str:
    plain = _PLAIN_MEMORY.get(name)
    if plain is not None and mebibytes > plain * 1.25:
        return f"{name}-{round(mebibytes / 1_024)}GB"
    return _RENAMED.get(name, name.replace(" ", "-"))
