"""HyperQueue: a Rust server and worker, hosted by a Python process, driven by its own Python client from another one."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hyperqueue import Client, Job
from works import SLOTS

from peers.bench import Peer, latencies, pss, quantile, rate, stop

# The host: a server in this folder, with a worker of so many cores (0: none); it says on its third argument when both are there.
HOST = """
import os, signal, sys
from hyperqueue import LocalCluster
from hyperqueue.cluster import WorkerConfig
folder, cores, ready = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
cluster = LocalCluster(folder, WorkerConfig(cores=cores) if cores else None)
os.write(ready, b"x")
signal.pause()
"""
numbers = iter(range(1_000_000))


def start(folder: Path, cores: int) -> tuple[Client, subprocess.Popen[bytes]]:
    place = folder / f"server-{next(numbers)}"
    place.mkdir()
    reading, writing = os.pipe()
    host = subprocess.Popen(
        [sys.executable, "-c", HOST, place, str(cores), str(writing)], pass_fds=[writing], stdout=subprocess.DEVNULL
    )
    os.close(writing)
    assert os.read(reading, 1), "the host has ended"
    os.close(reading)
    return Client(place), host


@contextmanager
def cluster(folder: Path, cores: int = SLOTS) -> Iterator[tuple[Client, int]]:
    client, host = start(folder, cores)
    try:
        yield client, host.pid
    finally:
        stop(host)


class End:
    """How the end of a job is known: by a last task that writes into a pipe, since the Python client asks once a second."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "end"
        os.mkfifo(self._path)
        self._pipe = os.open(self._path, os.O_RDWR)

    def after(self, job: Job, needs: Sequence[Any]) -> Job:
        job.program(["/bin/sh", "-c", f"echo > {self._path}"], stdout=None, stderr=None, deps=needs)
        return job

    def run(self, client: Client, job: Job) -> int:
        """Submit a job that was given its last task, wait for that, and return the job's number."""
        submitted = client.submit(job)
        os.read(self._pipe, 1)
        return int(submitted.id)


def program(job: Job, needs: Sequence[Any] = ()) -> Any:
    return job.program(["/bin/true"], stdout=None, stderr=None, deps=needs)


def alike(count: int) -> tuple[Job, list[Any]]:
    job = Job()
    return job, [program(job) for _ in range(count)]


def layers(count: int) -> tuple[Job, list[Any]]:
    job = Job()
    before: list[Any] = [program(job) for _ in range(100)]
    for _ in range(1, count // 100):
        before = [program(job, (before[place], before[(place + 1) % 100])) for place in range(100)]
    return job, before


def chain(count: int) -> tuple[Job, list[Any]]:
    job = Job()
    last = [program(job)]
    for _ in range(1, count):
        last = [program(job, last)]
    return job, last


def submit(client: Client, count: int) -> float:
    job, _ = alike(count)
    return rate(count, lambda: client.submit(job))


def idle(folder: Path, end: End) -> float:
    with cluster(folder) as (client, host):
        end.run(client, end.after(Job(), ()))
        time.sleep(1.0)  # idle: it is the state that is measured
        return pss(host)


def first(folder: Path, end: End) -> float:
    begin = time.perf_counter()
    client, host = start(folder, SLOTS)
    end.run(client, end.after(Job(), ()))
    took = time.perf_counter() - begin
    stop(host)
    return took * 1_000


def main() -> None:
    with Peer(
        "hyperqueue",
        version("hyperqueue"),
        "its wheel hosts server and worker in one Python process, from which it forks",
        "its Python client asks for the end of a job once a second, so a last task says it through a pipe",
        "nothing is on disk when a submission is answered, and output is not kept",
    ) as peer:
        peer.absent("nothing end-nothing", "its tasks are programs")
        peer.absent("array", "its Python client has no arrays")
        peer.absent("pss-worker", "the worker is in the server's process")
        peer.absent("healthy", "it has no such answer to wait for")
        peer.absent("help whole", "its wheel has no command line")
        end = End(peer.folder)
        with cluster(peer.folder) as (client, _):

            def run(made: tuple[Job, list[Any]], count: int) -> float:
                job = end.after(*made)
                begin = time.perf_counter()
                number = end.run(client, job)
                took = time.perf_counter() - begin
                client.connection.wait_for_jobs((number,), lambda _: None)  # its public form draws a bar
                client.forget(number)
                return count / took

            run(alike(200), 200)
            peer.measure("processes", lambda count: run(alike(count), count))
            peer.measure("dag", lambda count: run(layers(count), count), note="as processes")
            peer.measure(
                "chain", lambda count: run(chain(count), count), most=200, note="as processes, 200 of the 2,000"
            )
            peer.measure(
                "end-process",
                lambda count: quantile(latencies(count, lambda: end.run(client, end.after(Job(), ()))), 0.5),
                most=50,
                note="a shell that says it through a pipe",
            )
        with cluster(peer.folder, 0) as (client, _):
            peer.measure("bulk", lambda count: submit(client, count), note="not durable")

            def submissions(count: int) -> tuple[float, float]:
                taken = latencies(count, lambda: client.submit(alike(1)[0]))
                return quantile(taken, 0.5), quantile(taken, 0.99)

            peer.measure("submit-p50 submit-p99", submissions, note="not durable")
        peer.measure("pss-server", lambda _: idle(peer.folder, end), note="its worker included: one process")
        peer.measure("first", lambda _: first(peer.folder, end))


if __name__ == "__main__":
    main()
