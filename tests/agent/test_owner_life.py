"""When an owner starts, who may talk to it, and when it goes."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import struct
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from owner_talk import Owner, Talk, alive, eventually, owner, spec, token, with_token

from styx.agent.owner import launch
from styx.agent.owner.address import bind, connect
from styx.core.states import Outcome
from styx.errors import StyxError
from styx.protocol.owner import OwnerShutdown


def test_it_speaks_first_and_keeps_to_itself(tmp_path: Path) -> None:
    with owner(tmp_path / "owner") as it:
        talk = it.talk()
        assert talk.hello is not None
        assert (talk.hello.version, talk.hello.pid, talk.hello.incarnation) == (1, it.pid, "")
        assert stat.S_IMODE((tmp_path / "owner").stat().st_mode) == 0o700
        assert stat.S_IMODE((tmp_path / "owner" / "owner.sock").stat().st_mode) == 0o600
        assert os.getsid(it.pid) != os.getsid(0)
        talk.close()


def test_one_owner_a_folder_however_many_launch(tmp_path: Path) -> None:
    pids: list[int] = []
    threads = [threading.Thread(target=lambda: pids.append(launch(tmp_path, tied=False))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with owner(tmp_path) as it:
        assert pids == [it.pid] * 4
        talk = it.talk()
        nonce = talk.hello.nonce if talk.hello else ""
        talk.close()
        again = it.talk()
        assert again.hello is not None
        assert again.hello.nonce == nonce
        again.close()


@pytest.mark.parametrize("name", ["d" * 150, "dir with spaces and ünïcode " + "x" * 80])
def test_long_folders(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name / name
    folder.mkdir(parents=True)
    with owner(folder) as it:
        assert it.talk().configure().run(spec("true")).code == 0


def test_a_folder_that_cannot_be_used_is_explained(tmp_path: Path) -> None:
    (tmp_path / "owner.lock").write_text("nonsense here")
    with pytest.raises(StyxError, match="did not start: the lock file"):
        launch(tmp_path, tied=False)
    blocked = tmp_path / "other"
    blocked.mkdir()
    (blocked / "work").mkdir()
    (blocked / "trash").write_text("in the way")
    with pytest.raises(StyxError, match="did not start"):
        launch(blocked, tied=False)


def test_a_new_connection_replaces_the_old(tmp_path: Path) -> None:
    with owner(tmp_path) as it:
        first = it.talk(release=False, forget=False).configure()
        first.start(spec("sleep 0.05; echo late", shell=True), 1)
        first.starts(1)
        second = it.talk().configure()
        first.hung_up()
        assert second.ends(1)[0].code == 0
        assert second.text(1) == "late\n"
        second.close()


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xff\xff\xff",
        struct.pack(">I", 3) + b"abc",
        struct.pack(">I", 4) + b"\x91\x91\xa1x",
        struct.pack(">I", 1) + b"\xc0",
    ],
)
def test_nonsense_ends_the_connection_and_nothing_else(tmp_path: Path, data: bytes) -> None:
    with owner(tmp_path) as it:
        talk = it.talk().configure()
        talk.start(spec("sleep", "1000"), 1)
        talk.starts(1)
        talk.send_bytes(data)
        talk.hung_up()
        talk = it.talk()
        assert talk.hello is not None
        assert [(h.attempt, h.state) for h in talk.hello.held] == [(1, 1)]
        talk.close()


def test_nothing_is_started_before_configure(tmp_path: Path) -> None:
    with owner(tmp_path) as it:
        talk = it.talk()
        talk.start(spec("true"), 1)
        talk.hung_up()
        talk = it.talk()
        assert talk.hello is not None
        assert talk.hello.held == ()
        talk.close()


def test_programs_outlive_the_agent(tmp_path: Path) -> None:
    """The agent here is a process of its own, and is killed."""
    mark = token()
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from owner_talk import Owner, spec\n"
        "talk = Owner(sys.argv[2]).talk().configure()\n"
        f"talk.start(spec('sleep', '{mark}'), 1)\n"
        "talk.starts(1)\n"
        "import os, signal; os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    agent = subprocess.run([sys.executable, "-c", code, str(Path(__file__).parent), str(tmp_path)], check=False)
    assert agent.returncode == -signal.SIGKILL
    with owner(tmp_path) as it:
        talk = it.talk()
        assert talk.hello is not None
        assert [(h.attempt, h.state) for h in talk.hello.held] == [(1, 1)]
        assert len(with_token(f"sleep\0{mark}")) == 1
        talk.configure().stop(1)
        assert talk.ends(1)[0].outcome is Outcome.KILLED
        talk.close()


@pytest.mark.parametrize("by", ["launch", "configure"])
def test_a_tied_owner_ends_with_its_connection(tmp_path: Path, by: str) -> None:
    mark = token()
    it = Owner(tmp_path, tied=by == "launch")
    talk = it.talk().configure(tied=True)
    talk.start(
        spec(f"trap '' TERM; (setsid sleep {mark} &); echo up; sleep {mark}; sleep {mark}", shell=True, grace=200), 1
    )
    talk.start(spec("sleep", mark, cpus=4_000), 2)
    talk.said(1, b"up")
    talk.close()
    it.gone()
    assert not with_token(mark)
    assert not (tmp_path / "owner.sock").exists()


def test_shutdown_waits_for_what_runs_and_for_its_collection(tmp_path: Path) -> None:
    it = Owner(tmp_path)
    talk = it.talk(forget=False, release=False).configure()
    talk.start(spec("sleep 0.2; echo done", shell=True), 1)
    talk.send(OwnerShutdown())
    assert talk.ends(1)[0].code == 0
    assert talk.text(1) == "done\n"
    talk.start(spec("true"), 2)
    late = talk.ends(2)[0]
    assert (late.outcome, late.reason) == (Outcome.REJECTED, "the owner is about to exit")
    assert it.alive
    talk.close()
    talk = Talk(tmp_path).configure()
    talk.hung_up()
    assert set(talk.ended) == {1, 2}
    it.gone()


def test_shutdown_that_kills(tmp_path: Path) -> None:
    mark = token()
    it = Owner(tmp_path)
    talk = it.talk().configure(cpus=1_000)
    talk.start(spec("sleep", mark), 1, 2)
    talk.starts(1)
    talk.send(OwnerShutdown(kill=True))
    assert [e.outcome for e in talk.ends(1, 2)] == [Outcome.KILLED] * 2
    talk.hung_up()
    it.gone()
    assert not with_token(mark)


def test_sigterm_ends_programs_in_order_and_reports_them_lost(tmp_path: Path) -> None:
    it = Owner(tmp_path)
    talk = it.talk().configure(cpus=1_000)
    line = "trap 'echo saved; exit 0' TERM; echo up; while :; do sleep 0.01; done"
    talk.start(spec(line, shell=True), 1, 2)
    talk.said(1, b"up")
    os.kill(it.pid, signal.SIGINT)  # ignored
    os.kill(it.pid, signal.SIGTERM)
    first, second = talk.ends(1, 2)
    assert (first.outcome, first.code) == (Outcome.LOST, 0)
    assert talk.text(1) == "up\nsaved\n"
    assert second.outcome is Outcome.REJECTED
    talk.hung_up()
    it.gone()


def test_an_idle_owner_goes_and_a_busy_one_stays(tmp_path: Path) -> None:
    it = Owner(tmp_path, "--idle", "0.2")
    talk = it.talk().configure()
    talk.start(spec(f"until test -e {tmp_path}/gate; do sleep 0.01; done", shell=True), 1)
    talk.starts(1)
    talk.close()
    beside = Owner(tmp_path / "beside", "--idle", "0.2")  # had nothing to do
    beside.gone()
    assert alive(it.pid)
    (tmp_path / "gate").touch()
    talk = it.talk().configure()
    talk.ends(1)
    talk.close()
    it.gone()
    assert not (tmp_path / "owner.sock").exists()


def test_the_folder_can_be_taken_again_at_once(tmp_path: Path) -> None:
    for attempt in range(3):
        it = Owner(tmp_path, tied=True)
        talk = it.talk().configure(tied=True)
        assert talk.run(spec("true"), attempt + 1).code == 0
        talk.close()
        it.gone()


def test_a_socket_path_of_any_length_binds_and_connects(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 120)
    folder.mkdir()
    with pytest.raises(FileNotFoundError):
        connect(str(folder))
    with bind(str(folder)) as listener:
        listener.setblocking(True)
        with connect(str(folder)) as connection:
            connection.sendall(b"hello")
            there, _ = listener.accept()
            with there:
                assert there.recv(5) == b"hello"


def test_a_large_leftover_folder_is_removed(tmp_path: Path) -> None:
    with owner(tmp_path) as it:
        talk = it.talk().configure()
        line = "for i in $(seq 40); do mkdir -p d$i/e/f; seq 1 3 > d$i/e/x; ln -s /etc d$i/link; done; mkfifo p; chmod 0 d7"
        assert talk.run(spec(line, shell=True)).code == 0
        eventually(lambda: not list((tmp_path / "trash").iterdir()) and not list((tmp_path / "work").iterdir()))
        assert Path("/etc/passwd").exists()
        talk.close()


def test_an_owner_whose_folder_is_removed_goes(tmp_path: Path) -> None:
    mark = token()
    it = Owner(tmp_path / "owner", "--idle", "0.1")
    talk = it.talk().configure()
    talk.start(spec("sleep", mark), 1)
    talk.starts(1)
    talk.close()
    shutil.rmtree(tmp_path / "owner")
    it.gone()
    assert not with_token(mark)
