"""What is live (or one ended job), as records that `apply` can follow. rows.py says in which order, and why.

These are generators over a connection; they run in the thread of that connection, a chunk a hop.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from heapq import merge
from typing import Any

from styx.core.records import (
    AttemptAssigned,
    AttemptCancelling,
    AttemptEnded,
    AttemptStarted,
    InstanceBound,
    InstanceCharged,
    InstanceIntended,
    InstanceRefused,
    JobAccepted,
    JobCancelling,
    JobRevived,
    NodeLinked,
    NodeLost,
    NodeShifted,
    NodeSuspected,
    Record,
    SpansEnded,
    SpansReset,
    TasksStaged,
)
from styx.core.states import NodeState, Outcome, TaskState
from styx.store import read
from styx.store.rows import CHUNK
from styx.store.statements import SQL
from styx.store.write import place

__all__ = ["history", "live"]

_OUTCOMES = tuple(Outcome)
_STATES = tuple(TaskState)

_Told = tuple[int, tuple[Record, ...]]


def live(connection: sqlite3.Connection) -> Iterator[Record]:
    """What was refused, nodes, then each live job with what has ended of it, then the attempts under way."""
    yield from _refusals(connection)
    yield from _nodes(connection)
    under_way: list[tuple[int, tuple[Record, ...]]] = []
    for row in connection.execute(SQL["live_jobs"]).fetchall():
        yield from _job(connection, row, under_way)
    under_way.sort(key=lambda entry: entry[0])
    for _, records in under_way:
        yield from records


def history(connection: sqlite3.Connection, job: int) -> list[Record]:
    """Empty when there is no such job."""
    with read.moment(connection):
        row = connection.execute(SQL["job"], (job,)).fetchone()
        return [] if row is None else list(_job(connection, row, []))


def _refusals(connection: sqlite3.Connection) -> Iterator[Record]:
    for _, job, offer, kind, detail, until, at in connection.execute(SQL["refusals"]):
        yield InstanceRefused(0, job, read.unpack_offer(offer), kind, detail, until, at)


def _nodes(connection: sqlite3.Connection) -> Iterator[Record]:
    instances = {row[0]: read.instance_row(row) for row in connection.execute(SQL["instances"])}
    for instance in instances.values():
        i = instance
        yield InstanceIntended(i.node, i.token, i.offer, i.job, i.intended_at, i.lifetime)
        if instance.bound_at:
            yield InstanceBound(instance.node, instance.ref, instance.bound_at)
            yield InstanceCharged(instance.node, ((instance.job, instance.micros),), instance.charged_at)
    yield from _linked(connection)
    for instance in instances.values():
        if instance.state:
            yield NodeShifted(instance.node, NodeState(instance.state), instance.shifted_at, instance.reason)


def _linked(connection: sqlite3.Connection) -> Iterator[Record]:
    for row in connection.execute(SQL["nodes"]):
        (
            node,
            agent,
            name,
            host,
            boot,
            version,
            capacity,
            labels,
            linked_at,
            suspected_at,
            lost_at,
            state,
            shifted_at,
        ) = row
        room, marks = read.unpack_capacity(capacity), read.unpack_labels(labels)
        yield NodeLinked(node, agent, name, host, boot, version, room, marks, linked_at)
        if state is not None:
            yield NodeShifted(node, NodeState(state), shifted_at)
        if suspected_at is not None:
            yield NodeSuspected(node, suspected_at)
        if lost_at is not None:
            yield NodeLost(node, lost_at)


def _job(
    connection: sqlite3.Connection, row: tuple[Any, ...], under_way: list[tuple[int, tuple[Record, ...]]]
) -> Iterator[Record]:
    """One job with its ended attempts; the others are added to `under_way`."""
    kept = read.job_row(row)
    serial = kept.job
    tasks = connection.execute(SQL["tasks"], (place(serial, 0), place(serial + 1, 0) - 1, -1))
    first = 0
    while chunk := tasks.fetchmany(CHUNK):
        specs = tuple(read.unpack_task(spec) for _, spec, _ in chunk)
        yield TasksStaged(serial, first, specs, tuple(read.unpack_needs(needs) for _, _, needs in chunk))
        first += len(chunk)
    yield JobAccepted(serial, kept.id, kept.spec, kept.tasks, kept.elements, kept.accepted_at, kept.key, kept.digest)
    cost = read.cost(connection, serial)
    if cost:
        yield InstanceCharged(0, ((serial, cost),), 0)
    cancelling_at, cancel_reason, revived_at = row[13:16]
    if revived_at:
        yield JobRevived(serial, revived_at)
    if cancelling_at:
        yield JobCancelling(serial, cancelling_at, cancel_reason)
    attempts = _attempts(connection, serial, under_way)
    for _, records in merge(attempts, _spans(connection, serial), key=lambda told: told[0]):
        yield from records


def _attempts(
    connection: sqlite3.Connection, job: int, under_way: list[tuple[int, tuple[Record, ...]]]
) -> Iterator[_Told]:
    for row in connection.execute(SQL["attempts_of_job"], (job,)):
        attempt, _, task, index, number, node, at = row[:7]
        assigned = AttemptAssigned(attempt, job, task, index, number, node, at, row[21])
        started_at, cancelling_at, cancel_reason, ended_at, outcome, code, state, due, spent = row[7:16]
        if state is None:
            records: list[Record] = [assigned]
            if started_at:
                records.append(AttemptStarted(attempt, started_at))
            if cancelling_at:
                records.append(AttemptCancelling(attempt, cancelling_at, cancel_reason))
            under_way.append((attempt, tuple(records)))
            continue
        ended = AttemptEnded(
            attempt, job, task, index, _OUTCOMES[outcome], code, _STATES[state], ended_at, started_at, due, bool(spent),
            *row[16:20],
        )  # fmt: skip
        yield row[20], (assigned, ended)


def _spans(connection: sqlite3.Connection, job: int) -> Iterator[_Told]:
    for told, task, first, count, state, at, after, reason in connection.execute(SQL["spans_of_job"], (job,)):
        span = ((task, first, count),)
        record: Record = (
            SpansEnded(job, span, _STATES[state], at, after, reason) if state else SpansReset(job, span, at, after)
        )
        yield told, (record,)
