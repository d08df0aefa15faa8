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

120,000 records a second may go by, mostly with nobody listening. So a record becomes one short tuple, and an `Event` is built only
when somebody reads it. A Row is (type, milliseconds since its batch's time, job, task, index, attempt number, node, status,
outcome, code, count, reason), cut off behind the last column that its type has; numbers are serials as the core has them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from styx.core.budget import money
from styx.core.ids import JobId, join, text
from styx.core.records import (
    AttemptAdmitted,
    AttemptAssigned,
    AttemptCancelling,
    AttemptEnded,
    AttemptStarted,
    ElementsDue,
    InstanceBound,
    InstanceCharged,
    InstanceDoubted,
    InstanceIntended,
    InstanceRefused,
    JobAccepted,
    JobCancelling,
    JobEnded,
    JobRevived,
    JobUnstagedRecord,
    NodeLinked,
    NodeLost,
    NodeReserved,
    NodeShifted,
    NodeSuspected,
    Record,
    SpansEnded,
    SpansReset,
    TasksReady,
    TasksStaged,
)
from styx.core.spec import TaskSpec
from styx.core.states import Outcome, TaskState
from styx.core.wording import offer_text
from styx.core.world import World
from styx.protocol.http import Event

__all__ = ["TYPES", "JobNames", "Row", "RowWriter", "decode_rows", "encode_rows", "show"]

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

(
    _JOB_ACCEPTED,
    _JOB_CANCELLING,
    _JOB_REVIVED,
    _JOB_ENDED,
    _TASK_READY,
    _ELEMENT_READY,
    _ELEMENTS_ENDED,
    _ELEMENTS_RESET,
    _ASSIGNED,
    _STARTED,
    _CANCELLING,
    _ENDED,
    _NODE_LINKED,
    _NODE_SUSPECTED,
    _NODE_LOST,
    _NODE_SHIFTED,
    _REQUESTED,
    _LAUNCHED,
    _REFUSED,
) = range(len(TYPES))

# The status that a type always has; the others carry theirs in the row.
_IMPLIED = (
    "RUNNING", "CANCELLING", "RUNNING", "", "READY", "READY", "", "PENDING",
    "ASSIGNED", "RUNNING", "CANCELLING", "", "UP", "SUSPECT", "LOST", "",
    "REQUESTED", "BOOTING", "GONE",
)  # fmt: skip
_TASK_STATES = tuple(state.name for state in TaskState)
_OUTCOMES = tuple(outcome.name for outcome in Outcome)
_WITHOUT_CODE = (Outcome.LOST, Outcome.REJECTED)
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


class RowWriter:
    """Makes rows of records, and remembers of live jobs, attempts and nodes what later records leave out.

    `ended` gathers the JobEnded records until the caller has taken them and called `forget`."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.jobs: dict[int, JobNames] = {}
        self.nodes: dict[int, str] = {}
        self.ended: dict[int, JobEnded] = {}
        self._attempts: dict[int, tuple[int, int, int, int, int]] = {}  # -> (job, task, index, number, node)
        self._instances: dict[int, int] = {}  # nodes that were asked for -> the job that wanted them
        self._rows: list[Row] = []
        self._base = 0
        self._handlers: dict[type[Record], Callable[[Any], None]] = {
            TasksStaged: self._staged,
            JobUnstagedRecord: self._unstaged,
            JobAccepted: self._accepted,
            TasksReady: self._ready,
            AttemptAssigned: self._assigned,
            AttemptAdmitted: _nothing,
            AttemptStarted: self._started,
            AttemptCancelling: self._attempt_cancelling,
            AttemptEnded: self._attempt_ended,
            ElementsDue: self._due,
            SpansEnded: self._spans_ended,
            SpansReset: self._spans_reset,
            JobCancelling: self._job_cancelling,
            JobRevived: self._revived,
            JobEnded: self._job_ended,
            NodeLinked: self._linked,
            NodeSuspected: self._suspected,
            NodeLost: self._lost,
            NodeShifted: self._shifted,
            NodeReserved: _nothing,
            InstanceIntended: self._intended,
            InstanceBound: self._bound,
            InstanceRefused: self._refused,
            InstanceDoubted: _nothing,
            InstanceCharged: _nothing,
        }

    def recover(self) -> None:
        """Learn what the world holds; called once, after it was rebuilt from the tables."""
        for job in self._world.jobs.values():
            self.jobs[job.serial] = JobNames(job.id, [task.spec for task in job.tasks])
        for node in self._world.nodes.values():
            self.nodes[node.id] = node.name
            if node.instance is not None and not node.instance.ref:
                self._instances[node.id] = node.instance.job
        for a in self._world.attempts.values():
            self._attempts[a.id] = (a.task.job.serial, a.task.ordinal, a.index, a.number, a.node.id)

    def rows(self, records: Sequence[Record], base: int) -> list[Row]:
        """The rows of a batch whose time is `base`."""
        rows: list[Row] = []
        self._rows = rows
        self._base = base
        handlers = self._handlers
        for record in records:
            handlers[type(record)](record)
        return rows

    def forget(self, job: int) -> None:
        self.jobs.pop(job, None)

    def _staged(self, record: TasksStaged) -> None:
        names = self.jobs.get(record.job)
        if names is None:
            names = self.jobs[record.job] = JobNames()
        names.tasks += record.tasks

    def _unstaged(self, record: JobUnstagedRecord) -> None:
        self.jobs.pop(record.job, None)

    def _accepted(self, record: JobAccepted) -> None:
        names = self.jobs.get(record.job)
        if names is None:
            names = self.jobs[record.job] = JobNames()
        names.id = record.id
        self._rows.append(
            (_JOB_ACCEPTED, record.at - self._base, record.job, -1, -1, 0, 0, None, -1, None, record.elements)
        )

    def _ready(self, record: TasksReady) -> None:
        late = record.at - self._base
        names = self.jobs.get(record.job)
        tasks = names.tasks if names is not None else ()
        for task in record.tasks:
            count = tasks[task].size if task < len(tasks) else 0
            self._rows.append((_TASK_READY, late, record.job, task, -1, 0, 0, None, -1, None, count))

    def _assigned(self, record: AttemptAssigned) -> None:
        known = (record.job, record.task, record.index, record.number, record.node)
        self._attempts[record.attempt] = known
        self._rows.append((_ASSIGNED, record.at - self._base, *known))

    def _started(self, record: AttemptStarted) -> None:
        self._rows.append((_STARTED, record.at - self._base, *self._attempts[record.attempt]))

    def _attempt_cancelling(self, record: AttemptCancelling) -> None:
        late = record.at - self._base
        self._rows.append((_CANCELLING, late, *self._attempts[record.attempt], None, -1, None, 0, record.reason))

    def _attempt_ended(self, record: AttemptEnded) -> None:
        outcome = record.outcome
        code = None if outcome in _WITHOUT_CODE else record.code
        late = record.at - self._base
        known = self._attempts.pop(record.attempt)
        if record.reason:
            self._rows.append((_ENDED, late, *known, record.state, outcome, code, 0, record.reason))
        else:
            self._rows.append((_ENDED, late, *known, record.state, outcome, code))

    def _due(self, record: ElementsDue) -> None:
        for job, task, index in record.elements:
            self._rows.append((_ELEMENT_READY, 0, job, task, index))

    def _spans_ended(self, record: SpansEnded) -> None:
        late = record.at - self._base
        for task, first, count in record.spans:
            self._rows.append(
                (_ELEMENTS_ENDED, late, record.job, task, first, 0, 0, record.state, -1, None, count, record.reason)
            )

    def _spans_reset(self, record: SpansReset) -> None:
        late = record.at - self._base
        for task, first, count in record.spans:
            self._rows.append((_ELEMENTS_RESET, late, record.job, task, first, 0, 0, None, -1, None, count))

    def _job_cancelling(self, record: JobCancelling) -> None:
        late = record.at - self._base
        self._rows.append((_JOB_CANCELLING, late, record.job, -1, -1, 0, 0, None, -1, None, 0, record.reason))

    def _revived(self, record: JobRevived) -> None:
        self.ended.pop(record.job, None)
        job = self._world.jobs.get(record.job)
        if record.job not in self.jobs and job is not None:
            self.jobs[record.job] = JobNames(job.id, [task.spec for task in job.tasks])
        self._rows.append((_JOB_REVIVED, record.at - self._base, record.job))

    def _job_ended(self, record: JobEnded) -> None:
        self.ended[record.job] = record
        late = record.at - self._base
        count = sum(record.counts)
        self._rows.append(
            (_JOB_ENDED, late, record.job, -1, -1, 0, 0, record.state.value, -1, record.code, count, record.reason)
        )

    def _linked(self, record: NodeLinked) -> None:
        self.nodes[record.node] = record.name
        self._node(_NODE_LINKED, record.node, record.at)

    def _suspected(self, record: NodeSuspected) -> None:
        self._node(_NODE_SUSPECTED, record.node, record.at)

    def _lost(self, record: NodeLost) -> None:
        self._node(_NODE_LOST, record.node, record.at)

    def _shifted(self, record: NodeShifted) -> None:
        late = record.at - self._base
        self._rows.append(
            (_NODE_SHIFTED, late, 0, -1, -1, 0, record.node, record.state.value, -1, None, 0, record.reason)
        )

    def _intended(self, record: InstanceIntended) -> None:
        self.nodes[record.node] = record.token
        self._instances[record.node] = record.job
        what = f"{offer_text(record.offer)} at {money(record.offer.price)} an hour"
        self._instance(_REQUESTED, record.node, record.job, record.at, what)

    def _bound(self, record: InstanceBound) -> None:
        self._instance(_LAUNCHED, record.node, self._instances.pop(record.node, 0), record.at, record.ref)

    def _refused(self, record: InstanceRefused) -> None:
        self._instances.pop(record.node, None)
        reason = f"{offer_text(record.offer)}: {record.kind}: {record.detail}"
        self._instance(_REFUSED, record.node, record.job, record.at, reason)

    def _instance(self, kind: int, node: int, job: int, at: int, reason: str) -> None:
        self._rows.append((kind, at - self._base, job, -1, -1, 0, node, None, -1, None, 0, reason))

    def _node(self, kind: int, node: int, at: int, status: str | None = None) -> None:
        row: Row = (kind, at - self._base, 0, -1, -1, 0, node)
        self._rows.append(row if status is None else (*row, status))


def _nothing(_: Record) -> None:
    """Nothing of public interest."""


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
