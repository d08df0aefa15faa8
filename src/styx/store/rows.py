"""What both stores derive in the same way from what they keep: rows of attempts, ended counts, the order of a rebuild.

The order of a rebuild. A store numbers the records as they come. Within a job, ended attempts and spans are told in the
order of these numbers, each attempt's assignment right before its end: what ended first is also told first, which decides
for instance which failure failed the job. Attempts under way come last, by serial over all jobs: that is the order in which
they arrived at their nodes. Nothing of their elements can follow them, for a span never touches an attempt under way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from styx.core.records import AttemptAssigned, AttemptEnded, Record
from styx.core.states import TaskState
from styx.errors import StoreError
from styx.store.base import AttemptRow

__all__ = ["CHUNK", "Fate", "attempt_row", "batches", "digits_of", "final_counts", "no_such_record"]

CHUNK = 2_000
"""Records in one list of `load`, and tasks in one TasksStaged of a rebuild."""

Fate = tuple[int, int, int, int]
"""(number, first, count, state): what a run of elements of one task became, and when."""


def attempt_row(assigned: AttemptAssigned, started_at: int, ended: AttemptEnded | None) -> AttemptRow:
    a = assigned
    if ended is None:
        return AttemptRow(
            a.attempt, a.job, a.task, a.index, a.number, a.node, a.at, started_at, 0, None, 0, None, "", b"", 0, 0
        )
    e = ended
    return AttemptRow(
        a.attempt, a.job, a.task, a.index, a.number, a.node, a.at, e.started, e.at, e.outcome, e.code, e.state,
        e.reason, e.result, e.stdout, e.stderr,
    )  # fmt: skip


def final_counts(size: int, fates: Iterable[Fate]) -> tuple[int, ...]:
    """Elements by TaskState of one ended task, from all that became of its elements."""
    states = bytearray(size)
    for _, first, count, state in sorted(fates):
        states[first : first + count] = bytes([state]) * count
    return tuple(states.count(state) for state in TaskState)


def digits_of(text: str) -> str:
    """The hexadecimal digits of a part of an id as people type it; empty when it cannot be one."""
    digits = text.replace("-", "").lower()
    return digits if len(digits) <= 32 and all(digit in "0123456789abcdef" for digit in digits) else ""


def batches(records: Iterable[Record], size: int = CHUNK) -> Iterator[list[Record]]:
    chunk: list[Record] = []
    for record in records:
        chunk.append(record)
        if len(chunk) >= size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def no_such_record(record: object) -> StoreError:
    return StoreError(f"the store was given a {type(record).__name__}, which it does not know how to keep")
