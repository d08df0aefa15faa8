"""`styx` as a process: what it loads, broken pipes, completion, Ctrl-C against a scripted plane."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
STYX = [sys.executable, "-m", "styx"]


def environ(home: Path, **more: str) -> dict[str, str]:
    outside = {key: value for key, value in os.environ.items() if not key.startswith("STYX_")}
    return {**outside, "STYX_HOME": str(home), "XDG_CONFIG_HOME": str(home), "NO_COLOR": "1", **more}


def test_help_loads_next_to_nothing(tmp_path: Path) -> None:
    """The bound on its time is kept by what it does not load, which is the same on every machine."""
    program = "import sys; from styx.cli.main import main; main(['--help']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", program], env=environ(tmp_path), capture_output=True, text=True, timeout=60, check=True
    )
    loaded = set(done.stderr.split())
    assert "completion" in done.stdout
    heavy = {
        "asyncio",
        "msgspec",
        "aiohttp",
        "yaml",
        "rich",
        "uvloop",
        "sqlite3",
        "psutil",
        "subprocess",
        "ssl",
        "socket",
    }
    assert not heavy & loaded
    assert not any(name.startswith(("styx.core", "styx.runtime", "styx.protocol")) for name in loaded)


def test_import_styx_loads_nothing_and_offers_everything() -> None:
    program = (
        "import sys; before = set(sys.modules); import styx; more = set(sys.modules) - before; assert more <= {'styx', '__future__'}, more;"
        "print(all(getattr(styx, name) for name in styx.__all__))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "True\n"


def test_a_reader_that_goes_is_no_error(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [*STYX, "--help"],
            env=environ(tmp_path),
            stdout=write,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        os.close(write)
    assert done.returncode == 141
    assert done.stderr == ""


def test_completion_completes_verbs(tmp_path: Path) -> None:
    for shell in ("bash", "zsh", "fish"):
        script = subprocess.run(
            [*STYX, "completion", shell], env=environ(tmp_path), capture_output=True, text=True, timeout=60, check=True
        )
        assert "_STYX_COMPLETE" in script.stdout
    asked = environ(tmp_path, _STYX_COMPLETE="bash_complete", COMP_WORDS="styx st", COMP_CWORD="1")
    done = subprocess.run(STYX, env=asked, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.splitlines() == ["plain,status", "plain,stats"]


def interrupted(tmp_path: Path, *, times: int) -> subprocess.Popen[str]:
    """`styx run` on the scripted plane of interrupted.py, sent Ctrl-C once its output has come, and again after its answer."""
    process = subprocess.Popen(
        [sys.executable, str(HERE / "interrupted.py"), str(times)],
        env=environ(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == "started\n"
    process.send_signal(signal.SIGINT)
    assert "cancelling the job" in process.stderr.readline()
    for _ in range(times - 1):
        process.send_signal(signal.SIGINT)
    return process


def test_the_first_ctrl_c_cancels_and_waits(tmp_path: Path) -> None:
    process = interrupted(tmp_path, times=1)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == "cancelled: cancelled with Ctrl-C\n"
    assert "Traceback" not in err


def test_the_second_ctrl_c_leaves_at_once(tmp_path: Path) -> None:
    process = interrupted(tmp_path, times=2)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "left; the server goes on" in err
    assert "Traceback" not in err
