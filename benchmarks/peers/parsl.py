"""Parsl: its HighThroughputExecutor on this machine with two workers; the scheduler of the DAG lives in the caller's process."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import parsl
from orphans import descendants, end_all
from parsl.config import Config
from parsl.executors import HighThroughputExecutor
from parsl.providers import LocalProvider
from works import SLOTS

from peers.bench import Peer, latencies, pss, quantile, rate

BULK = """
import os, sys, time
import parsl
from parsl.config import Config
from parsl.executors import HighThroughputExecutor
from parsl.providers import LocalProvider

@parsl.python_app
def nothing():
    return None

provider = LocalProvider(init_blocks=0, min_blocks=0, max_blocks=0)
executor = HighThroughputExecutor(label="nobody", address="127.0.0.1", provider=provider, encrypted=False)
parsl.load(Config(executors=[executor], strategy="none", initialize_logging=False))
count = int(sys.argv[1])
begin = time.perf_counter()
kept = [nothing() for _ in range(count)]
print(count / (time.perf_counter() - begin), flush=True)
os._exit(0)
"""


@parsl.python_app
def nothing(*needs: Any) -> None:
    return None


@parsl.python_app
def true(*needs: Any) -> int:
    from subprocess import DEVNULL, call  # noqa: PLC0415 - what is sent to a worker is the function alone

    return call(["/bin/true"], stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL)


def start() -> None:
    provider = LocalProvider(init_blocks=1, min_blocks=1, max_blocks=1)
    executor = HighThroughputExecutor(
        label="here", address="127.0.0.1", max_workers_per_node=SLOTS, provider=provider, encrypted=False
    )
    parsl.load(Config(executors=[executor], strategy="none", initialize_logging=False))


@contextmanager
def cluster() -> Iterator[None]:
    start()
    try:
        yield
    finally:
        parsl.dfk().cleanup()
        parsl.clear()


def alike(function: Any, count: int) -> float:
    def run() -> None:
        for future in [function() for _ in range(count)]:
            future.result()

    return rate(count, run)


def layers(count: int) -> float:
    def run() -> None:
        before = [nothing() for _ in range(100)]
        for _ in range(1, count // 100):
            before = [nothing(before[place], before[(place + 1) % 100]) for place in range(100)]
        for future in before:
            future.result()

    return rate(count, run)


def chain(count: int) -> float:
    def run() -> None:
        last = nothing()
        for _ in range(1, count):
            last = nothing(last)
        last.result()

    return rate(count, run)


def ends(function: Any, count: int) -> float:
    return quantile(latencies(count, lambda: function().result()), 0.5)


def idle() -> tuple[float, float]:
    for future in [true() for _ in range(20)]:
        future.result()
    time.sleep(1.0)  # idle: it is the state that is measured
    below = descendants(os.getpid())
    interchange = [pid for pid, line in below.items() if "interchange" in line]
    return pss(os.getpid(), *interchange), pss(*(pid for pid in below if pid not in interchange))


def first() -> float:
    begin = time.perf_counter()
    start()
    true().result()
    took = time.perf_counter() - begin
    parsl.dfk().cleanup()
    parsl.clear()
    return took * 1_000


def bulk(count: int) -> float:
    """In a process of its own, in which no worker is there, so that nothing but the submission happens: taking down what waits for none
    aborts the process now and then."""
    Path("bulk.py").write_text(BULK)
    process = subprocess.Popen([sys.executable, "bulk.py", str(count)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    said = process.stdout.readline()  # not to the end: its interchange outlives it, and holds the pipe
    end_all()
    return float(said)


def main() -> None:
    with Peer(
        "parsl",
        version("parsl"),
        "nothing is durable; a task is a Python function, a process is `subprocess.call` in it, its output thrown away",
        "its scheduler is in the caller's process: what was submitted is there when the call returns",
    ) as peer:
        peer.absent("array", "it has no arrays")
        peer.absent("submit-p50 submit-p99", "a submission is a local call, nobody else has it then")
        peer.absent("healthy", "it has no such answer to wait for")
        peer.absent("help whole", "not a plane for commands")
        with cluster():
            peer.measure(
                "pss-server pss-worker",
                lambda _: idle(),
                notes={"pss-server": "the caller and its interchange", "pss-worker": "its manager and two workers"},
            )
            alike(nothing, 1_000)
            peer.measure("processes", lambda count: alike(true, count))
            peer.measure("nothing", lambda count: alike(nothing, count))
            peer.measure("dag", lambda count: layers(count // 100 * 100))
            peer.measure("chain", chain)
            peer.measure("end-process", lambda count: ends(true, count))
            peer.measure("end-nothing", lambda count: ends(nothing, count))
        peer.measure("first", lambda _: first())
        peer.measure("bulk", bulk, note="local")


if __name__ == "__main__":
    main()
