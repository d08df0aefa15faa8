"""The server's disk fills up under load: writes are refused with 507 or 503, heartbeats go on, nobody is lost, and when there is room
again everything resumes by itself, with all that was ever accepted."""

from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from faults_kit import QUICK, ended, faulty, figure, outcomes, output_digest, submit, task_of
from small_disk import Disk, small_disk

from styx.testing.cluster import Cluster, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

MB = 1 << 20
REFUSED = {503, 507}
WHILE_FULL = 6.0  # seconds: longer than the lease of QUICK, so that an agent that cannot be heard would be lost

# Writes so much before the disk is full, so much while it is, and so much afterwards, and notes what that was.
WRITER = """
import hashlib, os, sys, time
folder, size = sys.argv[1], int(sys.argv[2])
digest, block = hashlib.sha256(), b""
for stage in range(3):
    while not os.path.exists(f"{folder}/stage.{stage}"):
        time.sleep(0.02)
    for _ in range(size // 16384):
        block = hashlib.sha512(block).digest() * 256
        left = memoryview(block)
        while left:
            left = left[os.write(1, left):]
        digest.update(block)
with open(f"{folder}/written", "w") as file:
    file.write(digest.hexdigest())
"""


def fill(cluster: Cluster, disk: Disk, accepted: list[str]) -> None:
    """Until the server says that it is full: what it has already taken from the disk it may still use."""

    def refused() -> bool:
        disk.fill()
        status, answer = cluster.api(
            "POST", "/api/v1/jobs", {"name": "small", "run": "true", "env": {"A": "a" * 50_000}}
        )
        if status == 201:
            accepted.append(str(answer["job_id"]))
            return False
        assert status in REFUSED, answer
        return True

    eventually("submissions are refused", refused)
    eventually("health says that the disk is full", lambda: health(cluster)["status"] == "full")


def health(cluster: Cluster) -> Any:
    return cluster.api("GET", "/health")[1]


def agents(cluster: Cluster) -> list[Any]:
    status, view = cluster.api("GET", "/api/v1/agents")
    assert status == 200, view
    return list(view["items"])


@pytest.mark.parametrize("shared", [False, True], ids=["the server's disk", "the disk of server and agent"])
def test_a_full_disk_is_waited_out(tmp_path: Path, shared: bool) -> None:
    stages = tmp_path / "stages"
    stages.mkdir()
    (stages / "stage.0").touch()
    accepted: list[str] = []
    size = 3 * MB
    with (
        small_disk(tmp_path / "home", 40 * MB) as disk,
        small_disk(tmp_path / ("unused" if shared else "home/agents"), 40 * MB),
        faulty(tmp_path, **QUICK) as cluster,
    ):
        cluster.start_server()
        cluster.start_agent("a", cpus=8)
        eventually("the agent is there", lambda: cluster.agents_up(1))
        pid = cluster.server.pid  # type: ignore[union-attr]
        writer = submit(
            cluster, {"name": "writer", "run": shlex.join([sys.executable, "-c", WRITER, str(stages), str(size)])}
        )
        ends = f"while ! test -e {stages}/stage.1; do sleep 0.05; done; echo end"
        ending = submit(cluster, {"name": "ends meanwhile", "run": ends, "array": 4})
        eventually("they run", lambda: cluster.job(ending)["counts"].get("RUNNING") == 4)
        accepted += [writer, ending]
        for number in range(20):
            accepted.append(submit(cluster, {"name": f"small-{number}", "run": "true"}))
        first = task_of(cluster, writer)["task_id"]
        eventually("output has come", lambda: output_digest(cluster, first)[0] > 0)

        fill(cluster, disk, accepted)
        (stages / "stage.1").touch()
        refusals, slowest = 0, 0.0
        until = time.monotonic() + WHILE_FULL
        while time.monotonic() < until:
            began = time.monotonic()
            status, answer = cluster.api("POST", "/api/v1/tasks", {"name": "no", "command": "true"})
            assert status in REFUSED, answer
            assert answer["code"] in {"disk-full", "busy"}, answer
            refusals += 1
            slowest = max(slowest, time.monotonic() - began)
            assert [agent["state"] for agent in agents(cluster)] == ["UP"]
            assert cluster.job(writer)["status"] == "RUNNING"  # what is there can be read
            eventually("heartbeats are heard", lambda: agents(cluster)[0]["seen"] < 1.0, within=5)
        assert cluster.api("GET", "/health")[0] == 503
        figure("disk full", shared=shared, refusals=refusals, slowest_refusal_ms=round(slowest * 1_000))

        disk.empty()
        eventually("the server takes work again by itself", cluster.healthy)
        accepted.append(submit(cluster, {"name": "afterwards", "run": "true"}))
        (stages / "stage.2").touch()
        for job in accepted:
            view = eventually("every accepted job ends", lambda job=job: ended(cluster, job))
            assert view["status"] == "SUCCEEDED", view
        assert cluster.server is not None
        assert (cluster.server.pid, cluster.server.poll()) == (pid, None)
        assert outcomes(task_of(cluster, writer)) == ["EXITED"]
        for index in range(4):
            view = task_of(cluster, ending, index)
            assert outcomes(view) == ["EXITED"]
            assert output_digest(cluster, view["task_id"])[0] == len("end\n")
        assert output_digest(cluster, first) == (3 * size, (stages / "written").read_text())
        for log in (cluster.log("server"), cluster.log("agent-a")):
            assert "Traceback" not in log


def test_a_server_that_is_killed_while_its_disk_is_full(tmp_path: Path) -> None:
    accepted: list[str] = []
    with (
        small_disk(tmp_path / "home", 40 * MB) as disk,
        small_disk(tmp_path / "home/agents", 40 * MB),
        faulty(tmp_path, **QUICK) as cluster,
    ):
        cluster.start_server()
        cluster.start_agent("a", cpus=8)
        eventually("the agent is there", lambda: cluster.agents_up(1))
        go = tmp_path / "go"
        waits = f"while ! test -e {go}; do sleep 0.05; done; echo end"
        accepted.append(submit(cluster, {"name": "waits", "run": waits, "array": 4}))
        eventually("they run", lambda: cluster.job(accepted[0])["counts"].get("RUNNING") == 4)
        fill(cluster, disk, accepted)
        cluster.kill_server()
        go.touch()

        cluster.start_server(healthy=False)
        assert cluster.server is not None

        def settled() -> bool:
            """It has given up in words, or waits for room."""
            return cluster.server.poll() is not None or not cluster.healthy()  # type: ignore[union-attr]

        eventually("the new server has said what it thinks of this", settled)
        if cluster.server.poll() is not None:
            assert cluster.server.returncode not in {0, -11, -6}
            assert "room" in cluster.log("server")
        assert "Traceback" not in cluster.log("server")
        cluster.kill_server()

        disk.empty()
        cluster.start_server()
        for job in accepted:
            view = eventually("every accepted job ends", lambda job=job: ended(cluster, job))
            assert view["status"] == "SUCCEEDED", view
        assert outcomes(task_of(cluster, accepted[0], 0)) == ["EXITED"]
