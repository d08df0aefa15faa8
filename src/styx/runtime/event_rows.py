"""The public events: their types, how they are kept, and how they are shown.

| type               | when                                           | shows, besides id, at, job_id and (of a task) task_id, task |
| ------------------ | ---------------------------------------------- | ----------------------------------------------------------- |
| job.accepted       | a submission is on disk                        | status RUNNING, count: its elements                         |
| job.cancelling     | a job is to stop                               | status CANCELLING, reason                                   |
| job.revived        | a retry made an ended job live again           | status RUNNING                                              |
| job.ended          | all of its elements have ended                 | status, exit_code, reason, count: its elements              |
| task.ready         | a task has all it needs                        | status READY, count: its elements                           |
| element.ready      | the wait before another attempt is over        | status READY, index                                         |
| elements.ended     | elements ended without (another) attempt       | status CANCELLED or SKIPPED, index: the first, count, reason|
| elements.reset     | elements are to run again                      | status PENDING, index: the first, count                     |
| attempt.assigned   | an element was given to a node                 | status ASSIGNED, index, attempt, node                       |
| attempt.started    | its program runs                               | status RUNNING, index, attempt, node                        |
| attempt.cancelling | its program is being stopped                   | status CANCELLING, index, attempt, node, reason             |
| attempt.ended      | its one end                                    | status: what the element is now, index, attempt, node,      |
|                    |                                                | outcome, exit_code (null if LOST or REJECTED), reason       |
| node.linked        | an agent connected                             | status UP, node                                             |
| node.suspected     | nothing is heard of it                         | status SUSPECT, node                                        |
| node.lost          | its lease is over                              | status LOST, node                                           |
| node.shifted       | it drains, is back, or is gone                 | status: a NodeState, node, reason                           |
| instance.requested | a machine is to be brought up for a job        | status REQUESTED, node, reason: what, where and for how much|
| instance.launched  | the cloud has named it                         | status BOOTING, node, reason: its name there                |
| instance.refused   | the cloud said no; nothing was created         | status GONE, node, reason: what was asked, and the answer   |

`status` is that of the job, element or node from now on; `index` is null where the task is no array; `attempt` counts the
attempts of an element from 1. Staging, admission and reservations are internal and have no events.

120,000 records a second may go by, mostly with nobody listening. So a record becomes one short tuple (`event_writer`), and an `Event` is
built only when somebody reads it. A Row is (type, milliseconds since its batch's time, job, task, index, attempt number, node, status,
outcome, code, count, reason), cut off behind the last column that its type has; numbers are serials as the core has them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from styx.core.ids import JobId, join, text
from styx.core.spec import TaskSpec
from styx.core.states import Outcome, TaskState
from styx.protocol.http import Event

__all__ = ["TYPES", "JobNames", "Row", "decode_rows", "encode_rows", "show"]

Row = tuple[Any, ...]

TYPES = (
    "job.accepted",
    "job.cancelling",
    "job.revived",
    "job.ended",
    "task.ready",
    "element.ready",
    "elements.ended",
    "elements.reset",
    "attempt.assigned",
    "attempt.started",
    "attempt.cancelling",
    "attempt.ended",
    "node.linked",
    "node.suspected",
    "node.lost",
    "node.shifted",
    "instance.requested",
    "instance.launched",
    "instance.refused",
)
"""The place of a type in this list is on disk: add new ones at the end only."""

# The status that a type always has; the others carry theirs in the row.
_IMPLIED = (
    "RUNNING", "CANCELLING", "RUNNING", "", "READY", "READY", "", "PENDING",
    "ASSIGNED", "RUNNING", "CANCELLING", "", "UP", "SUSPECT", "LOST", "",
    "REQUESTED", "BOOTING", "GONE",
)  # fmt: skip
_TASK_STATES = tuple(state.name for state in TaskState)
_OUTCOMES = tuple(outcome.name for outcome in Outcome)
_NAMELESS = ("", "", "", False)
_MOST_SHOWN = 1_000  # tasks of one job whose ids are kept as text
_PAD: Row = (0, 0, 0, -1, -1, 0, 0, None, -1, None, 0, "")

encode_rows: Callable[[list[Row]], bytes] = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(list[tuple[Any, ...]])


def decode_rows(payload: bytes) -> list[Row]:
    return _decoder.decode(payload)


class JobNames:
    """What events show of a job that its serial number does not tell. `id` is 0 while it is not known."""

    __slots__ = ("_shown", "id", "tasks")

    def __init__(self, identifier: int = 0, tasks: list[TaskSpec] | None = None) -> None:
        self.id = JobId(identifier)
        self.tasks: list[TaskSpec] = [] if tasks is None else tasks
        self._shown: dict[
            int, tuple[str, str, str, bool]
        ] = {}  # writing out two ids costs more than the rest of an event

    def show(self, task: int) -> tuple[str, str, str, bool]:
        """(job_id, task_id, name, whether it is an array) of a task, or of the job alone when `task` < 0."""
        shown = self._shown.get(task)
        if shown is None:
            job_id = text(self.id) if self.id else ""
            task_id = text(join(self.id, task)) if self.id and task >= 0 else ""
            spec = self.tasks[task] if 0 <= task < len(self.tasks) else None
            shown = (job_id, task_id, spec.name if spec else "", spec is not None and spec.array > 0)
            if self.id and len(self._shown) < _MOST_SHOWN:
                self._shown[task] = shown
        return shown


def show(number: int, base: int, row: Row, jobs: Mapping[int, JobNames], nodes: Mapping[int, str]) -> Event:
    """The event with id `number` of a row from a batch of time `base`. Names that nobody knows any more are empty."""
    kind, late, job, task, index, attempt, node, status, outcome, code, count, reason = (*row, *_PAD[len(row) :])
    names = jobs.get(job)
    job_id, task_id, name, array = names.show(task) if names is not None else _NAMELESS
    return Event(
        id=number,
        type=TYPES[kind],
        at=(base + late) / 1_000,
        job_id=job_id,
        task_id=task_id,
        task=name,
        index=index if array and index >= 0 else None,
        count=count,
        status=_IMPLIED[kind] if status is None else status if isinstance(status, str) else _TASK_STATES[status],
        attempt=attempt,
        node=nodes.get(node, "") if node else "",
        outcome=_OUTCOMES[outcome] if outcome >= 0 else "",
        exit_code=code,
        reason=reason,
    )
