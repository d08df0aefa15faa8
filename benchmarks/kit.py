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
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

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


class Figure:
    """One measured quantity: its values, one a round, and what it is held against.

    `target` is an absolute one, or, with a `floor`, the share of that figure which must be reached in the same round. More is better
    unless `less` says otherwise."""

    def __init__(
        self,
        name: str,
        unit: str,
        values: Sequence[float],
        *,
        less: bool = False,
        target: float | None = None,
        floor: Figure | None = None,
        note: str = "",
    ) -> None:
        self.name = name
        self.unit = unit
        self.values = list(values)
        self.less = less
        self.target = target
        self.floor = floor
        self.note = note

    @property
    def best(self) -> float:
        return min(self.values) if self.less else max(self.values)

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def ratios(self) -> list[float]:
        return (
            [value / other for value, other in zip(self.values, self.floor.values, strict=True)] if self.floor else []
        )

    @property
    def met(self) -> bool | None:
        """Whether the best round meets the target; None when there is none."""
        if self.target is None:
            return None
        held = (min if self.less else max)(self.ratios) if self.floor else self.best
        return held <= self.target if self.less else held >= self.target

    def shown(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "name": self.name,
            "unit": self.unit,
            "best": _round(self.best),
            "median": _round(self.median),
            "values": [_round(value) for value in self.values],
            "less_is_better": self.less,
        }
        if self.floor is not None:
            found |= {"floor": self.floor.name, "ratio_median": round(statistics.median(self.ratios), 3)}
            found["ratio_best"] = round((min if self.less else max)(self.ratios), 3)
        if self.target is not None:
            found |= {"target": self.target, "met": self.met}
        if self.note:
            found["note"] = self.note
        return found


def _round(value: float) -> float:
    return round(value) if abs(value) >= 1_000 else float(f"{value:.4g}")


def main(question: str, measure: Callable[[Options], list[Figure]], *, rounds: int = 5) -> None:
    """Read the options, measure, and print the document."""
    parser = argparse.ArgumentParser(description=question)
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full amount of work (1)")
    parser.add_argument("--quick", action="store_true", help="a tenth of the work, twice")
    parser.add_argument("--cores", default="", help="cores to run on, such as 0 or 0,1 (all)")
    given = parser.parse_args()
    if given.cores:
        os.sched_setaffinity(0, {int(core) for core in given.cores.split(",")})
    options = Options(2, 0.1 * given.scale) if given.quick else Options(given.rounds, given.scale)
    print(json.dumps(document(question, measure, options), indent=1))


def document(question: str, measure: Callable[[Options], list[Figure]], options: Options) -> dict[str, Any]:
    before = _spins()
    load = os.getloadavg()[0]
    figures = measure(options)
    spins = before + _spins()
    return {
        "question": question,
        "figures": [figure.shown() for figure in figures],
        "rounds": options.rounds,
        "scale": options.scale,
        "machine": {
            "cpu": _cpu_name(),
            "cores": len(os.sched_getaffinity(0)),
            "python": platform.python_version(),
            "kernel": platform.release(),
        },
        # The same fixed piece of pure Python, timed before and after: 1.0 is a machine that nobody else uses.
        "noise": {
            "slowest_to_fastest_spin": round(max(spins) / min(spins), 2),
            "load_before": round(load, 1),
            "load_after": round(os.getloadavg()[0], 1),
        },
    }


def _spins() -> list[float]:
    taken = []
    for _ in range(10):
        begin = time.perf_counter()
        sum(i * i for i in range(100_000))
        taken.append(time.perf_counter() - begin)
    return taken


def _cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def interleave(ways: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Run every way once a round, in turns; each returns its figure."""
    values: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds):
        for name, way in ways.items():
            begin = time.perf_counter()
            values[name].append(way())
            took = time.perf_counter() - begin
            print(f"round {number + 1}: {name}: {values[name][-1]:.4g} ({took:.1f} s)", file=sys.stderr, flush=True)
    return values


def quantile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def pss(*pids: int) -> float:
    """MB that these processes take, shared pages split among those who share them."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total / 1_000


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
