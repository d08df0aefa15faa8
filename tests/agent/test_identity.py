"""Which folder, and so which identity, an agent gets."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from uuid import UUID

import pytest

from styx.agent.identity import claim
from styx.errors import Conflict, StyxError, UsageError

HOLD = """
import sys
from pathlib import Path
from styx.agent.identity import claim
mine = claim(Path(sys.argv[1]))
print(mine.number, mine.agent, flush=True)
sys.stdin.read()
"""


def hold(home: Path) -> tuple[subprocess.Popen[str], int, str]:
    """Another process that claims a folder and keeps it."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    number, agent = process.stdout.readline().split()
    return process, int(number), agent


def test_the_lowest_free_number_and_the_same_identity_again(tmp_path: Path) -> None:
    first = claim(tmp_path)
    second = claim(tmp_path)
    assert (first.number, second.number) == (0, 1)
    assert UUID(first.agent) != UUID(second.agent)
    first.close()
    again = claim(tmp_path)
    assert (again.number, again.agent) == (0, first.agent)
    again.close()
    second.close()


def test_a_process_that_was_killed_leaves_its_identity_to_the_next(tmp_path: Path) -> None:
    other, number, agent = hold(tmp_path)
    try:
        assert number == 0
        mine = claim(tmp_path)
        assert mine.number == 1
        mine.close()
    finally:
        other.send_signal(signal.SIGKILL)
        other.communicate()
    heir = claim(tmp_path)
    assert (heir.number, heir.agent) == (0, agent)
    heir.close()


def test_a_child_process_does_not_inherit_the_lock(tmp_path: Path) -> None:
    """The owner outlives its agent, and must not keep its folder locked."""
    mine = claim(tmp_path)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writer)
        os.read(reader, 1)
        os._exit(0)
    try:
        os.close(reader)
        mine.close()
        other, number, _ = hold(tmp_path)
        other.communicate()
        assert number == 0
    finally:
        os.close(writer)
        os.waitpid(child, 0)


def test_an_id_from_outside_has_its_own_folder_and_runs_once(tmp_path: Path) -> None:
    mine = claim(tmp_path, "worker-7")
    assert mine.agent == "worker-7"
    assert mine.folder == tmp_path / "agents" / "id-worker-7"
    with pytest.raises(Conflict, match="already runs here"):
        claim(tmp_path, "worker-7")
    plain = claim(tmp_path)
    assert plain.number == 0
    plain.close()
    mine.close()


@pytest.mark.parametrize("bad", ["../x", "a b", "a/b", "x" * 65, "-a", "é"])
def test_a_bad_id_is_refused(tmp_path: Path, bad: str) -> None:
    with pytest.raises(UsageError, match="not an agent id"):
        claim(tmp_path, bad)


def test_an_id_file_that_was_damaged_is_drawn_anew(tmp_path: Path) -> None:
    first = claim(tmp_path)
    first.close()
    (first.folder / "id").write_text("half a uu")
    again = claim(tmp_path)
    assert str(UUID(again.agent)) != first.agent
    again.close()


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StyxError, match="cannot be used"):
        claim(tmp_path / "file")


def test_folders_are_private(tmp_path: Path) -> None:
    mine = claim(tmp_path / "home")
    assert mine.folder.stat().st_mode & 0o077 == 0
    mine.close()
