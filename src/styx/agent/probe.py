"""What this machine is and has: its capacity within the limits of its container, its name to callers, its boot, its load.

A container's limits are those of its control group and of every group above it; the tightest holds. Both hierarchies are
read, v2 (`cpu.max`, `memory.max`) and v1 (`cpu.cfs_quota_us`, `memory.limit_in_bytes`).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from styx.agent.accelerators import Device, find, named
from styx.agent.words import Vitals
from styx.core.resources import Resources
from styx.protocol.host import host_id

__all__ = ["boot_id", "capacity", "cpu_limit", "host_id", "memory_limit", "vitals"]

_V1_UNLIMITED = 1 << 60  # the kernel says "no limit" with a number near 2**63


def capacity(
    folder: Path, devices: list[Device] | None = None
) -> tuple[Resources, tuple[tuple[str, tuple[str, ...]], ...]]:
    """What can be given to tasks, and the ids of each kind of accelerator; `folder` is where disk is wanted."""
    import psutil

    found = named(find() if devices is None else devices)
    memory = min([psutil.virtual_memory().total, *memory_limit()])
    accelerators = tuple((name, len(ids)) for name, ids in found)
    return Resources(cpu_limit(), memory, shutil.disk_usage(folder).free, accelerators), found


def vitals() -> Vitals:
    """The figures of a heartbeat, since the last call; takes well below a millisecond."""
    import psutil

    try:
        load = int(os.getloadavg()[0] * 1_000)
    except OSError:
        load = 0
    return Vitals(int(psutil.cpu_percent(None) * 10), psutil.virtual_memory().used, load)


def cpu_limit(root: Path = Path("/")) -> int:
    """Thousandths of CPUs that this process may use: its affinity, within the quota of its control groups."""
    limits = [1_000 * (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)]
    for group in _groups(root, ""):
        quota, _, period = _text(group / "cpu.max").partition(" ")
        if quota.isdigit() and period.isdigit() and int(period):
            limits.append(int(quota) * 1_000 // int(period))
    for group in _groups(root, "cpu"):
        quota, period = _text(group / "cpu.cfs_quota_us"), _text(group / "cpu.cfs_period_us")
        if quota.isdigit() and period.isdigit() and int(period):
            limits.append(int(quota) * 1_000 // int(period))
    return max(1, min(limits))


def memory_limit(root: Path = Path("/")) -> list[int]:
    """The limits in bytes that control groups set; empty when there is none."""
    limits = [_text(group / "memory.max") for group in _groups(root, "")]
    limits += [_text(group / "memory.limit_in_bytes") for group in _groups(root, "memory")]
    return [int(limit) for limit in limits if limit.isdigit() and int(limit) < _V1_UNLIMITED]


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """The folders of this process's control group and those above it; `controller` is "" for v2."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controller not in controllers.split(","):
            continue
        # In a container the path may be the host's, which is not mounted here: then only the top can be read.
        top = root / "sys/fs/cgroup" / controllers
        group = top / path.lstrip("/")
        while group != top and top in group.parents:
            if group.is_dir():
                yield group
            group = group.parent
        yield top


def boot_id(root: Path = Path("/")) -> str:
    """Names this boot of the machine."""
    found = _text(root / "proc/sys/kernel/random/boot_id")
    if found:
        return found
    import psutil

    return f"{host_id(root)}@{psutil.boot_time():.0f}"


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
