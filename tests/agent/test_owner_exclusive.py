"""The owner ends exclusive programs by itself when the lease of its node is over, whether or not its agent still lives."""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace
from owner_talk import eventually, owner, spec, token, with_token

from styx.core.states import Outcome
from styx.protocol.owner import OwnerLease


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
