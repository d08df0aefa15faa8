"""How long from nothing to a healthy server, and to the end of a first task on an agent that starts with it?"""

from __future__ import annotations

import json
import socket
import tempfile
import time
import urllib.request
from pathlib import Path

from kit import Figure, Options, Server, interleave, main

from styx.testing.cluster import Cluster


def healthy(cluster: Cluster) -> None:
    """Ask as soon as somebody listens; a refused connection costs a tenth of a millisecond."""
    while True:
        try:
            socket.create_connection(("127.0.0.1", cluster.port)).close()
        except ConnectionRefusedError:
            time.sleep(0.002)
            continue
        with urllib.request.urlopen(f"{cluster.url}/health", timeout=10) as answer:
            if json.load(answer)["status"] == "healthy":
                return


def to_health() -> float:
    with tempfile.TemporaryDirectory() as place, Cluster(Path(place)) as cluster:
        begin = time.perf_counter()
        cluster.start_server(healthy=False)
        healthy(cluster)
        return (time.perf_counter() - begin) * 1_000


def to_first_task() -> float:
    with tempfile.TemporaryDirectory() as place, Cluster(Path(place)) as cluster:
        begin = time.perf_counter()
        cluster.start_server(healthy=False)
        cluster.start_agent("first", cpus=2)
        healthy(cluster)
        Server(cluster).run({"name": "first", "tasks": {"first": {"command": ["true"]}}})
        return (time.perf_counter() - begin) * 1_000


def measure(options: Options) -> list[Figure]:
    values = interleave({"health": to_health, "first task": to_first_task}, 2 * options.rounds)
    return [
        Figure("server start to /health", "ms", values["health"], less=True, target=500, work="healthy"),
        Figure(
            "server and agent start to the end of a first task", "ms", values["first task"], less=True, target=700,
            work="first",
        ),
    ]  # fmt: skip


if __name__ == "__main__":
    main("How long does a start take?", measure)
