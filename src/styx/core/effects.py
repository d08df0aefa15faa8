"""What the shell is to do after the commit, in the imperative. Effects name nodes, never links."""

from __future__ import annotations

import msgspec

__all__ = ["Accepted", "Effect", "ForgetAttempts", "RecallAttempts", "StartAttempts", "Step", "StopAttempts"]

from styx.core.ids import JobId
from styx.core.records import Record
from styx.errors import StyxError


class StartAttempts(msgspec.Struct, frozen=True, gc=False):
    """Send these attempts to the node, in this order."""

    node: int
    attempts: tuple[int, ...]


class StopAttempts(msgspec.Struct, frozen=True, gc=False):
    """End these programs: SIGTERM, the task's grace, SIGKILL; one that has not started never will."""

    node: int
    attempts: tuple[int, ...]


class RecallAttempts(msgspec.Struct, frozen=True, gc=False):
    """Give back those of these that have not started; they come back REJECTED."""

    node: int
    attempts: tuple[int, ...]


class ForgetAttempts(msgspec.Struct, frozen=True, gc=False):
    """The end of these attempts is on disk here (or they are nobody's): the node may drop what it keeps of them."""

    node: int
    attempts: tuple[int, ...]


Effect = StartAttempts | StopAttempts | RecallAttempts | ForgetAttempts


class Accepted(msgspec.Struct, frozen=True, gc=False):
    """The answer to JobSubmitted; `again` when the Idempotency-Key had been seen with the same body."""

    job: int
    id: JobId
    again: bool = False


Answer = Accepted | StyxError | int | bool | None


class Step(msgspec.Struct, frozen=True, gc=False):
    """The outcome of one event: what to commit, then what to do, then what to tell the caller."""

    records: list[Record]
    effects: list[Effect]
    answer: Answer = None
