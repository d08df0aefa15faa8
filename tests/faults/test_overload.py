"""Ten times more work is submitted than can be done: what is too much is refused, with a word on when to come back, and
everything else goes on as if nothing were: reads, heartbeats, programs, and the size of the server."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import threading
import time
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import psutil
import pytest
from faults_kit import QUICK, faulty, figure, scaled

from styx.testing.cluster import Cluster, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(scaled(180, 1_200))]

SECONDS = scaled(15.0, 600.0)
SETTLING = scaled(5.0, 120.0)  # until the memories that the server bounds are as full as they become
RATE = 400.0  # requests a second
ELEMENTS = 40  # of each request
CONNECTIONS = 200
LIVE = 20_000  # elements that the server takes at once
FLOOD = str(Path(__file__).with_name("flood.py"))


class Reader(threading.Thread):
    """Reads what a person would look at, 20 times a second, and notes how long each answer took."""

    PATHS = ("/health", "/api/v1/jobs?limit=20", "/api/v1/agents", "/api/v1/stats")

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(name="reader", daemon=True)
        self._cluster = cluster
        self._headers = {"Authorization": f"Bearer {(cluster.home / 'token').read_text().strip()}"}
        self.over = threading.Event()
        self.took: list[float] = []
        self.wrong: list[str] = []

    def run(self) -> None:
        with closing(HTTPConnection("127.0.0.1", self._cluster.port, timeout=30)) as connection:
            while not self.over.wait(0.05):
                path = self.PATHS[len(self.took) % len(self.PATHS)]
                began = time.monotonic()
                connection.request("GET", path, headers=self._headers)
                answer = connection.getresponse()
                answer.read()
                self.took.append(time.monotonic() - began)
                if answer.status != 200:
                    self.wrong.append(f"{path}: {answer.status}")


def test_ten_times_too_much(tmp_path: Path) -> None:
    with faulty(tmp_path, STYX_MAX_LIVE=str(LIVE), **QUICK) as cluster:
        cluster.start_server()
        cluster.start_agent("a", cpus=2)
        eventually("the agent is there", lambda: cluster.agents_up(1))
        assert cluster.server is not None
        server = psutil.Process(cluster.server.pid)
        reader = Reader(cluster)
        words = [str(cluster.home / "token"), str(RATE), str(CONNECTIONS), str(SECONDS), str(ELEMENTS)]
        flood = subprocess.Popen([sys.executable, FLOOD, cluster.url, *words], stdout=subprocess.PIPE, text=True)
        try:
            time.sleep(SETTLING)
            reader.start()
            memory: list[int] = []
            first = cluster.api("GET", "/api/v1/stats")[1]
            since = time.monotonic()
            while flood.poll() is None:
                memory.append(server.memory_info().rss)
                time.sleep(0.25)
            last = cluster.api("GET", "/api/v1/stats")[1]
            done = (last["ended"] - first["ended"]) / (time.monotonic() - since)
            reader.over.set()
            reader.join()
            told = json.loads(flood.communicate()[0])
        finally:
            flood.kill()
            flood.wait()
        statuses = told["statuses"]
        offered = sum(statuses.values()) * ELEMENTS / told["seconds"]
        quarter = max(1, len(memory) // 4)
        quarters = [statistics.median(memory[first : first + quarter]) for first in range(0, len(memory), quarter)][:4]
        steady = quarters[0]
        p99 = statistics.quantiles(reader.took, n=100)[98]
        figure(
            "overload",
            seconds=round(told["seconds"]),
            offered_a_second=round(offered),
            done_a_second=round(done),
            answers=statuses,
            retry_after=told["retry_after"],
            memory_mb=[round(part / 1e6, 1) for part in quarters],
            memory_most_mb=round(max(memory) / 1e6, 1),
            memory_grew_percent=round(100 * (max(memory) / steady - 1), 1),
            reads=len(reader.took),
            read_p50_ms=round(1_000 * statistics.median(reader.took), 1),
            read_p99_ms=round(1_000 * p99, 1),
        )
        log = cluster.log("server")
        assert set(statuses) <= {"201", "429", "503"}, statuses
        assert statuses["201"] > 0
        assert sum(told["retry_after"].values()) > statuses["201"]
        assert "none" not in told["retry_after"]
        assert offered > 10 * done > 0
        assert not reader.wrong
        assert p99 < 0.25
        assert max(memory) < 1.1 * steady
        assert "agent lost" not in log
        assert "agent suspect" not in log
        assert "Traceback" not in log
        assert cluster.agents_up(1)
        assert cluster.server.poll() is None
