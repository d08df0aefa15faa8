"""kill -9 of the owner, the process that holds an agent's programs, and cancelling whole jobs of programs that cling to life.

An owner that crashed cannot be asked how its programs ended, so they are ended by the next owner before it serves; their
attempts are LOST, which costs the task no retry, and each runs once more. At no time do two attempts of a task run.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from faults_kit import Books, ended, faulty, figure, outcomes, scaled, submit, task_of

from styx.core.states import Outcome
from styx.testing.cluster import Cluster, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(scaled(180, 1_800))]

KILLS = scaled(4, 50)
WIDTH = 4
TREES = 50

# Each attempt looks whether the one before still runs, says who it is, and waits until it may go.
PROGRAM = """
for pid in $(cat {ran}/$STYX_ARRAY_INDEX 2>/dev/null); do
    grep -q '^State:.[^ZX]' /proc/$pid/status 2>/dev/null && echo $pid >> {ran}/overlap
done
echo $$ >> {ran}/$STYX_ARRAY_INDEX
setsid sleep {token} &
while ! test -e {ran}/go; do sleep 0.05; done
"""


def sleepers(token: str) -> list[int]:
    """Living processes with this number of seconds on their command line."""
    found = []
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            words = Path("/proc", name, "cmdline").read_bytes().split(b"\0")
            state = Path("/proc", name, "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if token.encode() in words and state not in "ZX":
            found.append(int(name))
    return found


def kill_the_owner(cluster: Cluster) -> None:
    (owner,) = cluster.owners()
    owner.send_signal(signal.SIGKILL)
    owner.wait(10)


def test_owners_killed_again_and_again(tmp_path: Path) -> None:
    token = f"7{os.getpid()}.5"
    with faulty(tmp_path) as cluster:
        cluster.start_server()
        cluster.start_agent("a", cpus=WIDTH)
        eventually("the agent is there", lambda: cluster.agents_up(1))
        for kill in range(KILLS):
            ran = tmp_path / f"ran-{kill}"
            ran.mkdir()
            job_id = submit(cluster, {"name": "long", "run": PROGRAM.format(ran=ran, token=token), "array": WIDTH})

            def running(times: int, ran: Path = ran) -> bool:
                files = [ran / str(index) for index in range(WIDTH)]
                return all(file.exists() and len(file.read_text().split()) == times for file in files)

            eventually("all run", lambda running=running: running(1))
            before = set(sleepers(token))
            kill_the_owner(cluster)
            eventually("all run once more", lambda running=running: running(2))
            assert not before & set(sleepers(token)), "something outlived the owner that held it"
            (ran / "go").touch()
            view = eventually("the job ends", lambda job_id=job_id: ended(cluster, job_id))
            assert view["status"] == "SUCCEEDED", view
            for index in range(WIDTH):
                assert outcomes(task_of(cluster, job_id, index)) == ["LOST", "EXITED"]
                assert len((ran / str(index)).read_text().split()) == 2
            assert not (ran / "overlap").exists(), "two attempts of a task ran at the same time"
        eventually("nothing is left running", lambda: not sleepers(token))
        cluster.kill_server()
        books = Books(cluster.home)
        assert (books.open, books.two_winners) == (0, [])
        assert books.of(Outcome.LOST) == books.of(Outcome.EXITED) == KILLS * WIDTH
    figure("kill -9 of owners", kills=KILLS, attempts_lost=books.of(Outcome.LOST), overlaps=0, survivors=0)


# What a tree does to stay alive; {} is the number its processes are found by.
CLINGING = {
    "ignores SIGTERM": "trap '' TERM; echo up; while :; do sleep {}; done",
    "has a tree": "sleep {0} & (sleep {0} & sleep {0}) & (setsid sh -c 'sleep {0}; :') & echo up; sleep {0}",
    "changed its session": "setsid sh -c 'trap \"\" TERM; echo up; sleep {0}; sleep {0}' & wait",
    "forks twice": "(setsid setsid sh -c 'sleep {0} & sleep {0}' </dev/null >/dev/null 2>&1 &) ; echo up; sleep {0}",
    "hides": "(env -i setsid /bin/sh -c 'trap \"\" TERM; sleep {0} & sleep {0}' </dev/null >/dev/null 2>&1 &); echo up; sleep {0}",
    "keeps forking": "trap '' TERM; echo up; while :; do (setsid sleep {0} &); sleep 0.1; done",
}


def test_fifty_cancelled_trees_leave_nothing(tmp_path: Path) -> None:
    """Through the whole system: submitted over HTTP, cancelled by the command line, ended by the owner."""
    token = f"8{os.getpid()}.5"
    shapes = list(CLINGING.values())
    with faulty(tmp_path) as cluster:
        cluster.start_server()
        cluster.start_agent("a", cpus=TREES)
        tasks: dict[str, Any] = {
            f"t{number}": {
                "run": f"touch {tmp_path}/up.{number}; {shapes[number % len(shapes)].format(token)}",
                "grace": "300ms",
            }
            for number in range(TREES)
        }
        job_id = submit(cluster, {"name": "trees", "tasks": tasks})
        eventually("all run", lambda: len(list(tmp_path.glob("up.*"))) == TREES)
        eventually("each has grown", lambda: len(sleepers(token)) >= 2 * TREES)
        assert cluster.styx("cancel", job_id).returncode == 0
        view = eventually("the job ends", lambda: ended(cluster, job_id))
        left = sleepers(token)
        assert view["counts"] == {"CANCELLED": TREES}
        assert left == [], "processes have survived the end of their task"
        assert not cluster.programs()
    figure("cancelled trees", trees=TREES, survivors=len(left))
