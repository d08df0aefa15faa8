"""What every benchmark here needs: rounds that are interleaved, figures with their noise, a server with agents, one document.

A benchmark is a file that asks one question. It names ways of doing the same work (Styx, a floor), runs them in turns so that
whatever else the machine does hits all alike, and prints one JSON document. Absolute figures drift from machine to machine and
from hour to hour; the ratio of two ways within one round does not, so ratios are what is kept.

Everything is pinned alike: the process that measures takes the cores of `--cores` and whatever it starts inherits them.
"""

from __future__ import annotations

import argparse
import http.client
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import figures
import psutil
from figures import Figure, interleave, pss, quantile

from styx.testing.cluster import Cluster, eventually

__all__ = ["Figure", "Options", "Server", "cpu_seconds", "document", "interleave", "main", "pss", "quantile", "served"]


class Options:
    """`rounds` of each way, and `scale` (0 to 1) of the full amount of work."""

    def __init__(self, rounds: int, scale: float) -> None:
        self.rounds = rounds
        self.scale = scale

    def of(self, count: int, least: int = 1) -> int:
        """That much of the full amount of work."""
        return max(least, round(count * self.scale))


def main(question: str, measure: Callable[[Options], list[Figure]], *, rounds: int = 5) -> None:
    """Read the options, measure, and print the document."""
    parser = argparse.ArgumentParser(description=question)
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full amount of work (1)")
    parser.add_argument("--quick", action="store_true", help="a tenth of the work, twice")
    parser.add_argument("--cores", default="", help="cores to run on, such as 0 or 0,1 (all)")
    parser.add_argument("--seconds", type=float, default=0, help="begin no round that would end later than this")
    given = parser.parse_args()
    figures.pin(given.cores)
    figures.end_when_told()
    if given.seconds:
        figures.spend(given.seconds)
    options = Options(2, 0.1 * given.scale) if given.quick else Options(given.rounds, given.scale)
    print(json.dumps(document(question, measure, options), indent=1))


def document(question: str, measure: Callable[[Options], list[Figure]], options: Options) -> dict[str, Any]:
    found = figures.document(lambda: measure(options))
    return {"question": question, "rounds": options.rounds, "scale": options.scale} | found


def cpu_seconds(*pids: int) -> float:
    """Seconds of CPU that these processes have used."""
    return sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in pids)


class Server:
    """A server with agents, as separate processes with the shipped defaults, and one HTTP connection to it."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._connection = http.client.HTTPConnection("127.0.0.1", cluster.port, timeout=600)
        token = (cluster.home / "token").read_text().strip()
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    @property
    def pid(self) -> int:
        assert self.cluster.server is not None
        return self.cluster.server.pid

    def agent_pids(self) -> list[int]:
        """Agents and their owners."""
        return [agent.pid for agent in self.cluster.agents.values()] + [owner.pid for owner in self.cluster.owners()]

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        self._connection.request(method, path, data, self._headers)
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {content[:500]!r}")
        return json.loads(content)

    def submit(self, job: Any) -> str:
        """The id of the job, which is on the server's disk."""
        return str(self.ask("POST", "/api/v1/jobs", job)["job_id"])

    def wait(self, job: str) -> Any:
        """The job's result once its end is known."""
        while True:
            try:
                return self.ask("GET", f"/api/v1/jobs/{job}/wait?timeout=300")
            except RuntimeError as error:
                if "408" not in str(error) and "504" not in str(error):
                    raise

    def run(self, job: Any) -> float:
        """Seconds from the submission to the known end of a job whose every task must succeed."""
        begin = time.perf_counter()
        result = self.wait(self.submit(job))
        took = time.perf_counter() - begin
        if result["status"] != "SUCCEEDED":
            raise RuntimeError(f"the job ended {result['status']}: {result}")
        return took

    def stats(self) -> Any:
        return self.ask("GET", "/api/v1/stats")

    def lag(self) -> dict[str, float]:
        """What the server's own monitor has seen of its event loop's delays so far, in milliseconds."""
        stats = self.stats()
        return {"p99": stats["loop_lag_ms_p99"], "max": stats["loop_lag_ms_max"]}


@contextmanager
def served(*, agents: int = 1, cpus: float = 2, no_work: bool = False, folder: str | None = None) -> Iterator[Server]:
    """A fresh server and connected agents in a folder of their own, on the disk where temporary files go."""
    with tempfile.TemporaryDirectory(prefix="styx-bench-", dir=folder) as place, Cluster(Path(place)) as cluster:
        cluster.start_server()
        for number in range(agents):
            cluster.start_agent(f"bench-{number}", *(["--no-work"] if no_work else []), cpus=cpus)
        if agents:
            eventually("the agents are there", lambda: cluster.agents_up(agents))
        yield Server(cluster)
