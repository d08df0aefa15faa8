"""`styx up` as a person uses it: a real process, a job against it, Ctrl-C, and nothing of it left running."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from styx.testing.cluster import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

STYX = [sys.executable, "-m", "styx"]


class Up:
    """`styx up` on a free port, in a home of its own."""

    def __init__(self, home: Path) -> None:
        outside = {key: value for key, value in os.environ.items() if not key.startswith("STYX_")}
        self.env = {**outside, "STYX_HOME": str(home), "XDG_CONFIG_HOME": str(home), "NO_COLOR": "1"}
        self.home = home
        self.told = home / "told"
        with self.told.open("wb") as told:
            self.process = subprocess.Popen(
                [*STYX, "up", "--port", "0", "--cpus", "2"],
                env=self.env,
                stdout=told,
                stderr=told,
                start_new_session=True,
            )
        eventually(
            "styx up has an agent", lambda: "Ctrl-C stops both" in self.said() or self.process.poll() is not None
        )
        assert self.process.poll() is None, self.said()

    def said(self) -> str:
        return self.told.read_text()

    def styx(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*STYX, *arguments], env=self.env, cwd=self.home, capture_output=True, text=True, timeout=60, check=False
        )

    def ctrl_c(self) -> int:
        """To the whole foreground group, as a terminal does."""
        os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(60)


def of_home(home: Path) -> list[psutil.Process]:
    """Every living process that was started with this STYX_HOME, or inside it."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if process.status() != psutil.STATUS_ZOMBIE and process.environ().get("STYX_HOME") == str(home):
                found.append(process)
    return found


@contextmanager
def home_of(folder: Path) -> Iterator[Path]:
    home = folder / "home"
    home.mkdir(mode=0o700)
    try:
        yield home
    finally:
        for process in of_home(home):
            with suppress(psutil.NoSuchProcess):
                process.kill()


def test_up_runs_a_job_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with home_of(tmp_path) as home:
        up = Up(home)
        assert "the server is at http://127.0.0.1:" in up.said()
        agents = json.loads(up.styx("agents", "-o", "json").stdout)
        assert [(agent["state"], agent["capacity"]["cpus"]) for agent in agents] == [("UP", 2.0)]

        done = up.styx("run", "--", "sh", "-c", "echo hello; echo careful >&2; exit 7")
        assert (done.returncode, done.stdout) == (7, "hello\n"), done.stderr
        assert "careful\n" in done.stderr
        assert "embedded" not in done.stderr

        assert up.ctrl_c() == 0, up.said()
        assert up.said().count("\n") == 4, up.said()  # and no word of the agent losing its server
        assert "starting it again" not in up.said()
        eventually("all processes have gone", lambda: not of_home(home))
        assert not (home / "server.json").exists()
        gone = up.styx("agents")
        assert gone.returncode == 69
        assert "styx up" in gone.stderr


def test_what_runs_at_ctrl_c_goes_on_and_the_next_up_finds_it(tmp_path: Path) -> None:
    with home_of(tmp_path) as home:
        up = Up(home)
        waits = 'touch began; until test -e go; do sleep 0.05; done; echo "attempt $STYX_ATTEMPT"; exit 3'
        job = up.styx("run", "-d", "-o", "name", "--", "sh", "-c", waits).stdout.strip()
        eventually("the program runs", (home / "began").exists)
        assert up.ctrl_c() == 0, up.said()
        assert of_home(home)

        up = Up(home)
        (home / "go").touch()
        assert up.styx("wait", job).returncode == 3
        assert up.styx("logs", job).stdout == "attempt 1\n"
        assert up.ctrl_c() == 0, up.said()
        eventually("all processes have gone", lambda: not of_home(home))


def test_a_second_up_says_who_is_in_the_way(tmp_path: Path) -> None:
    with home_of(tmp_path) as home:
        up = Up(home)
        again = up.styx("up", "--port", "0")
        assert again.returncode == 1
        assert f"in use by process {up.process.pid}" in again.stderr
        port = json.loads((home / "server.json").read_text())["url"].rpartition(":")[2]
        taken = subprocess.run(
            [*STYX, "up", "--port", port],
            env={**up.env, "STYX_HOME": str(tmp_path / "other")},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert taken.returncode == 1
        assert port in taken.stderr
        assert "Traceback" not in taken.stderr
        assert up.ctrl_c() == 0
        eventually("all processes have gone", lambda: not of_home(home) and not of_home(tmp_path / "other"))
