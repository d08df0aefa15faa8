"""Dask distributed: a scheduler and two workers of one thread each, as processes of their own; tasks are Python functions."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from distributed import Client, wait
from works import SLOTS

from peers.bench import Peer, free_port, latencies, pss, quantile, rate, stop

ENVIRONMENT = {**os.environ, "PYTHONPATH": "", "DASK_DISTRIBUTED__SCHEDULER__WORKER_SATURATION": "inf"}
PAUSE = 0.015  # seconds; the client sends at once what comes 10 ms or more after the last
BULK = """
import os, sys, time
from distributed import Client
def nothing(*needs):
    return None
client, count = Client(sys.argv[1]), int(sys.argv[2])
begin = time.perf_counter()
kept = client.map(nothing, range(count), pure=False)
while client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)) < count:
    pass
print(count / (time.perf_counter() - begin), flush=True)
os._exit(0)
"""
FIRST = """
import logging, subprocess
logging.getLogger("distributed").setLevel(logging.CRITICAL)
from distributed import Client
if __name__ == "__main__":
    with Client(processes=True, n_workers=1, threads_per_worker=2, dashboard_address=":0") as client:
        client.submit(subprocess.call, ["/bin/true"]).result()
        print("done", flush=True)
"""


def nothing(*needs: Any) -> None:
    return None


def true(*needs: Any) -> int:
    quiet = subprocess.DEVNULL
    return subprocess.call(["/bin/true"], stdin=quiet, stdout=quiet, stderr=quiet)


def start(workers: int) -> tuple[Client, list[subprocess.Popen[bytes]]]:
    port = free_port()
    dask = [sys.executable, "-m", "dask"]
    local = ["--host", "127.0.0.1", "--no-dashboard"]
    quiet: dict[str, Any] = {"env": ENVIRONMENT, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    processes = [subprocess.Popen([*dask, "scheduler", "--port", str(port), *local], **quiet)]
    processes += [
        subprocess.Popen([*dask, "worker", f"tcp://127.0.0.1:{port}", "--nthreads", "1", "--no-nanny", *local], **quiet)
        for _ in range(workers)
    ]
    return Client(f"tcp://127.0.0.1:{port}", timeout=60), processes


@contextmanager
def cluster(workers: int = SLOTS) -> Iterator[tuple[Client, list[int]]]:
    client, processes = start(workers)
    try:
        if workers:
            client.wait_for_workers(workers)
        yield client, [process.pid for process in processes]
    finally:
        client.close()
        stop(*reversed(processes))


def alike(client: Client, function: Any, count: int) -> float:
    def run() -> None:
        done, pending = wait(client.map(function, range(count), pure=False))
        assert len(done) == count
        assert not pending

    return rate(count, run)


def graph(client: Client, tasks: dict[str, tuple[Any, ...]], last: list[str]) -> float:
    return rate(len(tasks), lambda: client.get(tasks, last))


def layers(count: int) -> tuple[dict[str, tuple[Any, ...]], list[str]]:
    unique = time.monotonic_ns()
    tasks: dict[str, tuple[Any, ...]] = {f"{unique}-0-{place}": (nothing,) for place in range(100)}
    for layer in range(1, count // 100):
        for place in range(100):
            needs = (f"{unique}-{layer - 1}-{place}", f"{unique}-{layer - 1}-{(place + 1) % 100}")
            tasks[f"{unique}-{layer}-{place}"] = (nothing, *needs)
    return tasks, list(tasks)[-100:]


def chain(count: int) -> tuple[dict[str, tuple[Any, ...]], list[str]]:
    unique = time.monotonic_ns()
    tasks: dict[str, tuple[Any, ...]] = {f"{unique}-0": (nothing,)}
    for number in range(1, count):
        tasks[f"{unique}-{number}"] = (nothing, f"{unique}-{number - 1}")
    return tasks, [f"{unique}-{count - 1}"]


def known(client: Client, count: int) -> None:
    """Return when the scheduler has so many tasks."""
    while client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)) < count:
        pass


def bulk(count: int) -> float:
    """From a process of its own to a scheduler of its own, without workers: letting go of so many futures takes longer than making them."""
    Path("bulk.py").write_text(BULK)
    with cluster(0) as (client, _):
        words = [sys.executable, "bulk.py", client.scheduler.address, str(count)]
        return float(subprocess.run(words, stdout=subprocess.PIPE, env=ENVIRONMENT, check=True).stdout)


def submissions(client: Client, count: int) -> tuple[float, float]:
    kept: list[Any] = []

    def one() -> None:
        kept.append(client.submit(nothing, len(kept), pure=False))
        known(client, len(kept))

    taken = latencies(count, one, pause=PAUSE)
    client.cancel(kept)
    return quantile(taken, 0.5), quantile(taken, 0.99)


def ends(client: Client, function: Any, count: int) -> float:
    return quantile(latencies(count, lambda: client.submit(function, pure=False).result(), pause=PAUSE), 0.5)


def idle() -> tuple[float, float]:
    with cluster() as (client, pids):
        client.submit(true, pure=False).result()
        time.sleep(1.0)  # idle: it is the state that is measured
        return pss(pids[0]), pss(pids[1])


def first() -> float:
    Path("first.py").write_text(FIRST)  # its worker reads the program again
    begin = time.perf_counter()
    process = subprocess.Popen([sys.executable, "first.py"], stdout=subprocess.PIPE, env=ENVIRONMENT)
    assert process.stdout is not None
    assert process.stdout.readline() == b"done\n"
    took = time.perf_counter() - begin
    process.wait()
    return took * 1_000


def main() -> None:
    with Peer(
        "dask",
        version("distributed"),
        "`worker-saturation` is set to inf, so that work is sent ahead",
        "nothing is durable; a task is a Python function, a process is `subprocess.call` in it, its output thrown away",
    ) as peer:
        peer.absent("array", "it has no arrays")
        peer.absent("healthy", "it has no such answer to wait for")
        peer.absent("help whole", "not a plane for commands")
        logging.getLogger("distributed").setLevel(logging.CRITICAL)
        with cluster() as (client, _):
            alike(client, nothing, 1_000)
            peer.measure("processes", lambda count: alike(client, true, count))
            peer.measure("nothing", lambda count: alike(client, nothing, count))
            peer.measure("dag", lambda count: graph(client, *layers(count)))
            peer.measure("chain", lambda count: graph(client, *chain(count)))
            peer.measure("end-process", lambda count: ends(client, true, count))
            peer.measure("end-nothing", lambda count: ends(client, nothing, count))
        peer.measure("bulk", bulk, note="not durable")
        with cluster(0) as (client, _):
            peer.measure("submit-p50 submit-p99", lambda count: submissions(client, count), note="not durable")
        peer.measure("pss-server pss-worker", lambda _: idle(), notes={"pss-worker": "one of its two workers"})
        peer.measure(
            "first", lambda _: first(), note="its scheduler in the caller's process, one worker of two threads"
        )


if __name__ == "__main__":
    main()
