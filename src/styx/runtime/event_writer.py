"""From the records of a batch to the rows that are kept of its public events.

A row holds serials and says nothing twice; what later records leave out of a live job, attempt or node is remembered here. The table in
`event_rows` says which record makes which event.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from styx.core.budget import money
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
from styx.core.states import Outcome
from styx.core.wording import offer_text
from styx.core.world import World
from styx.runtime.event_rows import TYPES, JobNames, Row

__all__ = ["RowWriter"]

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

_WITHOUT_CODE = (Outcome.LOST, Outcome.REJECTED)


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
