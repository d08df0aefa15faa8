"""Who starts when: strictly in the order of arrival, as they fit; and what is held is told truly."""

from __future__ import annotations

import sys
from pathlib import Path

from owner_talk import Talk, configured, eventually, owner, spec, token, with_token

from styx.core.resources import Resources
from styx.core.states import Outcome
from styx.protocol.owner import Configure, OwnerRecall

GATE = "until test -e gate; do sleep 0.01; done"


def gate(folder: Path) -> str:
    return f"until test -e {folder}/gate; do sleep 0.01; done"


def held(talk: Talk) -> list[tuple[int, int]]:
    assert talk.hello is not None
    return [(watching.attempt, watching.state) for watching in talk.hello.held]


def test_first_in_first_out_and_nothing_overtakes(tmp_path: Path) -> None:
    with configured(tmp_path / "owner", cpus=2_000) as talk:
        talk.start(spec(gate(tmp_path), shell=True), 1)
        talk.start(spec("true", cpus=2_000), 2)  # does not fit beside 1
        talk.start(spec("true"), 3, 4)  # would fit, but came later
        talk.starts(1)
        assert talk.started == [1]
        (tmp_path / "gate").touch()
        talk.ends(1, 2, 3, 4)
        assert talk.started[:2] == [1, 2]
        assert sorted(talk.started) == [1, 2, 3, 4]
        assert talk.order[:2] == [1, 2]


def test_the_next_starts_without_the_agent(tmp_path: Path) -> None:
    with owner(tmp_path / "owner") as it:
        ran = tmp_path / "ran"
        ran.touch()
        talk = it.talk(forget=False).configure(cpus=1_000)
        talk.start(spec(f"echo x >> {ran}", shell=True), *range(1, 21))
        talk.starts(1)
        talk.close()
        eventually(lambda: ran.read_text() == "x\n" * 20)
        talk = it.talk().configure(cpus=1_000)
        assert {ending.code for ending in talk.ends(*range(1, 21))} == {0}
        talk.close()


def test_a_start_of_what_is_held_is_ignored(tmp_path: Path) -> None:
    with owner(tmp_path / "owner") as it:
        talk = it.talk(forget=False).configure(cpus=1_000)
        what = spec(f"echo x >> {tmp_path}/ran; {gate(tmp_path)}", shell=True)
        for _ in range(3):
            talk.start(what, 1, 2)
        talk.starts(1)
        (tmp_path / "gate").touch()
        talk.ends(1, 2)
        talk.start(what, 1, 2)  # ended, and not forgotten
        talk.run(spec("true"), 3)
        assert (tmp_path / "ran").read_text() == "x\nx\n"
        talk.close()


def test_what_is_held_is_told_at_hello(tmp_path: Path) -> None:
    with owner(tmp_path / "owner") as it:
        talk = it.talk(forget=False).configure(cpus=1_000, incarnation="this")
        assert held(talk) == []
        talk.run(spec("true"), 1)
        talk.start(spec(gate(tmp_path), shell=True), 2, 3)
        talk.starts(2)
        talk.close()
        talk = it.talk()
        assert held(talk) == [(1, 2), (2, 1), (3, 0)]
        assert talk.hello is not None
        assert talk.hello.incarnation == "this"
        assert talk.hello.capacity == Resources(cpus=1_000)
        assert talk.hello.pid == it.pid
        (tmp_path / "gate").touch()
        talk.configure(cpus=1_000, incarnation="this").ends(1, 2, 3)
        talk.close()


def test_a_recall_gives_back_what_waits_and_only_that(tmp_path: Path) -> None:
    with configured(tmp_path / "owner", cpus=1_000) as talk:
        talk.start(spec(gate(tmp_path), shell=True), 1, 2, 3, 4)
        talk.starts(1)
        talk.send(OwnerRecall((1, 3, 99)))
        ending = talk.ends(3)[0]
        assert (ending.outcome, ending.ran) == (Outcome.REJECTED, 0)
        (tmp_path / "gate").touch()
        assert [e.outcome for e in talk.ends(1, 2, 4)] == [Outcome.EXITED] * 3
        assert talk.started == [1, 2, 4]


def test_a_stop_of_what_waits_lets_the_next_go_on(tmp_path: Path) -> None:
    with configured(tmp_path / "owner", cpus=2_000) as talk:
        talk.start(spec("sleep", "1000"), 1)
        talk.start(spec("true", cpus=2_000), 2)
        talk.start(spec("true"), 3)
        talk.starts(1)
        talk.stop(2, 77)
        second, third = talk.ends(2, 3)
        assert (second.outcome, second.code) == (Outcome.KILLED, 0)
        assert second.reason == "stopped before it started"
        assert third.outcome is Outcome.EXITED
        assert 1 not in talk.ended


def test_what_could_never_fit_is_rejected(tmp_path: Path) -> None:
    with configured(tmp_path / "owner", cpus=2_000) as talk:
        talk.start(spec("sleep", "1000"), 1)
        talk.start(spec("true", cpus=2_001), 2)
        talk.start(spec("true", accelerators=(("A100", 1),)), 3)
        talk.start(spec("true", cpus=2_000), 4)
        for ending in talk.ends(2, 3):
            assert ending.outcome is Outcome.REJECTED
            assert "more than this machine gives" in ending.reason
        talk.configure(cpus=1_500)  # and so is what waits, when the machine shrinks
        assert talk.ends(4)[0].outcome is Outcome.REJECTED
        talk.run(spec("true", cpus=500), 5)


def test_capacity_can_grow(tmp_path: Path) -> None:
    with configured(tmp_path / "owner", cpus=1_000) as talk:
        talk.start(spec("sleep", "1000"), 1, 2)
        talk.starts(1)
        talk.configure(cpus=2_000)
        talk.starts(2)


def test_another_incarnation_ends_and_forgets_everything(tmp_path: Path) -> None:
    mark = token()
    with owner(tmp_path / "owner") as it:
        talk = it.talk(forget=False).configure(cpus=2_000, incarnation="old")
        talk.start(spec(f"trap '' TERM; echo up; sleep {mark}; sleep {mark}", shell=True, grace=600_000), 1)
        talk.said(1, b"up")
        talk.run(spec("echo old", shell=True), 2)
        talk.start(spec("sleep", mark, cpus=2_000), 3)
        talk.close()
        talk = it.talk()
        assert held(talk) == [(1, 1), (2, 2), (3, 0)]
        talk.configure(cpus=2_000, incarnation="new")
        talk.start(spec("echo new", shell=True, cpus=2_000), 1)  # the same number, another attempt
        assert talk.ends(1)[0].code == 0
        assert talk.text(1) == "new\n"
        assert not with_token(mark)
        assert list(talk.ended) == [1]
        assert talk.started == [1]
        talk.close()


def test_nothing_starts_beside_what_another_incarnation_started(tmp_path: Path) -> None:
    """Though there is room: it could be an earlier run of the same task. Half a gigabyte takes a while to die."""
    large = "import os, time; room = b'x' * (1 << 29); print('pid', os.getpid(), flush=True); time.sleep(1000)"
    with owner(tmp_path / "owner") as it:
        talk = it.talk(forget=False).configure(cpus=2_000, incarnation="old")
        talk.start(spec(sys.executable, "-c", large), 1)
        talk.said(1, b"\n")
        pid = talk.text(1).split()[1]
        talk.close()
        talk = it.talk().configure(cpus=2_000, incarnation="new")
        talk.start(spec(f"kill -0 {pid} 2>/dev/null && echo both; :", shell=True), 1)
        assert talk.ends(1)[0].code == 0
        assert talk.text(1) == "", "both were there at the same time"
        talk.close()


def test_accelerators_are_given_out_by_id(tmp_path: Path) -> None:
    show = f'echo "[$CUDA_VISIBLE_DEVICES]"; {gate(tmp_path)}'
    with owner(tmp_path / "owner") as it:
        talk = it.talk()
        talk.send(
            Configure(
                "one",
                Resources(cpus=9_000, accelerators=(("A100", 3), ("T4", 1))),
                devices=(("A100", ("0", "1", "GPU-2")), ("T4", ("3",))),
            )
        )
        talk.start(spec(show, shell=True, accelerators=(("A100", 2),)), 1)
        talk.start(spec(show, shell=True, accelerators=(("A100", 1), ("T4", 1))), 2)
        talk.start(spec(show, shell=True), 3)
        talk.start(spec(show, shell=True, env=(("CUDA_VISIBLE_DEVICES", "7"),)), 4)
        talk.start(spec(show, shell=True, accelerators=(("A100", 3),)), 5)  # waits for 1 and 2
        for attempt in (1, 2, 3, 4):
            talk.said(attempt, b"]")
        assert [talk.text(a) for a in (1, 2, 3, 4)] == ["[0,1]\n", "[GPU-2,3]\n", "[]\n", "[7]\n"]
        assert 5 not in talk.started
        talk.send(  # the agent came back and found the same machine: what is in use stays so
            Configure(
                "one",
                Resources(cpus=9_000, accelerators=(("A100", 3), ("T4", 1))),
                devices=(("A100", ("0", "1", "GPU-2")), ("T4", ("3",))),
            )
        )
        (tmp_path / "gate").touch()
        talk.ends(1, 2, 3, 4, 5)
        assert talk.text(5) == "[0,1,GPU-2]\n"
        talk.close()
