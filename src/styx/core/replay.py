"""From records back to a world: the same `apply`, with the derived records put back in between.

The tables keep no derived record (readiness, the end of a backoff, admission), since they follow from the others. Here they
are inferred at the moment they are needed: an attempt was assigned, so its element was READY. Of an attempt that has ended only the
assignment and the end are read; that it was being cancelled before is inferred too.
"""

from __future__ import annotations

from collections.abc import Iterable

from styx.core.apply import apply, line_up
from styx.core.records import (
    AttemptAdmitted,
    AttemptAssigned,
    AttemptCancelling,
    AttemptEnded,
    ElementsDue,
    Record,
    TasksReady,
)
from styx.core.states import TaskState
from styx.core.world import World

__all__ = ["admit_all", "replay"]


def replay(world: World, records: Iterable[Record]) -> None:
    """Fold records into a world, each job's in the order of `Store.load`."""
    for record in records:
        if type(record) is AttemptAssigned:
            task = world.jobs[record.job].tasks[record.task]
            state = task.states[record.index]
            if state == TaskState.PENDING:
                apply(world, TasksReady(record.job, (record.task,), record.at))
            elif state == TaskState.BACKOFF:
                apply(world, ElementsDue(((record.job, record.task, record.index),)))
        elif (
            type(record) is AttemptEnded
            and record.state == TaskState.CANCELLED
            and not world.attempts[record.attempt].cancelling
        ):
            apply(world, AttemptCancelling(record.attempt, record.at))
        apply(world, record)


def admit_all(world: World) -> None:
    """Admit on each node what fits, in the order of arrival, as it was before."""
    line_up(world)
    for node in world.nodes.values():
        while (key := node.admission.head()) is not None:
            apply(world, AttemptAdmitted(key))
