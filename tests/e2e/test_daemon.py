"""A server and agents as separate processes: DAGs, crashes, partitions, scale."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from styx.testing.cluster import Cluster, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

QUICK = {"STYX_HEARTBEAT": "200ms", "STYX_SUSPECT": "1s", "STYX_LOST": "4s"}


def ended(cluster: Cluster, job_id: str) -> Any:
    view = cluster.job(job_id)
    return view if view["status"] not in {"RUNNING", "CANCELLING"} else None


def submit(cluster: Cluster, document: dict[str, Any]) -> str:
    status, created = cluster.api("POST", "/api/v1/jobs", document)
    assert status == 201, created
    return str(created["job_id"])


def test_a_dag_that_was_there_before_its_agents(tmp_path: Path) -> None:
    """Three levels, an array of 200, a task that needs retries, one that times out, one that is cancelled."""
    with Cluster(tmp_path) as cluster:
        cluster.start_server()
        job_id = submit(
            cluster,
            {
                "name": "big",
                "resources": {"cpus": 0.25},
                "tasks": {
                    "start": {"run": "echo start"},
                    "many": {"run": "echo element $STYX_ARRAY_INDEX", "needs": ["start"], "array": 200},
                    "flaky": {
                        "run": 'echo try $STYX_ATTEMPT; test "$STYX_ATTEMPT" -ge 3',
                        "needs": ["start"],
                        "retries": 3,
                        "backoff": {"initial": "50ms"},
                    },
                    "slow": {"run": "sleep 600", "timeout": "500ms", "allow_failure": True},
                    "endless": {"run": "sleep 600", "needs": ["start"]},
                    "last": {"run": "echo last", "needs": ["many", "flaky", "slow"]},
                },
            },
        )
        why = json.loads(cluster.styx("why", f"{job_id}/start", "-o", "json").stdout)
        assert why["status"] == "READY"
        assert why["code"] == "no-node"
        cluster.start_agent("a")
        cluster.start_agent("b")

        def endless_runs() -> bool:
            graph = {task["name"]: task["status"] for task in cluster.job(job_id)["graph"]}
            return graph["endless"] == "RUNNING" and graph["last"] == "SUCCEEDED"

        eventually("all but the endless task have ended", endless_runs)
        why = json.loads(cluster.styx("why", f"{job_id}/endless", "-o", "json").stdout)
        assert why["code"] == "running"
        assert cluster.styx("cancel", f"{job_id}/endless").returncode == 0
        view = eventually("the job ends", lambda: ended(cluster, job_id))
        graph = {task["name"]: task for task in view["graph"]}
        assert {name: task["status"] for name, task in graph.items()} == {
            "start": "SUCCEEDED",
            "many": "SUCCEEDED",
            "flaky": "SUCCEEDED",
            "slow": "FAILED",
            "endless": "CANCELLED",
            "last": "SUCCEEDED",
        }
        assert graph["many"]["counts"] == {"SUCCEEDED": 200}
        flaky = cluster.api("GET", f"/api/v1/tasks/{graph['flaky']['task_id']}")[1]
        assert [attempt["code"] for attempt in flaky["attempts"]] == [1, 1, 0]
        slow = cluster.api("GET", f"/api/v1/tasks/{graph['slow']['task_id']}")[1]
        assert [attempt["outcome"] for attempt in slow["attempts"]] == ["TIMED_OUT"]
        logs = cluster.styx("logs", f"{job_id}/many")
        lines = [line.split(" ", 1)[-1] if "element" not in line[:8] else line for line in logs.stdout.splitlines()]
        numbers = sorted(int(line.rsplit(" ", 1)[-1]) for line in lines)
        assert numbers == list(range(200))
        eventually("nothing is left running", lambda: not cluster.programs(), within=20)


def test_kill_the_server_in_the_middle(tmp_path: Path) -> None:
    """kill -9 of the server among 2,000 running and queued tasks: each ends exactly once, no program is killed."""
    with Cluster(tmp_path) as cluster:
        ran = tmp_path / "ran"
        ran.mkdir()
        cluster.start_server()
        cluster.start_agent("a", cpus=8)
        job_id = submit(
            cluster,
            {
                "name": "crash",
                "tasks": {
                    "long": {"run": f"echo begin; sleep 4; echo $$ >> {ran}/long; echo end", "array": 4},
                    "many": {
                        "run": f"echo x >> {ran}/$STYX_ARRAY_INDEX; echo done $STYX_ARRAY_INDEX",
                        "array": 2000,
                        "resources": {"cpus": 0.5},
                    },
                },
            },
        )
        for _ in range(2):
            time.sleep(0.7)  # somewhere in the middle; where exactly does not matter to what is asserted
            cluster.kill_server()
            cluster.start_server()
        view = eventually("the job ends", lambda: ended(cluster, job_id), within=120)
        assert view["status"] == "SUCCEEDED", view
        assert view["counts"] == {"SUCCEEDED": 2004}
        assert len((ran / "long").read_text().split()) == 4, "a running program was killed or ran twice"
        counts = [len((ran / str(index)).read_text().split()) for index in range(2000)]
        assert set(counts) == {1}, "an element ran more than once"
        many = next(task for task in view["graph"] if task["name"] == "many")
        out = cluster.styx("logs", f"{job_id}/many").stdout
        assert sorted(int(line.rsplit(" ", 1)[-1]) for line in out.splitlines()) == list(range(2000)), many


def test_kill_the_agent_in_the_middle(tmp_path: Path) -> None:
    """kill -9 of an agent, then a restart: its owner kept the programs, and all output."""
    with Cluster(tmp_path) as cluster:
        ran = tmp_path / "ran"
        cluster.start_server()
        cluster.start_agent("a", cpus=4)
        job_id = submit(
            cluster,
            {
                "name": "crash",
                "tasks": {
                    "long": {"run": f"seq 1 20000; sleep 2; echo $$ >> {ran}; seq 20001 40000", "array": 4},
                    "later": {"run": "echo later", "array": 100},
                },
            },
        )
        eventually("the programs run", lambda: cluster.job(job_id)["counts"].get("RUNNING", 0) >= 4)
        cluster.kill_agent("a")
        time.sleep(0.5)
        cluster.start_agent("a", cpus=4)
        view = eventually("the job ends", lambda: ended(cluster, job_id))
        assert view["counts"] == {"SUCCEEDED": 104}
        assert len(ran.read_text().split()) == 4
        for index in range(4):
            out = cluster.styx("logs", f"{job_id}/long.{index}").stdout
            assert out.split() == [str(n) for n in range(1, 40_001)]
        agents = json.loads(cluster.styx("agents", "-o", "json").stdout)
        assert len(agents) == 1, "the agent came back as another one"


@pytest.mark.parametrize("cut", ["short", "long"])
def test_an_agent_is_cut_off(tmp_path: Path, cut: str) -> None:
    """For less than its lease nothing reruns; for longer its task runs once more, and the late answer is dropped."""
    with Cluster(tmp_path, env=QUICK) as cluster:
        ran = tmp_path / "ran"
        go = tmp_path / "go"
        cluster.start_server()
        cluster.start_agent("a", cpus=1)
        eventually("the agent is there", lambda: cluster.agents_up(1))
        program = f"echo x >> {ran}; while ! test -e {go}; do sleep 0.05; done; echo finished $STYX_ATTEMPT"
        job_id = submit(cluster, {"name": "cut", "run": program})
        eventually("it runs", ran.exists)
        cluster.start_agent("b", cpus=1)
        eventually("the second agent is there", lambda: cluster.agents_up(2))
        cluster.agents["a"].send_signal(signal.SIGSTOP)
        if cut == "short":
            eventually("the agent is suspect", lambda: not cluster.agents_up(2))
        else:
            eventually("it runs again elsewhere", lambda: len(ran.read_text().split()) == 2)
        go.touch()
        if cut == "long":
            view = eventually("the job ends", lambda: ended(cluster, job_id))
        cluster.agents["a"].send_signal(signal.SIGCONT)
        eventually("the agent is back", lambda: cluster.agents_up(2))
        view = eventually("the job ends", lambda: ended(cluster, job_id))
        assert view["status"] == "SUCCEEDED"
        task = cluster.api("GET", f"/api/v1/tasks/{view['graph'][0]['task_id']}")[1]
        outcomes = [attempt["outcome"] for attempt in task["attempts"]]
        assert outcomes == (["EXITED"] if cut == "short" else ["LOST", "EXITED"])
        assert len(ran.read_text().split()) == len(outcomes)
        eventually("nothing is left running", lambda: not cluster.programs(), within=20)


def test_a_hundred_thousand_elements_and_ten_thousand_tasks(tmp_path: Path) -> None:
    """Accepted, run through by an agent that starts nothing, and listed; the server's loop is never blocked for long."""
    with Cluster(tmp_path) as cluster:
        cluster.start_server()
        cluster.start_agent("idle", "--no-work", cpus=16)
        array = submit(cluster, {"name": "array", "command": ["true"], "array": 100_000})
        tasks = {
            f"t{n}": {"command": ["true"], "needs": [f"t{n // 2}", f"t{n // 3}"] if n > 2 else []}
            for n in range(10_000)
        }
        for n, task in enumerate(tasks.values()):
            task["needs"] = sorted(set(task["needs"])) if n > 2 else []
        dag = submit(cluster, {"name": "dag", "tasks": tasks})
        for job_id, count in ((array, 100_000), (dag, 10_000)):
            view = eventually("the job ends", lambda job_id=job_id: ended(cluster, job_id), within=120)
            assert view["counts"] == {"SUCCEEDED": count}
        seen, cursor = 0, ""
        while cursor is not None:
            status, page = cluster.api("GET", f"/api/v1/tasks?job={dag}&limit=1000&cursor={cursor}")
            assert status == 200
            seen += len(page["items"])
            cursor = page["next"]
        assert seen == 10_000
        stats = json.loads(cluster.styx("stats", "-o", "json").stdout)
        assert stats["loop_lag_ms_max"] < 1_000, stats  # far above the aim of 100, which the note on the issue measures
