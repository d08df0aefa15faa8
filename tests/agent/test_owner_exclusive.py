"""The owner ends exclusive programs by itself when the lease of its node is over, whether or not its agent still lives, and starts
nothing until it hears of another lease."""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace
from owner_talk import eventually, owner, spec, token, with_token

from styx.core.resources import Resources
from styx.core.states import Outcome
from styx.protocol.owner import OwnerLease, OwnerRecall


def test_only_exclusive_programs_end_with_the_lease(tmp_path: Path) -> None:
    mark = token()
    with owner(tmp_path) as running:
        talk = running.talk().configure()
        talk.send(OwnerLease(60_000))
        talk.start(replace(spec("sleep", mark), exclusive=True), 1)
        talk.start(spec("sleep", f"{mark}1"), 2)
        talk.until(lambda: talk.started == [1, 2])
        talk.send(OwnerLease(50))
        talk.until(lambda: 1 in talk.ended)
        assert talk.ended[1].outcome == Outcome.KILLED
        assert "lease" in talk.ended[1].reason
        assert 2 not in talk.ended
        eventually(lambda: len(with_token(mark)) == 1)


def test_a_lease_that_goes_on_ends_nothing(tmp_path: Path) -> None:
    with owner(tmp_path) as running:
        talk = running.talk().configure()
        talk.send(OwnerLease(50), OwnerLease(60_000))
        talk.start(replace(spec("sleep", "0.3"), exclusive=True), 1)
        talk.until(lambda: 1 in talk.ended)
        assert (talk.ended[1].outcome, talk.ended[1].code) == (Outcome.EXITED, 0)


def test_it_ends_them_without_an_agent_too(tmp_path: Path) -> None:
    mark = token()
    with owner(tmp_path) as running:
        talk = running.talk().configure()
        talk.start(replace(spec("sleep", mark), exclusive=True), 1)
        talk.until(lambda: talk.started == [1])
        talk.send(OwnerLease(300))
        talk.close()
        eventually(lambda: not with_token(mark))


def test_nothing_starts_once_the_lease_is_over(tmp_path: Path) -> None:
    with owner(tmp_path) as running:
        talk = running.talk().configure()
        talk.send(OwnerLease(0))
        talk.start(replace(spec("sleep", "30"), exclusive=True), 1)
        talk.start(spec("true"), 2)
        talk.send(OwnerRecall((1,)))
        talk.until(lambda: 1 in talk.ended)
        assert talk.ended[1].outcome in {Outcome.REJECTED, Outcome.KILLED}
        assert talk.started == []
        talk.send(OwnerLease(60_000))
        talk.until(lambda: 2 in talk.ended)
        assert talk.started == [2]


def test_what_waits_does_not_start_after_the_lease_without_an_agent(tmp_path: Path) -> None:
    mark = token()
    with owner(tmp_path) as running:
        talk = running.talk().configure()
        talk.start(replace(spec("sleep", mark), exclusive=True, resources=Resources(4_000)), 1)
        talk.start(replace(spec("sleep", "30"), resources=Resources(4_000)), 2)
        talk.until(lambda: talk.started == [1])
        talk.send(OwnerLease(100))
        talk.close()
        eventually(lambda: not with_token(mark))
        talk = running.talk().configure()
        talk.until(lambda: 1 in talk.ended)
        talk.send(OwnerRecall((2,)))
        talk.until(lambda: 2 in talk.ended)
        assert talk.ended[2].outcome == Outcome.REJECTED
