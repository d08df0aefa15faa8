"""What a machine has, within the limits of its control groups, and how its GPUs are named."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Any

import pytest

from styx.agent import accelerators, probe
from styx.agent.accelerators import Device, find, kind, named


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def cpus() -> int:
    return 1_000 * len(os.sched_getaffinity(0))


def test_without_control_groups_the_affinity_is_the_limit(tmp_path: Path) -> None:
    assert probe.cpu_limit(tmp_path) == cpus()
    assert probe.memory_limit(tmp_path) == []


def test_affinity_is_respected(tmp_path: Path) -> None:
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert probe.cpu_limit(tmp_path) == 1_000
    finally:
        os.sched_setaffinity(0, allowed)


def test_the_tightest_of_nested_v2_groups_holds(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "proc/self/cgroup": "0::/a.slice/b.scope\n",
            "sys/fs/cgroup/a.slice/cpu.max": "50000 100000\n",
            "sys/fs/cgroup/a.slice/memory.max": "1000000\n",
            "sys/fs/cgroup/a.slice/b.scope/cpu.max": "max 100000\n",
            "sys/fs/cgroup/a.slice/b.scope/memory.max": "2000000\n",
        },
    )
    assert probe.cpu_limit(tmp_path) == 500
    assert min(probe.memory_limit(tmp_path)) == 1_000_000


def test_in_a_container_the_top_of_the_mount_is_read(tmp_path: Path) -> None:
    """The path in /proc is the host's there, and nothing lies under it."""
    write(
        tmp_path,
        {
            "proc/self/cgroup": "0::/../../docker/abc\n",
            "sys/fs/cgroup/cpu.max": "25000 100000\n",
            "sys/fs/cgroup/memory.max": "max\n",
        },
    )
    assert probe.cpu_limit(tmp_path) == 250
    assert probe.memory_limit(tmp_path) == []


def test_v1_groups(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "proc/self/cgroup": "5:memory:/box\n4:cpu,cpuacct:/box\n1:name=systemd:/\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_quota_us": "75000\n",
            "sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            "sys/fs/cgroup/memory/box/memory.limit_in_bytes": "3000000\n",
        },
    )
    assert probe.cpu_limit(tmp_path) == 750
    assert probe.memory_limit(tmp_path) == [3_000_000]


def test_capacity_of_this_machine(tmp_path: Path) -> None:
    capacity, devices = probe.capacity(tmp_path, [Device(0, "T4", "GPU-a"), Device(1, "T4", "GPU-b")])
    assert 0 < capacity.cpus <= cpus()
    assert capacity.memory > 1 << 20
    assert capacity.disk > 0
    assert capacity.accelerators == (("T4", 2),)
    assert devices == (("T4", ("GPU-a", "GPU-b")),)


def test_vitals_are_shares_and_bytes() -> None:
    probe.vitals()
    figures = probe.vitals()
    assert 0 <= figures.cpu <= 1_000
    assert figures.memory > 0
    assert figures.load >= 0


def test_host_and_boot_are_stable_and_do_not_give_the_machine_id_away(tmp_path: Path) -> None:
    write(tmp_path, {"etc/machine-id": "0123456789abcdef\n", "proc/sys/kernel/random/boot_id": "b-1\n"})
    host = probe.host_id(tmp_path)
    assert host == probe.host_id(tmp_path)
    assert "0123456789abcdef" not in host
    assert len(host) == 32
    assert probe.boot_id(tmp_path) == "b-1"
    (tmp_path / "etc/machine-id").write_text("another")
    assert probe.host_id(tmp_path) != host


def test_host_and_boot_without_the_files(tmp_path: Path) -> None:
    assert probe.host_id(tmp_path) == probe.host_id(tmp_path)
    assert probe.boot_id(tmp_path)


@pytest.mark.parametrize(
    ("name", "memory", "expected"),
    [
        ("NVIDIA A100-SXM4-40GB", 0, "A100"),
        ("NVIDIA A100-SXM4-80GB", 0, "A100-80GB"),
        ("NVIDIA A100 80GB PCIe", 0, "A100-80GB"),
        ("NVIDIA A100", 80 << 30, "A100-80GB"),
        ("NVIDIA H100 80GB HBM3", 0, "H100"),
        ("NVIDIA H100 NVL", 94 << 30, "H100"),
        ("NVIDIA GH200 480GB", 0, "GH200"),
        ("Tesla T4", 15 << 30, "T4"),
        ("Tesla V100-SXM2-16GB", 16 << 30, "V100"),
        ("Tesla V100-SXM2-32GB", 32 << 30, "V100-32GB"),
        ("Tesla P100-PCIE-16GB", 0, "P100"),
        ("NVIDIA L4", 0, "L4"),
        ("NVIDIA L40S", 0, "L40S"),
        ("NVIDIA A10G", 0, "A10G"),
        ("NVIDIA GeForce RTX 4090", 0, "RTX4090"),
        ("NVIDIA GeForce RTX 3080 Ti", 0, "RTX3080-Ti"),
        ("NVIDIA RTX A6000", 0, "A6000"),
        ("NVIDIA RTX 6000 Ada Generation", 0, "RTX6000-Ada"),
    ],
)
def test_kinds_are_named_as_offers_are(name: str, memory: int, expected: str) -> None:
    assert kind(name, memory) == expected


def test_named_groups_by_kind() -> None:
    devices = [Device(0, "T4", "a"), Device(1, "A100", "b"), Device(2, "T4", "c")]
    assert named(devices) == (("A100", ("b",)), ("T4", ("a", "c")))


class FakeNvml:
    """NVIDIA's library, with GPUs of (name, uuid, memory, split into instances)."""

    def __init__(self, gpus: list[tuple[str, str, int, bool]], *, broken: bool = False) -> None:
        self.gpus = gpus
        self.broken = broken
        self.shut = False

    def nvmlInit_v2(self) -> int:
        return 9 if self.broken else 0

    def nvmlShutdown(self) -> int:
        self.shut = True
        return 0

    def nvmlDeviceGetCount_v2(self, number: Any) -> int:
        number._obj.value = len(self.gpus)
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, index: Any, handle: Any) -> int:
        if self.gpus[index.value][0] == "lost":
            return 15
        handle._obj.value = index.value + 1
        return 0

    def nvmlDeviceGetMigMode(self, handle: Any, current: Any, pending: Any) -> int:
        current._obj.value = int(self.gpus[handle.value - 1][3])
        return 0

    def nvmlDeviceGetName(self, handle: Any, buffer: Any, size: Any) -> int:
        buffer.value = self.gpus[handle.value - 1][0].encode()
        return 0

    def nvmlDeviceGetUUID(self, handle: Any, buffer: Any, size: Any) -> int:
        buffer.value = self.gpus[handle.value - 1][1].encode()
        return 0

    def nvmlDeviceGetMemoryInfo(self, handle: Any, memory: Any) -> int:
        memory._obj.total = ctypes.c_ulonglong(self.gpus[handle.value - 1][2]).value
        return 0


GPUS = [
    ("NVIDIA A100-SXM4-80GB", "GPU-aa", 80 << 30, False),
    ("lost", "GPU-xx", 0, False),
    ("NVIDIA H100 80GB HBM3", "GPU-split", 80 << 30, True),
    ("Tesla T4", "GPU-tt", 15 << 30, False),
]


def test_gpus_from_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    library = FakeNvml(GPUS)
    monkeypatch.setattr(accelerators, "_load", lambda: library)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert find() == [Device(0, "A100-80GB", "GPU-aa"), Device(3, "T4", "GPU-tt")]
    assert library.shut
    assert find("3") == [Device(3, "T4", "GPU-tt")]
    assert find("GPU-a") == [Device(0, "A100-80GB", "GPU-aa")]
    assert find("") == find("-1") == []


@pytest.mark.parametrize("library", ["none", "broken"])
def test_gpus_from_the_program_where_the_library_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    def missing() -> Any:
        raise OSError("no such library")

    monkeypatch.setattr(accelerators, "_load", missing if library == "none" else lambda: FakeNvml([], broken=True))
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho '0, Tesla V100-SXM2-32GB, GPU-1, 32768'\necho '1, NVIDIA L4, GPU-2, [N/A]'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert find() == [Device(0, "V100-32GB", "GPU-1"), Device(1, "L4", "GPU-2")]
    program.write_text("#!/bin/sh\necho 'no devices were found'\nexit 6\n")
    assert find() == []


def test_no_gpus_without_library_and_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> Any:
        raise OSError("no such library")

    monkeypatch.setattr(accelerators, "_load", missing)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find() == []
