"""kill -9 of the server and of agents under load, again and again: nothing accepted is lost, nothing runs twice, no program
notices, and what programs write arrives whole."""

from __future__ import annotations

import http.client
import random
import shlex
import sys
import threading
import time
import urllib.error
from pathlib import Path

import pytest
from faults_kit import Books, ended, faulty, figure, outcomes, output_digest, scaled, submit, task_of

from styx.core.states import Outcome
from styx.testing.cluster import Cluster, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(scaled(240, 1_800))]

KILLS = scaled(20, 100)
OUTPUT = scaled(20_000_000, 200_000_000)  # bytes, over all kills
MANY = scaled(600, 20_000)

# Writes a part of the whole after each cut, so that every cut falls into its writing, and says at the end what it wrote.
WRITER = """
import hashlib, os, sys, time
total, cuts, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
block, digest, size = b"", hashlib.sha256(), 0
for part in range(cuts + 1):
    while not os.path.exists(f"{folder}/cut.{part}"):
        time.sleep(0.01)
    while size < total * (part + 1) // (cuts + 1):
        block = hashlib.sha512(block).digest() * 256
        left = memoryview(block)
        while left:
            left = left[os.write(1, left):]
        digest.update(block)
        size += len(block)
        time.sleep(0.002)
with open(f"{folder}/written", "w") as file:
    file.write(f"{size} {digest.hexdigest()}")
"""


class Submitter(threading.Thread):
    """Submits small jobs, one after the other, each until it is accepted, whatever becomes of the server meanwhile."""

    def __init__(self, cluster: Cluster, ran: Path) -> None:
        super().__init__(name="submitter", daemon=True)
        self._cluster = cluster
        self._ran = ran
        self.accepted: list[str] = []
        self.refused = ""
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.05):
            number = len(self.accepted)
            job = {"name": f"small-{number}", "run": f"echo x >> {self._ran}/small.{number}"}
            while True:
                try:
                    status, answer = self._cluster.api("POST", "/api/v1/jobs", job, **{"Idempotency-Key": f"n{number}"})
                except (urllib.error.URLError, http.client.HTTPException, OSError):
                    time.sleep(0.01)
                    continue
                if status == 201:
                    self.accepted.append(str(answer["job_id"]))
                    break
                if status not in {429, 503}:
                    self.refused = f"{status} {answer}"
                    return


@pytest.mark.parametrize("victim", ["server", "agents"])
def test_killed_again_and_again(tmp_path: Path, victim: str) -> None:
    chance = random.Random(victim)
    ran = tmp_path / "ran"
    ran.mkdir()
    (ran / "cut.0").touch()
    with faulty(tmp_path) as cluster:
        cluster.start_server()
        for name in "ab":
            cluster.start_agent(name, cpus=4)
        eventually("the agents are there", lambda: cluster.agents_up(2))
        writer = [sys.executable, "-c", WRITER, str(OUTPUT), str(KILLS), str(ran)]
        big = submit(cluster, {"name": "big", "run": shlex.join(writer)})
        waits = f"echo $$ >> {ran}/steady.$STYX_ARRAY_INDEX; while ! test -e {ran}/go; do sleep 0.2; done; echo end"
        steady = submit(cluster, {"name": "steady", "run": waits, "array": 4})
        eventually("the long programs run", lambda: cluster.job(steady)["counts"].get("RUNNING") == 4)
        counts = f"echo x >> {ran}/many.$STYX_ARRAY_INDEX; echo $STYX_ARRAY_INDEX"
        many = submit(cluster, {"name": "many", "run": counts, "array": MANY, "resources": {"cpus": 0.5}})
        submitter = Submitter(cluster, ran)
        submitter.start()
        down = 0.0
        for kill in range(1, KILLS + 1):
            (ran / f"cut.{kill}").touch()
            time.sleep(chance.uniform(0.02, 0.3))  # when exactly does not matter to what is asserted
            began = time.monotonic()
            if victim == "server":
                cluster.kill_server()
                cluster.start_server()
            else:
                name = chance.choice("ab")
                cluster.kill_agent(name)
                cluster.start_agent(name, cpus=4)
                eventually("the agent is back", lambda: cluster.agents_up(2))
            down = max(down, time.monotonic() - began)
        submitter.over.set()
        submitter.join(60)
        assert not submitter.refused
        (ran / "go").touch()
        for job in (big, steady, many, *submitter.accepted):
            view = eventually("the job ends", lambda job=job: ended(cluster, job), within=scaled(60, 600))
            assert view["status"] == "SUCCEEDED", view
        assert len(set(submitter.accepted)) == len(submitter.accepted)
        for index in range(4):
            assert outcomes(task_of(cluster, steady, index)) == ["EXITED"], "a running program was killed"
            assert len((ran / f"steady.{index}").read_text().split()) == 1, "a program ran twice"
        for name, count in (("many", MANY), ("small", len(submitter.accepted))):
            runs = {len((ran / f"{name}.{n}").read_text().split()) for n in range(count)}
            assert runs == {1}, f"one of {name} ran more than once, or never"
        size, digest = (ran / "written").read_text().split()
        assert output_digest(cluster, task_of(cluster, big)["task_id"]) == (int(size), digest)
        assert len(cluster.api("GET", "/api/v1/agents")[1]["items"]) == 2, "an agent came back as another one"
        assert "Traceback" not in cluster.log("server") + cluster.log("agent-a") + cluster.log("agent-b")
        cluster.kill_server()
        books = Books(cluster.home)
        assert books.open == 0
        assert books.of(Outcome.LOST) == 0
        assert books.two_winners == []
        assert books.of(Outcome.EXITED) == 1 + 4 + MANY + len(submitter.accepted)
    figure(
        f"kill -9 of {victim}",
        kills=KILLS,
        tasks=len(books.attempts),
        accepted_meanwhile=len(submitter.accepted),
        lost=0,
        two_winners=0,
        output_bytes=size,
        longest_seconds_until_back=round(down, 2),
    )
