"""Two thousand agents lose their server at the same moment, and come back to it."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from faults_kit import ended, faulty, figure, remains, submit

from styx.testing.cluster import Cluster, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

AGENTS = 2_000
RATE = 250  # handshakes a second, and as many at once: the default
LEASES = {"STYX_HEARTBEAT": "5s", "STYX_SUSPECT": "15s", "STYX_LOST": "40s"}
HERD = str(Path(__file__).with_name("herd.py"))


@contextmanager
def herd(cluster: Cluster, report: Path) -> Iterator[None]:
    with (report.parent / "herd.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, HERD, cluster.url, str(cluster.home / "token"), str(AGENTS), str(report)],
            stdout=log,
            stderr=log,
        )
    try:
        yield
        assert process.poll() is None, (report.parent / "herd.log").read_text()
    finally:
        process.kill()
        process.wait()


class Asker(threading.Thread):
    """Asks /health four times a second, and notes how long each answer took."""

    def __init__(self, url: str) -> None:
        super().__init__(name="asker", daemon=True)
        self._url = url
        self.over = threading.Event()
        self.took: list[float] = []
        self.failed: list[str] = []

    def run(self) -> None:
        while not self.over.wait(0.25):
            began = time.monotonic()
            try:
                with urllib.request.urlopen(f"{self._url}/health", timeout=30) as answer:
                    assert json.load(answer)["status"] == "healthy"
            except OSError as error:
                self.failed.append(str(error))
            self.took.append(time.monotonic() - began)


def let_in(cluster: Cluster, after: int) -> list[float]:
    """When agents were let in, in seconds, from the server's log behind `after` characters."""
    times = []
    for line in cluster.log("server")[after:].splitlines():
        if '"agent connected"' in line:
            stamp = json.loads(line)["timestamp"]
            hours, minutes, seconds = stamp.split("T")[1].rstrip("Z").split(":")
            times.append(int(hours) * 3_600 + int(minutes) * 60 + float(seconds))
    return times


def test_two_thousand_agents_come_back_at_once(tmp_path: Path) -> None:
    report = tmp_path / "report.json"

    def now() -> Any:
        return json.loads(report.read_text()) if report.exists() else {"in": 0, "dials": []}

    with faulty(tmp_path, **LEASES) as cluster:
        cluster.start_server()
        with herd(cluster, report):
            began = time.monotonic()
            eventually("all are in", lambda: now()["in"] == AGENTS, within=90)
            first = time.monotonic() - began
            before = len(cluster.log("server"))
            cluster.kill_server()
            killed = time.monotonic()
            cluster.start_server()
            up = time.monotonic()
            asker = Asker(cluster.url)
            asker.start()

            def returned() -> bool:
                told = now()
                return told["in"] == AGENTS and sum(at > killed for at in told["dials"]) >= AGENTS

            eventually("all are back", returned, within=90)
            back = time.monotonic() - up
            asker.over.set()
            asker.join()
            dials = [at for at in now()["dials"] if at > killed]
            job_id = submit(cluster, {"name": "all", "command": ["true"], "array": 4 * AGENTS})
            assert eventually("they work", lambda: ended(cluster, job_id))["status"] == "SUCCEEDED"
        times = let_in(cluster, before)
        log = cluster.log("server")
        peak = max(Counter(int(10 * at) // 10 for at in times).values())
        busiest = max(Counter(int(10 * at) for at in dials).values())
        figure(
            "2,000 agents come back",
            first_time_seconds=round(first, 1),
            back_after_seconds=round(back, 1),
            most_let_in_within_a_second=peak,
            dials=len(dials),
            most_dials_within_100_ms=busiest,
            health_slowest_ms=round(1_000 * max(asker.took)),
        )
        assert len(times) > 0.9 * AGENTS  # the first may come before the log is set up
        assert "agent lost" not in log
        assert "Traceback" not in log
        assert peak <= 2 * RATE + RATE // 5, "the handshakes were not limited"
        assert busiest < AGENTS / 2, "they all came at the same moment"
        assert not asker.failed
        assert max(asker.took) < 5.0
    assert not remains(tmp_path)
