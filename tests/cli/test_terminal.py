"""`styx run` of a DAG in a real (pseudo-)terminal: the view is drawn, it ends as a summary, and the terminal is left as it was."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

COLOUR = re.compile(r"\x1b\[(?:\d+;)*3\d(?:;\d+)*m")
DAG = """\
name: two
tasks:
  first: {run: 'printf "\\033[31mred\\033[2J up\\n"'}
  second: {needs: [first], array: 3, run: 'echo element $STYX_ARRAY_INDEX; test $STYX_ARRAY_INDEX != 1'}
"""


def in_terminal(folder: Path, **environ: str) -> tuple[int, str]:
    (folder / "dag.yaml").write_text(DAG)
    outside = {key: value for key, value in os.environ.items() if not key.startswith("STYX_") and key != "NO_COLOR"}
    env = {
        **outside,
        "STYX_HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder),
        "TERM": "xterm",
        "COLUMNS": "90",
        "LINES": "40",
    }
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "styx", "run", "dag.yaml"],
            env={**env, **environ},
            cwd=folder,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
    finally:
        os.close(theirs)
    shown = b""
    while True:
        try:
            piece = os.read(ours, 65_536)
        except OSError:  # Linux says EIO when the last writer has gone
            break
        if not piece:
            break
        shown += piece
    os.close(ours)
    return process.wait(60), shown.decode()


def test_a_dag_in_a_terminal(tmp_path: Path) -> None:
    code, shown = in_terminal(tmp_path)
    assert code == 1
    assert "\x1b[2J" not in shown  # a program cannot clear the screen under the view
    assert COLOUR.search(shown)
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h") == 1  # the cursor is given back
    plain = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", shown)
    assert "first | red up" in plain
    assert "second.2 | element 2" in plain
    last = plain[plain.rindex("── two ── ") :].replace("\r", "").splitlines()
    assert last[0].startswith("── two ── failed in ")
    assert "── exit code 1 ──" in last[0]
    assert last[1].split()[1:] == ["4/4", "1", "failed", "3", "succeeded"]
    assert "3/3 1 failed" in last[3]
    assert last[4] == "styx:   second.1 failed: exit code 1"
    assert last[5].startswith("styx:   its output: styx logs ")


def test_without_colour_it_is_the_same_view(tmp_path: Path) -> None:
    code, shown = in_terminal(tmp_path, NO_COLOR="1")
    assert code == 1
    assert not COLOUR.search(shown)
    assert "── two ── failed in " in re.sub(r"\x1b\[[\d;]*m", "", shown)


def test_a_dumb_terminal_gets_lines(tmp_path: Path) -> None:
    code, shown = in_terminal(tmp_path, TERM="dumb")
    assert code == 1
    assert "\x1b[?25l" not in shown
    assert "styx: first: succeeded" in shown
    assert "styx: two failed in" in shown
