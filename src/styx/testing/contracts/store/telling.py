"""What the scenes tell a store, and how they read what it tells: short ways to say common records."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable

from styx.core.ids import JobId, job_id
from styx.core.records import (
    AttemptAssigned,
    AttemptEnded,
    JobAccepted,
    JobEnded,
    Record,
    SpansEnded,
    SpansReset,
    TasksStaged,
)
from styx.core.spec import JobSpec, TaskSpec
from styx.core.states import JobState, Outcome, TaskState
from styx.errors import StoreError
from styx.store.base import Store

__all__ = [
    "AT",
    "SPEC",
    "assigned",
    "ended",
    "identity",
    "job_ended",
    "loaded",
    "refused",
    "split_spans",
    "submitted",
    "tally",
]

AT = 1_700_000_000_000
SPEC = TaskSpec("a", ("true",))


def identity(job: int) -> JobId:
    return job_id(AT + job, job * 7_919)


def submitted(
    job: int, *specs: TaskSpec, needs: tuple[tuple[int, ...], ...] = (), key: str = "", name: str = "job"
) -> list[Record]:
    """A whole submission: one TasksStaged and its JobAccepted."""
    specs = specs or (SPEC,)
    needs = needs or ((),) * len(specs)
    elements = sum(spec.size for spec in specs)
    accepted = JobAccepted(
        job, identity(job), JobSpec(name, ()), len(specs), elements, AT + job, key, b"digest" if key else b""
    )
    return [TasksStaged(job, 0, specs, needs), accepted]


def assigned(attempt: int, job: int, task: int = 0, index: int = 0, number: int = 1, at: int = AT) -> Record:
    return AttemptAssigned(attempt, job, task, index, number, 1, at)


def ended(
    attempt: int, job: int, task: int = 0, index: int = 0, state: TaskState = TaskState.SUCCEEDED, at: int = AT
) -> AttemptEnded:
    return AttemptEnded(attempt, job, task, index, Outcome.EXITED, 0, state, at, at - 5)


def tally(**states: int) -> tuple[int, ...]:
    return tuple(states.get(state.name.lower(), 0) for state in TaskState)


def job_ended(job: int, at: int, state: JobState = JobState.SUCCEEDED, elements: int = 1) -> JobEnded:
    return JobEnded(job, state, at, 0, tally(succeeded=elements), "")


def split_spans(records: Iterable[Record]) -> list[Record]:
    """The same facts with one span a record: a store may divide them otherwise than they were told."""
    flat: list[Record] = []
    for record in records:
        if isinstance(record, SpansEnded):
            flat += [
                SpansEnded(record.job, (span,), record.state, record.at, record.after, record.reason)
                for span in record.spans
            ]
        elif isinstance(record, SpansReset):
            flat += [SpansReset(record.job, (span,), record.at, record.after) for span in record.spans]
        else:
            flat.append(record)
    return flat


async def loaded(store: Store) -> list[Record]:
    return split_spans([record async for chunk in store.load() for record in chunk])


async def refused(awaitable: Awaitable[object], kind: type[StoreError]) -> StoreError:
    """The error that this raises, which must be of that kind."""
    try:
        await awaitable
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__} was raised")
