"""Exit codes and messages of the command line, without a server (embedded) and with one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from styx.testing.cluster import Cluster, eventually

pytestmark = pytest.mark.e2e


def styx(home: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """`styx` as a new user has it: nothing configured, no server."""
    outside = {key: value for key, value in os.environ.items() if not key.startswith("STYX_")}
    return subprocess.run(
        [str(Path(sys.executable).with_name("styx")), *arguments],
        env={**outside, "STYX_HOME": str(home), "NO_COLOR": "1", **env},
        cwd=home,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_exit_codes_are_the_programs_own(tmp_path: Path) -> None:
    assert styx(tmp_path, "run", "--", "sh", "-c", "exit 7").returncode == 7
    assert styx(tmp_path, "run", "sh", "-c", "kill -9 $$").returncode == 137
    done = styx(tmp_path, "run", "--name", "task", "echo", "Hello")
    assert (done.returncode, done.stdout) == (0, "Hello\n")
    assert "embedded" in done.stderr


def test_a_wrong_file_gives_every_error_at_its_place(tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").write_text(
        "name: wrong\ntasks:\n  a:\n    run: echo a\n    retrys: 2\n  b:\n    run: echo b\n    needs: [aa]\n    array: many\n"
    )
    done = styx(tmp_path, "run", "wrong.yaml")
    assert done.returncode == 78
    assert "wrong.yaml:5:5" in done.stderr
    assert "did you mean 'retries'" in done.stderr
    assert "wrong.yaml:8:13" in done.stderr
    assert "did you mean 'a'" in done.stderr
    assert "wrong.yaml:9:12" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_an_unreachable_server_gives_69(tmp_path: Path) -> None:
    done = styx(tmp_path, "--server", "http://127.0.0.1:9", "status")
    assert done.returncode == 69
    assert "http://127.0.0.1:9" in done.stderr
    assert styx(tmp_path, "run", "-d", "true").returncode == 69


def test_a_task_larger_than_every_place_gives_75_and_says_what_fits(tmp_path: Path) -> None:
    done = styx(tmp_path, "run", "--cpus", "4000", "true")
    assert done.returncode == 75
    assert "4,000 CPUs" in done.stderr
    assert "largest" in done.stderr


def test_an_embedded_job_can_be_looked_at_later(tmp_path: Path) -> None:
    done = styx(tmp_path, "run", "--name", "later", "--", "sh", "-c", "echo out; echo err >&2; exit 3")
    assert done.returncode == 3
    status = json.loads(styx(tmp_path, "status", "@latest", "-o", "json").stdout)
    assert (status["name"], status["status"], status["exit_code"]) == ("later", "FAILED", 3)
    logs = styx(tmp_path, "logs", "@latest")
    assert logs.stdout == "out\n"
    assert "err\n" in logs.stderr


def test_ctrl_c_does_what_the_screen_says(tmp_path: Path) -> None:
    env = {key: value for key, value in os.environ.items() if not key.startswith("STYX_")}
    process = subprocess.Popen(
        [str(Path(sys.executable).with_name("styx")), "run", "sh", "-c", "echo started; exec sleep 1000"],
        env={**env, "STYX_HOME": str(tmp_path), "NO_COLOR": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "cancel" in errors.lower()
    assert "Traceback" not in errors


def test_the_seeds_own_forms_work_against_a_server(tmp_path: Path) -> None:
    with Cluster(tmp_path) as cluster:
        cluster.start_server()
        cluster.start_agent("a")
        assert cluster.styx("version").returncode == 0
        done = cluster.styx("run", "--name", "task", "echo", "Hello")
        assert (done.returncode, done.stdout) == (0, "Hello\n")
        created = cluster.styx("run", "-d", "-o", "name", "--name", "t", "sh", "-c", "exit 5")
        assert created.returncode == 0
        task_id = created.stdout.strip()
        assert cluster.styx("wait", task_id).returncode == 5
        status = cluster.styx("status", task_id)
        assert status.returncode == 0
        assert "FAILED" in status.stdout
        assert cluster.styx("status", task_id[-12:]).stdout == status.stdout
        assert cluster.styx("status", "no-such-thing").returncode == 2
        bad = cluster.styx("stats", env={"STYX_TOKEN": "styx_wrong"})
        assert bad.returncode == 77
        agents = json.loads(cluster.styx("agents", "-o", "json").stdout)
        assert [agent["name"] for agent in agents] == ["a"]
        eventually("the agent reports its heartbeat", lambda: "UP" in cluster.styx("agents").stdout)
