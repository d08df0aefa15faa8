"""Keeping a batch: one function a record, found by its type.

A record that the store does not know is noticed before anything of its batch is kept, since a batch is kept whole or not at all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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
from styx.core.refusals import scope
from styx.core.states import NodeState
from styx.store.base import Batch, EventRow
from styx.store.memory.tables import Job, Machine, Node, SpansRecord, Tables
from styx.store.rows import no_such_record

__all__ = ["write"]


def write(tables: Tables, batch: Batch) -> None:
    """Raises StoreError, and keeps nothing, where the batch has a record of no known kind."""
    for record in batch.records:
        if type(record) not in _KEEP:
            raise no_such_record(record)
    for record in batch.records:
        tables.told += 1
        _KEEP[type(record)](tables, record)
    if batch.events:
        tables.events.append(EventRow(batch.first_event, batch.last_event, batch.at, batch.events))
    tables.last_event = max(tables.last_event, batch.last_event)
    tables.last_at = max(tables.last_at, batch.at)
    for row in batch.outputs:
        tables.outputs.setdefault((row.attempt, row.stream), {})[row.offset] = row
        tables.last_segment = max(tables.last_segment, row.segment)
    for mark in batch.marks:
        tables.marks[mark.agent] = mark
    for sealed in batch.secrets:
        tables.secrets[sealed.job] = sealed.sealed


# --- jobs ----------------------------------------------------------------------------------------------------------------


def _tasks_staged(tables: Tables, record: TasksStaged) -> None:
    job = tables.jobs.setdefault(record.job, Job())
    job.tasks += zip(record.tasks, record.needs, strict=True)
    tables.raise_serials(job=record.job)


def _job_unstaged(tables: Tables, record: JobUnstagedRecord) -> None:
    tables.jobs.pop(record.job, None)
    tables.raise_serials(job=record.job)


def _job_accepted(tables: Tables, record: JobAccepted) -> None:
    tables.jobs.setdefault(record.job, Job()).accepted = record
    tables.raise_serials(job=record.job)
    tables.by_id[record.id] = record.job
    if record.key:
        tables.by_key.setdefault(record.key, record.job)


def _job_cancelling(tables: Tables, record: JobCancelling) -> None:
    tables.jobs[record.job].cancelling = record


def _job_revived(tables: Tables, record: JobRevived) -> None:
    job = tables.jobs[record.job]
    job.ended = job.cancelling = None
    job.revived = record


def _job_ended(tables: Tables, record: JobEnded) -> None:
    tables.jobs[record.job].ended = record


# --- attempts and spans --------------------------------------------------------------------------------------------------


def _attempt_assigned(tables: Tables, record: AttemptAssigned) -> None:
    tables.assigned[record.attempt] = record
    tables.jobs[record.job].attempts.setdefault(record.task, []).append(record.attempt)
    tables.raise_serials(attempt=record.attempt)


def _attempt_started(tables: Tables, record: AttemptStarted) -> None:
    tables.started[record.attempt] = record


def _attempt_cancelling(tables: Tables, record: AttemptCancelling) -> None:
    tables.stopping[record.attempt] = record


def _attempt_ended(tables: Tables, record: AttemptEnded) -> None:
    tables.ended[record.attempt] = record
    tables.ended_told[record.attempt] = tables.told
    tables.started.pop(record.attempt, None)
    tables.stopping.pop(record.attempt, None)


def _spans(tables: Tables, record: SpansRecord) -> None:
    tables.jobs[record.job].spans.append((tables.told, record))


# --- nodes and instances -------------------------------------------------------------------------------------------------


def _node_linked(tables: Tables, record: NodeLinked) -> None:
    tables.nodes[record.node] = Node(record)
    tables.raise_serials(node=record.node)


def _node_suspected(tables: Tables, record: NodeSuspected) -> None:
    tables.nodes[record.node].suspected = record


def _node_lost(tables: Tables, record: NodeLost) -> None:
    tables.nodes[record.node].lost = record


def _node_shifted(tables: Tables, record: NodeShifted) -> None:
    if record.node in tables.nodes:
        tables.nodes[record.node].shifted = record
    if record.node in tables.machines and record.state in {NodeState.RELEASING, NodeState.GONE}:
        tables.machines[record.node].shift(record)


def _instance_intended(tables: Tables, record: InstanceIntended) -> None:
    tables.machines[record.node] = Machine(record)
    tables.raise_serials(node=record.node)


def _instance_bound(tables: Tables, record: InstanceBound) -> None:
    machine = tables.machines[record.node]
    machine.bound, machine.charged_at = record, record.at


def _instance_refused(tables: Tables, record: InstanceRefused) -> None:
    tables.refusals[scope(record.kind, record.offer)] = record
    if record.node in tables.machines:
        tables.machines[record.node].shift(NodeShifted(record.node, NodeState.GONE, record.at, record.detail))


def _instance_charged(tables: Tables, record: InstanceCharged) -> None:
    if record.node in tables.machines:
        tables.machines[record.node].charged_at = record.at
    for job, micros in record.shares:
        tables.costs[job, record.node] = tables.costs.get((job, record.node), 0) + micros


def _derived(tables: Tables, record: Record) -> None:
    return


_KEEP: dict[type, Callable[[Tables, Any], None]] = {
    TasksStaged: _tasks_staged,
    JobUnstagedRecord: _job_unstaged,
    JobAccepted: _job_accepted,
    JobCancelling: _job_cancelling,
    JobRevived: _job_revived,
    JobEnded: _job_ended,
    AttemptAssigned: _attempt_assigned,
    AttemptStarted: _attempt_started,
    AttemptCancelling: _attempt_cancelling,
    AttemptEnded: _attempt_ended,
    SpansEnded: _spans,
    SpansReset: _spans,
    NodeLinked: _node_linked,
    NodeSuspected: _node_suspected,
    NodeLost: _node_lost,
    NodeShifted: _node_shifted,
    TasksReady: _derived,
    AttemptAdmitted: _derived,
    ElementsDue: _derived,
    NodeReserved: _derived,
    InstanceIntended: _instance_intended,
    InstanceBound: _instance_bound,
    InstanceRefused: _instance_refused,
    InstanceCharged: _instance_charged,
    InstanceDoubted: _derived,
}
