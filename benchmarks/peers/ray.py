"""Ray: its head node's processes on this machine, two CPUs; tasks are Python functions, submitted by the driver, which owns them."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import ray
from orphans import descendants
from works import SLOTS

from peers.bench import Peer, latencies, pss, quantile, rate

STORE = 100_000_000  # bytes of its object store: nothing here needs more
HEAD = ("gcs_server", "dashboard/dashboard.py", "monitor.py", "log_monitor.py")  # the rest serves this one node


@ray.remote
def nothing(*needs: Any) -> None:
    return None


@ray.remote
def true(*needs: Any) -> int:
    quiet = subprocess.DEVNULL
    return subprocess.call(["/bin/true"], stdin=quiet, stdout=quiet, stderr=quiet)


def start(folder: Path) -> None:
    ray.init(
        num_cpus=SLOTS,
        object_store_memory=STORE,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        _temp_dir=str(folder / "ray"),
    )


@contextmanager
def cluster(folder: Path) -> Iterator[None]:
    start(folder)
    try:
        yield
    finally:
        ray.shutdown()


def alike(function: Any, count: int) -> float:
    return rate(count, lambda: ray.get([function.remote() for _ in range(count)]))


def layers(count: int) -> float:
    def run() -> None:
        before = [nothing.remote() for _ in range(100)]
        for _ in range(1, count // 100):
            before = [nothing.remote(before[place], before[(place + 1) % 100]) for place in range(100)]
        ray.get(before)

    return rate(count, run)


def chain(count: int) -> float:
    def run() -> None:
        last = nothing.remote()
        for _ in range(1, count):
            last = nothing.remote(last)
        ray.get(last)

    return rate(count, run)


def ends(function: Any, count: int) -> float:
    return quantile(latencies(count, lambda: ray.get(function.remote())), 0.5)


def bulk(folder: Path, count: int) -> float:
    """Work that no node can take, so that nothing but the submission happens."""
    with cluster(folder):
        nowhere = nothing.options(resources={"nowhere": 1})
        kept: list[Any] = []
        return rate(count, lambda: kept.extend(nowhere.remote() for _ in range(count)))


def idle() -> tuple[float, float]:
    ray.get([true.remote() for _ in range(20)])
    time.sleep(1.0)  # idle: it is the state that is measured
    head, node = [], []
    for pid, line in descendants(os.getpid()).items():
        (head if any(name in line for name in HEAD) else node).append(pid)
    return pss(*head), pss(*node)


def first(folder: Path) -> float:
    begin = time.perf_counter()
    start(folder)
    ray.get(true.remote())
    took = time.perf_counter() - begin
    ray.shutdown()
    return took * 1_000


def main() -> None:
    with Peer(
        "ray",
        version("ray"),
        "nothing is durable; a task is a Python function, a process is `subprocess.call` in it, its output thrown away",
        "its driver owns the tasks: what it has submitted is in its own process when the call returns",
    ) as peer:
        peer.absent("array", "it has no arrays")
        peer.absent("submit-p50 submit-p99", "a submission is a local call, nobody else has it then")
        peer.absent("healthy", "it has no such answer to wait for")
        peer.absent("help whole", "not a plane for commands")
        with cluster(peer.folder):
            alike(nothing, 1_000)
            peer.measure(
                "pss-server pss-worker",
                lambda _: idle(),
                notes={
                    "pss-server": "its head's processes",
                    "pss-worker": "its node's processes, two workers among them",
                },
            )
            peer.measure("processes", lambda count: alike(true, count))
            peer.measure("nothing", lambda count: alike(nothing, count))
            peer.measure("dag", lambda count: layers(count // 100 * 100))
            peer.measure("chain", chain)
            peer.measure("end-process", lambda count: ends(true, count))
            peer.measure("end-nothing", lambda count: ends(nothing, count))
        peer.measure("bulk", lambda count: bulk(peer.folder, count), note="local")
        peer.measure("first", lambda _: first(peer.folder))


if __name__ == "__main__":
    main()
