"""From a batch to the tables, in one transaction and one hop to the writer's thread.

Records are sorted into lists by type, and each list is written by a few statements of many rows, its fields as they stand
in the records: a record costs one tuple. `executemany` would give up Python's lock and take it again three times a row,
and while the loop is busy each of these can cost the interpreter's switch interval. The order of the lists is an order in which the statements may run: an attempt is assigned before it
is started, and started before it ends; other tables do not care. Only a job that is revived must see its records in the
order they were stated; a batch with one goes the slower way for records about jobs.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from itertools import chain, groupby
from typing import Any

import msgspec
from msgspec.structs import astuple

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
from styx.core.states import NodeState, Outcome, TaskState
from styx.errors import StaleEpoch
from styx.store.base import Batch
from styx.store.rows import no_such_record
from styx.store.statements import SQL, for_rows

__all__ = ["place", "write"]

_pack = msgspec.msgpack.Encoder().encode

_JOB_RECORDS = (TasksStaged, JobUnstagedRecord, JobAccepted, JobCancelling, JobRevived, JobEnded)
_ATTEMPT_RECORDS = (
    (AttemptAssigned, "assign"),
    (AttemptStarted, "start"),
    (AttemptCancelling, "cancel"),
)
_NODE_RECORDS = (
    NodeLinked,
    NodeSuspected,
    NodeLost,
    NodeShifted,
    InstanceIntended,
    InstanceBound,
    InstanceRefused,
    InstanceCharged,
)
_LEAVING = {NodeState.RELEASING, NodeState.GONE}
_SPANS_RECORDS = (SpansEnded, SpansReset)
_DERIVED = (TasksReady, AttemptAdmitted, ElementsDue, NodeReserved, InstanceDoubted)

_KNOWN = frozenset({*_JOB_RECORDS, *(kind for kind, _ in _ATTEMPT_RECORDS), *_NODE_RECORDS, *_DERIVED})

_SIZES = (128, 32, 8, 1)

# sqlite3 takes plain ints at once and asks around for others; these two it meets once for each attempt.
sqlite3.register_adapter(Outcome, int)
sqlite3.register_adapter(TaskState, int)


def place(job: int, task: int) -> int:
    """Where a task's row lies: the tasks of a job are neighbours, in order."""
    return job << 24 | task


def write(connection: sqlite3.Connection, epoch: int, batch: Batch) -> None:
    """Commit the batch, whole or not at all. Raises StaleEpoch, StoreError, or what sqlite3 raises."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        told = _advance(connection, epoch, batch)
        _records(connection, batch.records, told)
        if batch.events:
            connection.execute(SQL["add_events"], (batch.last_event, batch.first_event, batch.at, batch.events))
        if batch.outputs:
            _insert(connection, "add_output", map(astuple, batch.outputs))
        if batch.marks:
            latest = {mark.agent: mark for mark in batch.marks}
            _insert(connection, "set_mark", map(astuple, latest.values()))
        if batch.secrets:
            _insert(connection, "add_secrets", map(astuple, batch.secrets))
        connection.execute("COMMIT")
    except BaseException:
        # Some errors (no room among them) have made SQLite roll back by itself.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _advance(connection: sqlite3.Connection, epoch: int, batch: Batch) -> int:
    """Check the epoch, note how far the database has come, and return the number of the last record before these."""
    outputs = batch.outputs
    segment = max([row.segment for row in outputs], default=0)
    length = sum([row.length for row in outputs])
    arguments = (epoch, batch.last_event, batch.at, segment, length, len(batch.records))
    advanced = connection.execute(SQL["advance"], arguments).fetchall()
    if not advanced:
        raise StaleEpoch(
            f"another server has taken over this database since epoch {epoch}; nothing was written",
            hint="stop this server; the other one carries on",
        )
    return int(advanced[0][0])


def _records(connection: sqlite3.Connection, records: list[Record], told: int) -> None:
    by_type: dict[type, list[Any]] = {}
    ends: list[tuple[Any, ...]] = []
    spans: list[tuple[Any, ...]] = []
    for record in records:
        told += 1
        kind = type(record)
        if kind is AttemptEnded:
            ends.append((*astuple(record), told))
        elif kind in by_type:
            by_type[kind].append(record)
        elif kind in _SPANS_RECORDS:
            spans += _span_rows(record, told)
        elif kind in _KNOWN:
            by_type[kind] = [record]
        else:
            raise no_such_record(record)
    if JobRevived in by_type:
        in_order = [record for record in records if isinstance(record, _JOB_RECORDS)]
        for kind, group in groupby(in_order, type):
            _JOB_WRITERS[kind](connection, list(group))
    else:
        for kind in _JOB_RECORDS:
            if kind in by_type:
                _JOB_WRITERS[kind](connection, by_type[kind])
    for kind, name in _ATTEMPT_RECORDS:
        if kind in by_type:
            _insert(connection, name, map(astuple, by_type[kind]))
    _insert(connection, "finish", ends)
    _insert(connection, "add_span", spans)
    if not by_type.keys().isdisjoint(_NODE_RECORDS):
        for record in records:
            if isinstance(record, _NODE_RECORDS):
                _node(connection, record)


def _insert(connection: sqlite3.Connection, name: str, rows: Iterable[tuple[Any, ...]]) -> None:
    """Run a statement over all rows, the most that fit into each of a few prepared sizes at a time."""
    left = list(rows)
    first = 0
    for size in _SIZES:
        statement = for_rows(name, size)
        while len(left) - first >= size:
            connection.execute(statement, tuple(chain.from_iterable(left[first : first + size])))
            first += size


def _staged(connection: sqlite3.Connection, records: list[TasksStaged]) -> None:
    _insert(
        connection,
        "stage_task",
        [
            (place(record.job, task), _pack(spec), _pack(needs))
            for record in records
            for task, (spec, needs) in enumerate(zip(record.tasks, record.needs, strict=True), record.first)
        ],
    )
    _insert(connection, "stage_job", [(record.job,) for record in records])


def _unstaged(connection: sqlite3.Connection, records: list[JobUnstagedRecord]) -> None:
    connection.executemany(SQL["unstage_job"], map(astuple, records))


def _accepted(connection: sqlite3.Connection, records: list[JobAccepted]) -> None:
    rows = []
    for r in records:
        identifier = r.id.to_bytes(16, "big")
        tail = bytes.fromhex(identifier.hex()[::-1])
        rows.append((r.job, identifier, tail, r.spec.name, _pack(r.spec), r.tasks, r.elements, r.at, r.key, r.digest))
    _insert(connection, "accept_job", rows)
    _insert(connection, "adopt_job", [(record.job,) for record in records])
    _insert(connection, "keep_key", [(record.key, record.job) for record in records if record.key])


def _cancelling(connection: sqlite3.Connection, records: list[JobCancelling]) -> None:
    _insert(connection, "cancel_job", map(astuple, records))


def _revived(connection: sqlite3.Connection, records: list[JobRevived]) -> None:
    connection.executemany(SQL["revive_job"], map(astuple, records))


def _ended(connection: sqlite3.Connection, records: list[JobEnded]) -> None:
    _insert(
        connection,
        "end_job",
        [(r.job, r.state.value, r.at, r.code, _pack(r.counts), r.reason) for r in records],
    )


_JOB_WRITERS: dict[type, Any] = {
    TasksStaged: _staged,
    JobUnstagedRecord: _unstaged,
    JobAccepted: _accepted,
    JobCancelling: _cancelling,
    JobRevived: _revived,
    JobEnded: _ended,
}


def _span_rows(record: Any, told: int) -> list[tuple[Any, ...]]:
    r: SpansEnded | SpansReset = record
    state, reason = (r.state, r.reason) if isinstance(r, SpansEnded) else (TaskState.PENDING, "")
    return [(told, r.job, *span, state, r.at, r.after, reason) for span in r.spans]


def _node(connection: sqlite3.Connection, record: Record) -> None:
    match record:
        case NodeLinked():
            r = record
            capacity, labels = _pack(r.capacity), _pack(r.labels)
            row = (r.node, r.agent, r.name, r.host, r.boot, r.version, capacity, labels, r.at)
            connection.execute(SQL["link_node"], row)
        case NodeSuspected():
            connection.execute(SQL["suspect_node"], astuple(record))
        case NodeLost():
            connection.execute(SQL["lose_node"], astuple(record))
        case NodeShifted():
            connection.execute(SQL["shift_node"], (record.node, record.state.value, record.at))
            if record.state in _LEAVING:
                arguments = (record.node, record.state.value, record.at, record.reason)
                connection.execute(SQL["shift_instance"], arguments)
        case InstanceIntended():
            r2 = record
            row2 = (r2.node, r2.token, _pack(r2.offer), r2.job, r2.at, r2.lifetime)
            connection.execute(SQL["intend_instance"], row2)
        case InstanceBound():
            connection.execute(SQL["bind_instance"], astuple(record))
        case InstanceRefused():
            _refused(connection, record)
        case InstanceCharged():
            connection.execute(SQL["charged_until"], (record.node, record.at))
            connection.executemany(SQL["add_cost"], [(job, record.node, micros) for job, micros in record.shares])
        case _:
            raise no_such_record(record)


def _refused(connection: sqlite3.Connection, record: InstanceRefused) -> None:
    r = record
    about = "\x1f".join(scope(r.kind, r.offer))
    row = (about, r.node, r.job, _pack(r.offer), r.kind, r.detail, r.until, r.at)
    connection.execute(SQL["keep_refusal"], row)
    connection.execute(SQL["shift_instance"], (r.node, NodeState.GONE.value, r.at, r.detail))
