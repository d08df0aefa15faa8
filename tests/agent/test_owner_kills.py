"""Nothing survives its attempt, however it tries."""

from __future__ import annotations

import shlex
import signal
import sys
from pathlib import Path

import pytest
from owner_talk import Owner, configured, eventually, owner, spec, token, with_token

from styx.core.states import Outcome

PYTHON = sys.executable

# Programs that try to survive. Each prints "up" when it has done what it can; {} is the token they are found by.
HARDY = {
    "ignores SIGTERM": "trap '' TERM; echo up; while :; do sleep {}; done",
    "has a tree": "sleep {0} & (sleep {0} & sleep {0}) & (setsid sh -c 'sleep {0}; :') & echo up; sleep {0}",
    "changed its session": "setsid sh -c 'trap \"\" TERM; echo up; sleep {0}; sleep {0}' & wait",
    "double fork": "(setsid setsid sh -c 'sleep {0} & sleep {0}' </dev/null >/dev/null 2>&1 &) ; echo up; sleep {0}",
    "scrubbed its environment": "(env -i setsid /bin/sh -c 'sleep {0} & sleep {0}' </dev/null >/dev/null 2>&1 &); echo up; sleep {0}",
    "stopped": "(setsid sh -c 'kill -STOP $$; sleep {0}' &) ; echo up; kill -STOP $$; sleep {0}",
}

FORKS_ON = """
import os, sys, time
# {}: beside this program, each process starts the next one in a session of its own, and exits
sys.stdout.write("up"); sys.stdout.flush()
if os.fork():
    while True: time.sleep(1)
for fd in (0, 1, 2): os.close(fd)
while True:
    if os.fork():
        os._exit(0)
    os.setsid()
"""

FORKS_A_LOT = """
import os, sys, signal, time
# {}: always about a dozen processes, each of which replaces itself all the time and ignores SIGTERM
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for _ in range(12):
    if not os.fork():
        while True:
            if os.fork():
                os._exit(0)
            os.setsid()
            time.sleep(0.002)
sys.stdout.write("up"); sys.stdout.flush()
while True: time.sleep(1)
"""


@pytest.mark.parametrize("name", HARDY)
def test_a_stop_leaves_nothing(tmp_path: Path, name: str) -> None:
    mark = token()
    with configured(tmp_path) as talk:
        talk.start(spec(HARDY[name].format(mark), shell=True, grace=300), 1)
        talk.said(1, b"up")
        assert with_token(mark)
        talk.stop(1)
        ending = talk.ends(1)[0]
        assert not with_token(mark)
        assert ending.outcome is Outcome.KILLED
        assert ending.code in {143, 137}


@pytest.mark.parametrize("name", HARDY)
def test_an_exit_leaves_nothing_behind(tmp_path: Path, name: str) -> None:
    """The program itself ends well; what it started goes too, at the latest with the sweep."""
    mark = token()
    with configured(tmp_path) as talk:
        hardy = shlex.quote(HARDY[name].format(mark))
        line = f"sh -c {hardy} >up & until grep -qs up up; do sleep 0.01; done; exit 5"
        ending = talk.run(spec(line, shell=True, grace=300))
        assert (ending.outcome, ending.code) == (Outcome.EXITED, 5)
        eventually(lambda: not with_token(mark))


@pytest.mark.parametrize("program", [FORKS_ON, FORKS_A_LOT], ids=["a chain", "a crowd"])
def test_what_forks_all_the_time_is_caught(tmp_path: Path, program: str) -> None:
    mark = token()
    with configured(tmp_path) as talk:
        talk.start(spec(PYTHON, "-c", program.format(mark), grace=100), 1)
        talk.said(1, b"up")
        talk.stop(1)
        assert talk.ends(1)[0].outcome is Outcome.KILLED
        for _ in range(20):  # one look at /proc can miss what keeps moving
            assert not with_token(mark)
        assert talk.run(spec("true"), 2).code == 0


def test_what_forks_on_after_its_programs_exit_is_caught_too(tmp_path: Path) -> None:
    """Nobody is below the owner when it goes, so the chain is over when it has gone."""
    mark = token()
    with owner(tmp_path) as it:
        talk = it.talk().configure()
        line = f"{PYTHON} -c {shlex.quote(FORKS_ON.format(mark))} & sleep 0.2; kill -9 $!; exit 3"
        assert talk.run(spec(line, shell=True, grace=100)).code == 3
        talk.close()
    for _ in range(20):
        assert not with_token(mark)


def test_grace_is_given(tmp_path: Path) -> None:
    with configured(tmp_path) as talk:
        talk.start(
            spec("trap 'echo bye; exit 9' TERM; echo up; while :; do sleep 0.01; done", shell=True, grace=60_000), 1
        )
        talk.said(1, b"up")
        talk.stop(1)
        ending = talk.ends(1)[0]
        assert (ending.outcome, ending.code) == (Outcome.KILLED, 9)
        assert talk.text(1) == "up\nbye\n"


def test_a_kill_hits_only_its_own_attempt(tmp_path: Path) -> None:
    mark = token()
    with configured(tmp_path) as talk:
        talk.start(spec(f"setsid sleep {mark} & echo up; wait", shell=True, grace=100), 1, 2)
        talk.said(1, b"up")
        talk.said(2, b"up")
        eventually(lambda: len(with_token(f"sleep\0{mark}")) == 2)
        talk.stop(1)
        talk.ends(1)
        assert len(with_token(f"sleep\0{mark}")) == 1
        assert 2 not in talk.ended
        talk.stop(2)
        talk.ends(2)
        assert not with_token(mark)


def test_many_stops_at_once(tmp_path: Path) -> None:
    mark = token()
    with configured(tmp_path, cpus=60_000) as talk:
        attempts = tuple(range(1, 41))
        talk.start(spec(f"setsid sleep {mark} & sleep {mark}", shell=True), *attempts)
        talk.starts(*attempts)
        talk.stop(*attempts)
        assert {ending.outcome for ending in talk.ends(*attempts)} == {Outcome.KILLED}
        assert not with_token(mark)


def test_an_orphan_of_a_running_program_is_left_alone(tmp_path: Path) -> None:
    """A program may have daemons while it runs itself; dead ones are reaped, and no look at the tree harms the living."""
    mark = token()
    with configured(tmp_path) as talk:
        line = f"(setsid sleep {mark} &); (setsid true &); echo up; read never </dev/null; sleep {mark}"
        talk.start(spec(line, shell=True), 1)
        talk.said(1, b"up")
        talk.start(spec("sleep", "1000"), 2)
        talk.starts(2)
        talk.stop(2)  # makes the owner look at all there is
        talk.ends(2)
        talk.run(spec("true"), 3)
        assert len(with_token(f"sleep\0{mark}")) == 2
        assert 1 not in talk.ended


def test_a_crashed_owners_programs_are_ended_by_the_next(tmp_path: Path) -> None:
    mark, other = token(), token()
    with owner(tmp_path / "another") as neighbour:
        beside = neighbour.talk().configure()
        beside.start(spec("sleep", other), 1)
        beside.starts(1)
        first = Owner(tmp_path / "it")
        talk = first.talk().configure()
        for attempt, name in enumerate(HARDY, 1):
            talk.start(spec(HARDY[name].format(mark), shell=True, cpus=1), attempt)
            talk.said(attempt, b"up")
        first.kill(signal.SIGKILL)
        assert with_token(mark)
        with owner(tmp_path / "it") as second:
            assert second.pid != first.pid
            assert not with_token(mark)
            talk = second.talk()
            assert talk.hello is not None
            assert talk.hello.held == ()
            assert talk.configure().run(spec("true")).code == 0
        assert with_token(other)
        beside.close()


def test_the_end_is_told_when_nothing_is_left_in_its_group(tmp_path: Path) -> None:
    """What the program left running holds no pipe and ignores SIGTERM; until it is gone the attempt has not ended, and its share
    of the machine is not free."""
    mark = token()
    with owner(tmp_path) as it:
        talk = it.talk().configure(cpus=1_000)
        there = "(exec </dev/null >/dev/null 2>&1; echo > there; exec sleep {}) &"
        left = f"trap '' TERM; {there.format(mark)} while [ ! -e there ]; do sleep 0.01; done; exit 3"
        talk.start(spec(left, shell=True, grace=200), 1)
        assert talk.ends(1)[0].code == 3
        assert with_token(mark) == []
