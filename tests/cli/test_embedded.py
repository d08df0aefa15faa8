"""`styx run` without a server, with a real plane and agent in the command, and what can be looked at later."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from styx.cli.embedded import drop_older
from styx.core import ids

STYX = [sys.executable, "-m", "styx"]


def styx(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    outside = {key: value for key, value in os.environ.items() if not key.startswith("STYX_")}
    return subprocess.run(
        [*STYX, *arguments],
        env={**outside, "STYX_HOME": str(home), "XDG_CONFIG_HOME": str(home), "NO_COLOR": "1"},
        cwd=home,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two jobs were run here: `fails`, an array, and after it `dag`, whose second task needs the first's result."""
    home = tmp_path_factory.mktemp("home")
    script = "echo out $STYX_ARRAY_INDEX; echo err >&2; exit $STYX_ARRAY_INDEX"
    first = styx(home, "run", "--name", "fails", "--array", "3", "--", "sh", "-c", script)
    assert first.returncode in {1, 2}, first.stderr
    assert "fails.2 | out 2" in first.stdout
    assert "fails.1 | err" in first.stderr
    (home / "dag.yaml").write_text(
        "tasks:\n  a: {run: 'pwd; echo 41 > $STYX_RESULT'}\n  b: {needs: [a], run: 'expr $(cat $STYX_RESULTS/a) + 1'}\n"
    )
    second = styx(home, "run", "-o", "json", "dag.yaml")
    assert second.returncode == 0, second.stderr
    result = json.loads(second.stdout)
    assert (result["name"], result["status"], result["by"]) == ("dag", "SUCCEEDED", "program")
    assert f"a | {home}" in second.stderr
    assert "b | 42" in second.stderr
    return home


def test_the_list_has_both_newest_first(home: Path) -> None:
    done = styx(home, "status", "-o", "json")
    assert [(job["name"], job["status"], job["graph"]) for job in json.loads(done.stdout)] == [
        ("dag", "SUCCEEDED", []), ("fails", "FAILED", []),
    ]  # fmt: skip
    assert [job["name"] for job in json.loads(styx(home, "status", "--name", "fails", "-o", "json").stdout)] == [
        "fails"
    ]


def test_a_task_is_found_by_name_suffix_and_latest(home: Path) -> None:
    job = json.loads(styx(home, "status", "@latest", "-o", "json").stdout)
    by_name = styx(home, "status", "@latest/b", "-o", "json")
    assert json.loads(by_name.stdout)["exit_code"] == 0
    by_suffix = styx(home, "status", f"{job['job_id'][-12:]}/b", "-o", "json")
    assert by_suffix.stdout == by_name.stdout
    assert styx(home, "status", "@latest/c").returncode == 2


def test_output_and_exit_codes_are_kept(home: Path) -> None:
    name = styx(home, "status", "--name", "fails", "-o", "name").stdout.strip()
    assert styx(home, "wait", name).returncode in {1, 2}
    assert styx(home, "logs", f"{name}/fails.2").stdout == "out 2\n"
    assert styx(home, "logs", "-f", f"{name}/fails.2").returncode == 2
    assert "exit code 2" in styx(home, "why", f"{name}/fails.2").stdout


def test_what_needs_a_server_says_so(home: Path) -> None:
    for arguments in (("agents",), ("cancel", "@latest"), ("run", "-d", "true")):
        done = styx(home, *arguments)
        assert done.returncode == 69
        assert "styx up" in done.stderr


def test_a_place_that_is_too_small_leaves_nothing_behind(tmp_path: Path) -> None:
    done = styx(tmp_path, "run", "--memory", "900TB", "true")
    assert done.returncode == 75
    assert "largest" in done.stderr
    assert list((tmp_path / "embedded").iterdir()) == []
    assert styx(tmp_path, "plan", "--memory", "900TB", "true").returncode == 75


def test_old_jobs_are_dropped_by_the_time_in_their_ids(tmp_path: Path) -> None:
    for at in (1_000, 4_000_000_000_000):
        target = tmp_path / "embedded" / f".run-{at}"
        target.mkdir(parents=True)
        (tmp_path / "embedded" / ids.text(ids.job_id(at, 1))).symlink_to(target.name)
    assert drop_older(tmp_path, 86_400) == 1
    assert sorted(path.name for path in (tmp_path / "embedded").iterdir()) == [
        ".run-4000000000000", ids.text(ids.job_id(4_000_000_000_000, 1)),
    ]  # fmt: skip
