"""Agents in network namespaces of their own, cut off without a word for less and for more than their lease, one and all.

Leases are short here, the code is the same: heartbeat 200 ms, suspect after 1 s, lost after 5 s.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from faults_kit import ended, faulty, figure, outcomes, submit, task_of
from netns_kit import HUB, Network, network

from styx.testing.cluster import Cluster, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

LEASE = 5.0
SHORT = {"STYX_HEARTBEAT": "200ms", "STYX_SUSPECT": "1s", "STYX_LOST": "5s"}
ALL = 5  # agents that are cut off together

PROGRAM = (
    "echo $$ >> {ran}.$STYX_ARRAY_INDEX; n=0; while ! test -e {go}; do n=$((n+1)); echo $n; sleep 0.05; done; echo end"
)


@contextmanager
def networked(folder: Path) -> Iterator[tuple[Cluster, Network]]:
    """A server on the hub's address, in the clear and told twice that it may; agents are started with `start`."""
    with network() as net, faulty(folder, **SHORT) as cluster:
        cluster.url = f"http://{HUB}:{cluster.port}"
        cluster.start_server("--host", HUB, "--insecure", "--insecure")
        yield cluster, net


def start(cluster: Cluster, net: Network, name: str, cpus: int = 1) -> None:
    with net.inside(name):
        cluster.start_agent(name, cpus=cpus)


def runs(ran: Path, index: int = 0) -> int:
    file = ran.with_name(f"{ran.name}.{index}")
    return len(file.read_text().split()) if file.exists() else 0


def states(cluster: Cluster) -> dict[str, str]:
    return {agent["name"]: agent["state"] for agent in cluster.api("GET", "/api/v1/agents")[1]["items"]}


def styx(cluster: Cluster, *words: str) -> subprocess.CompletedProcess[str]:
    """The command line, with the token that it would not send to another machine unasked."""
    return cluster.styx(*words, env={"STYX_TOKEN": (cluster.home / "token").read_text().strip()})


def whole(cluster: Cluster, job_id: str, index: int) -> bool:
    """Whether the output has every line."""
    told = styx(cluster, "logs", "-f", task_of(cluster, job_id, index)["task_id"])
    lines = told.stdout.split()
    assert lines, told.stderr
    return lines[-1] == "end" and lines[:-1] == [str(n) for n in range(1, len(lines))]


def test_cut_for_less_than_the_lease_and_half_open(tmp_path: Path) -> None:
    """Deaf, dumb and both: the agent dials again, its new link takes the place of the old one, and nothing happens to its
    program. Then its agent dies while nobody can hear it, and the next one finds the program."""
    ran, go = tmp_path / "ran", tmp_path / "go"
    with networked(tmp_path) as (cluster, net):
        start(cluster, net, "a")
        job_id = submit(cluster, {"name": "cut", "run": PROGRAM.format(ran=ran, go=go), "array": 1})
        eventually("it runs", lambda: runs(ran) == 1)
        start(cluster, net, "b")
        eventually("both agents are there", lambda: cluster.agents_up(2))
        worst = 0.0
        for how in ({"hears": True}, {"speaks": True}, {}):
            net.cut("a", **how)
            eventually("the agent is suspect", lambda: states(cluster)["a"] == "SUSPECT", within=LEASE)
            healed = time.monotonic()
            net.heal("a")
            eventually("the agent is back", lambda: states(cluster)["a"] == "UP")
            worst = max(worst, time.monotonic() - healed)
        net.cut("a")
        cluster.kill_agent("a")
        start(cluster, net, "a")
        net.heal("a")
        eventually("the next agent has taken over", lambda: states(cluster)["a"] == "UP")
        go.touch()
        view = eventually("the job ends", lambda: ended(cluster, job_id))
        assert view["status"] == "SUCCEEDED"
        assert outcomes(task_of(cluster, job_id, 0)) == ["EXITED"]
        assert runs(ran) == 1
        assert whole(cluster, job_id, 0)
        assert "agent lost" not in cluster.log("server")
    figure("cut for less than the lease", cuts=4, attempts_lost=0, longest_seconds_until_back=round(worst, 2))


def test_cut_for_more_than_the_lease(tmp_path: Path) -> None:
    """The task runs once more elsewhere; the first program is stopped when its agent is back, and what it says is dropped."""
    ran, go = tmp_path / "ran", tmp_path / "go"
    with networked(tmp_path) as (cluster, net):
        start(cluster, net, "a")
        job_id = submit(cluster, {"name": "cut", "run": PROGRAM.format(ran=ran, go=go), "array": 1})
        eventually("it runs", lambda: runs(ran) == 1)
        start(cluster, net, "b")
        eventually("both agents are there", lambda: cluster.agents_up(2))
        cut = time.monotonic()
        net.cut("a")
        eventually("it runs again elsewhere", lambda: runs(ran) == 2)
        silence = time.monotonic() - cut
        assert silence >= LEASE - 0.5, "it was given up before its lease was over"
        assert states(cluster) == {"a": "LOST", "b": "UP"}
        net.heal("a")
        eventually("the agent is back", lambda: states(cluster)["a"] == "UP")
        (loser,) = (program for program in (tmp_path / "ran.0").read_text().split()[:1])
        eventually("the program that lost has been stopped", lambda: not Path("/proc", loser).exists())
        go.touch()
        view = eventually("the job ends", lambda: ended(cluster, job_id))
        assert view["status"] == "SUCCEEDED"
        assert outcomes(task_of(cluster, job_id, 0)) == ["LOST", "EXITED"]
        assert runs(ran) == 2
        eventually("nothing is left running", lambda: not cluster.programs())
    figure("cut for more than the lease", lease=LEASE, rescheduled_after=round(silence, 1), two_winners=0)


def test_the_whole_cluster_is_partitioned(tmp_path: Path) -> None:
    """When most agents vanish together the network is to blame: nothing is rescheduled, and all of them go on afterwards."""
    ran, go = tmp_path / "ran", tmp_path / "go"
    with networked(tmp_path) as (cluster, net):
        for number in range(ALL):
            start(cluster, net, f"n{number}")
        eventually("all agents are there", lambda: cluster.agents_up(ALL))
        job_id = submit(cluster, {"name": "cut", "run": PROGRAM.format(ran=ran, go=go), "array": ALL})
        eventually("all run", lambda: all(runs(ran, index) == 1 for index in range(ALL)))
        net.part()
        eventually("all are suspect", lambda: set(states(cluster).values()) == {"SUSPECT"})
        with net.inside("fresh"):  # a place to go to: it joins the bridge after the others have lost it
            cluster.start_agent("fresh", cpus=ALL)
        eventually("a fresh agent is there", lambda: states(cluster).get("fresh") == "UP")
        parted = time.monotonic()
        eventually("the leases are over", lambda: cluster.log("server").count("agent lost") == ALL)
        time.sleep(1)  # time enough to do it wrong
        assert sum(runs(ran, index) for index in range(ALL)) == ALL, "something was rescheduled"
        why = json.loads(styx(cluster, "why", f"{job_id}/cut.0", "-o", "json").stdout)
        net.join_again()
        eventually("all are back", lambda: cluster.agents_up(ALL + 1))
        go.touch()
        view = eventually("the job ends", lambda: ended(cluster, job_id))
        assert view["status"] == "SUCCEEDED"
        for index in range(ALL):
            assert outcomes(task_of(cluster, job_id, index)) == ["EXITED"]
            assert runs(ran, index) == 1
            assert whole(cluster, job_id, index)
        assert why["code"] == "mass-loss", why
    figure("the whole cluster partitioned", agents=ALL, seconds=round(time.monotonic() - parted, 1), rescheduled=0)
