"""GPUs, found through NVIDIA's management library or, where that cannot be loaded, its `nvidia-smi`.

Kinds are named as the clouds' offers are (A100, A100-80GB, H100, T4, L4, RTX4090), so that one request fits both. Ids are
UUIDs: CUDA takes them in CUDA_VISIBLE_DEVICES, and unlike indices they do not depend on the order in which CUDA counts.
If CUDA_VISIBLE_DEVICES is set for the agent, it has only those.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
from typing import Any

import msgspec

__all__ = ["Device", "find", "kind", "named"]

# Kinds that come with more than one size of memory, and the size (GB) that the plain name means.
_PLAIN = {"A100": 40, "V100": 16}
_BRANDS = re.compile(r"^(?:NVIDIA|Tesla|GeForce|Quadro)\s+")
_SIZE = re.compile(r"\b(\d+)\s?GB\b")
_NOT_A_KIND = re.compile(r"SXM\d*|PCIE|HBM\d\w*|NVL|\d+\s?GB|GENERATION|GPU", re.IGNORECASE)
_SECONDS = 10.0  # for nvidia-smi


class Device(msgspec.Struct, frozen=True):
    index: int
    kind: str
    id: str


def kind(name: str, memory: int = 0) -> str:
    """The short name of a GPU from the driver's long one; `memory` in bytes decides where the name leaves it open."""
    rest = name.strip()
    while match := _BRANDS.match(rest):
        rest = rest[match.end() :]
    size = _SIZE.search(rest)
    words = [word for word in re.split(r"[\s-]+", _SIZE.sub("", rest)) if word and not _NOT_A_KIND.fullmatch(word)]
    if not words:
        return re.sub(r"\s+", "-", name.strip())
    if words[0] in {"RTX", "GTX"} and len(words) > 1:
        words = [f"{words[0]}{words[1]}", *words[2:]] if words[1][0].isdigit() else words[1:]
    short = "-".join(words)
    plain = _PLAIN.get(short)
    if plain is not None:
        gigabytes = int(size.group(1)) if size else round(memory / (8 << 30)) * 8
        if gigabytes > plain * 1.25:
            return f"{short}-{gigabytes}GB"
    return short


def named(devices: list[Device]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The ids of each kind, kinds in order."""
    ids: dict[str, list[str]] = {}
    for device in devices:
        ids.setdefault(device.kind, []).append(device.id)
    return tuple((name, tuple(ids[name])) for name in sorted(ids))


def find(visible: str | None = None) -> list[Device]:
    """The GPUs of this machine; none when there is no driver. `visible` stands in for CUDA_VISIBLE_DEVICES."""
    shown = os.environ.get("CUDA_VISIBLE_DEVICES") if visible is None else visible
    if shown is not None and shown.strip() in {"", "-1"}:
        return []
    devices = _from_library()
    if devices is None:
        devices = _from_program()
    if shown is None:
        return devices
    wanted = [word.strip() for word in shown.split(",")]
    return [device for device in devices if any(_means(word, device) for word in wanted)]


def _means(word: str, device: Device) -> bool:
    return int(word) == device.index if word.isdigit() else bool(word) and device.id.startswith(word)


class _Memory(ctypes.Structure):
    _fields_ = [("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong)]


def _load() -> Any:
    return ctypes.CDLL("libnvidia-ml.so.1")


def _from_library() -> list[Device] | None:
    """Through NVML; None when it cannot be used here."""
    try:
        nvml = _load()
        if nvml.nvmlInit_v2() != 0:
            return None
    except (OSError, AttributeError):
        return None
    try:
        number = ctypes.c_uint()
        if nvml.nvmlDeviceGetCount_v2(ctypes.byref(number)) != 0:
            return None
        found = [_device(nvml, index) for index in range(number.value)]
        return [device for device in found if device is not None]
    finally:
        nvml.nvmlShutdown()


def _device(nvml: Any, index: int) -> Device | None:
    """One GPU; None for one that is lost, or that is split into instances and cannot be used whole."""
    handle = ctypes.c_void_p()
    if nvml.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(index), ctypes.byref(handle)) != 0:
        return None
    current, pending = ctypes.c_uint(), ctypes.c_uint()
    if nvml.nvmlDeviceGetMigMode(handle, ctypes.byref(current), ctypes.byref(pending)) == 0 and current.value:
        return None
    name, identity = ctypes.create_string_buffer(96), ctypes.create_string_buffer(96)
    if nvml.nvmlDeviceGetName(handle, name, ctypes.c_uint(96)) != 0:
        return None
    if nvml.nvmlDeviceGetUUID(handle, identity, ctypes.c_uint(96)) != 0:
        return None
    memory = _Memory()
    nvml.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory))  # stays 0 where it is not known
    return Device(
        index, kind(name.value.decode(errors="replace"), memory.total), identity.value.decode(errors="replace")
    )


def _from_program() -> list[Device]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    query = [program, "--query-gpu=index,name,uuid,memory.total", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    if answer.returncode != 0:
        return []
    devices: list[Device] = []
    for line in answer.stdout.splitlines():
        fields = [field.strip() for field in line.split(",")]
        if len(fields) == 4 and fields[0].isdigit():
            memory = int(fields[3]) << 20 if fields[3].isdigit() else 0
            devices.append(Device(int(fields[0]), kind(fields[1], memory), fields[2]))
    return devices
