"""Each example is run as its README tells a person to, and what it prints is checked."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
pytestmark = pytest.mark.e2e


def run(*command: str, cwd: Path, home: Path) -> subprocess.CompletedProcess[str]:
    env = {key: value for key, value in os.environ.items() if not key.startswith("STYX_")}
    env |= {"STYX_HOME": str(home), "NO_COLOR": "1", "PATH": f"{Path(sys.executable).parent}:{env['PATH']}"}
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=110, check=False)


def test_census_counts_what_one_process_counts(tmp_path: Path) -> None:
    folder = tmp_path / "census"
    shutil.copytree(EXAMPLES / "census", folder, ignore=shutil.ignore_patterns("census.out", "__pycache__"))
    done = run(sys.executable, "demo.py", cwd=folder, home=tmp_path / "home")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "one process counts the same" in done.stdout
    total = json.loads((folder / "census.out" / "census.json").read_text())
    assert total["files"] > 300
    assert (folder / "census.out" / "census.svg").read_text().startswith("<svg")


def test_flaky_works_at_its_third_attempt(tmp_path: Path) -> None:
    done = run("styx", "run", "flaky.yaml", cwd=EXAMPLES / "flaky", home=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "got it at attempt 3" in done.stdout
    assert "runs however fetch ended" in done.stdout


def test_embed_runs_a_dag_in_its_own_loop(tmp_path: Path) -> None:
    script = EXAMPLES / "embed" / "embed.py"
    assert len([line for line in script.read_text().splitlines() if line and not line.startswith('"""')]) < 15
    done = run(sys.executable, str(script), cwd=tmp_path, home=tmp_path / "home")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "embedded: SUCCEEDED" in done.stdout
