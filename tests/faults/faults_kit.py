"""What the tests of faults share: how hard they try, a cluster that must leave nothing behind, and the books of a server.

Each test has a short form for every run and a long one for `make soak` (STYX_SOAK=1). The numbers differ, the code does not.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from styx.core.states import Outcome
from styx.testing.cluster import Cluster

SOAK = os.environ.get("STYX_SOAK") == "1"

QUICK = {"STYX_HEARTBEAT": "200ms", "STYX_SUSPECT": "1s", "STYX_LOST": "4s"}

T = TypeVar("T")


def scaled(short: T, soak: T) -> T:
    return soak if SOAK else short


def figure(what: str, **values: Any) -> None:
    """A line for whoever runs with `-s`, as `make soak` does."""
    print(f"[figure] {what}: " + ", ".join(f"{name}={value}" for name, value in values.items()), flush=True)


@contextmanager
def faulty(folder: Path, **env: str) -> Iterator[Cluster]:
    """A cluster; when the block is left, no process of it may be."""
    with Cluster(folder, env=env) as cluster:
        yield cluster
    deadline = time.monotonic() + 10
    while left := remains(folder):
        assert time.monotonic() < deadline, f"processes of the test go on: {left}"
        time.sleep(0.05)


def remains(folder: Path) -> list[str]:
    """The living processes that have this folder in their command line or environment, or as their working directory."""
    found = []
    mark = os.fsencode(folder)
    for name in os.listdir("/proc"):
        if not name.isdecimal() or int(name) == os.getpid():
            continue
        try:
            line = Path("/proc", name, "cmdline").read_bytes()
            inside = os.readlink(f"/proc/{name}/cwd")
            if mark in line or inside.startswith(str(folder)) or mark in Path("/proc", name, "environ").read_bytes():
                found.append(f"{name} {line!r}")
        except OSError:
            continue  # gone, or a thread of the kernel
    return found


def submit(cluster: Cluster, document: dict[str, Any], key: str = "") -> str:
    headers = {"Idempotency-Key": key} if key else {}
    status, created = cluster.api("POST", "/api/v1/jobs", document, **headers)
    assert status == 201, created
    return str(created["job_id"])


def ended(cluster: Cluster, job_id: str) -> Any:
    view = cluster.job(job_id)
    return view if view["status"] not in {"RUNNING", "CANCELLING"} else None


def task_of(cluster: Cluster, job_id: str, index: int | None = None, task: int = 0) -> Any:
    """A task (or an element of it) with its attempts."""
    ref = cluster.job(job_id)["graph"][task]["task_id"] + ("" if index is None else f".{index}")
    status, view = cluster.api("GET", f"/api/v1/tasks/{ref}")
    assert status == 200, view
    return view


def outcomes(view: Any) -> list[str]:
    return [attempt["outcome"] for attempt in view["attempts"]]


def output_digest(cluster: Cluster, ref: str) -> tuple[int, str]:
    """Length and SHA-256 of what a task wrote to stdout, as the server gives it."""
    token = (cluster.home / "token").read_text().strip()
    host, _, port = cluster.url.removeprefix("http://").partition(":")
    with closing(http.client.HTTPConnection(host, int(port), timeout=60)) as connection:
        headers = {"Authorization": f"Bearer {token}", "Accept": "text/plain"}
        connection.request("GET", f"/api/v1/tasks/{ref}/logs?stream=stdout", headers=headers)
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        size, digest = 0, hashlib.sha256()
        while data := answer.read(1 << 20):
            size += len(data)
            digest.update(data)
        return size, digest.hexdigest()


class Books:
    """What a server that has ended left on disk about attempts."""

    def __init__(self, home: Path) -> None:
        with closing(sqlite3.connect(f"file:{home}/styx.db?mode=ro", uri=True)) as database:
            self.attempts = database.execute(
                "SELECT job, task, idx, number, outcome, code FROM attempts ORDER BY attempt"
            ).fetchall()

    def of(self, outcome: Outcome) -> int:
        return sum(row[4] == outcome for row in self.attempts)

    @property
    def open(self) -> int:
        """Attempts without an end."""
        return sum(row[4] is None for row in self.attempts)

    @property
    def two_winners(self) -> list[tuple[int, int, int]]:
        """Elements of which more than one attempt has succeeded."""
        wins = Counter(row[:3] for row in self.attempts if row[4] == Outcome.EXITED and row[5] == 0)
        return [element for element, count in wins.items() if count > 1]
