"""From the tables back to the rows of the port. Each function is one hop to the reader's thread.

A read-only WAL connection sees everything that was committed before its statement began; functions of several
statements hold one read transaction, so that they see one moment.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from styx.core.ids import JobId
from styx.core.offers import Offer
from styx.core.resources import Resources
from styx.core.spec import JobSpec, TaskSpec
from styx.core.states import JobState, NodeState, Outcome, TaskState
from styx.store.base import (
    AttemptRow,
    ElementsRow,
    EventRow,
    InstanceRow,
    JobRow,
    NodeRow,
    OutputRow,
    Page,
    ReportMark,
    TaskRow,
    TokenRow,
)
from styx.store.rows import digits_of, final_counts
from styx.store.statements import SQL
from styx.store.write import place

__all__ = [
    "attempt",
    "attempts",
    "cost",
    "costs",
    "elements",
    "enrolled",
    "events",
    "find_jobs",
    "instance_row",
    "instances",
    "job",
    "job_by_id",
    "job_by_key",
    "job_row",
    "jobs",
    "last_segment",
    "marks",
    "moment",
    "nodes",
    "outputs",
    "secrets",
    "serials",
    "task",
    "tasks",
    "tokens",
    "unpack_capacity",
    "unpack_labels",
    "unpack_needs",
    "unpack_offer",
    "unpack_task",
]

LAST = (1 << 63) - 1
"""The largest integer of SQLite."""

_TASKS = 1 << 24

_unpack_job = msgspec.msgpack.Decoder(JobSpec).decode
_unpack_counts = msgspec.msgpack.Decoder(tuple[int, ...]).decode
unpack_task = msgspec.msgpack.Decoder(TaskSpec).decode
unpack_needs = msgspec.msgpack.Decoder(tuple[int, ...]).decode
unpack_capacity = msgspec.msgpack.Decoder(Resources).decode
unpack_offer = msgspec.msgpack.Decoder(Offer).decode
unpack_labels = msgspec.msgpack.Decoder(tuple[tuple[str, str], ...]).decode

_OUTCOMES: dict[int | None, Outcome | None] = {None: None, **{int(outcome): outcome for outcome in Outcome}}
_STATES: dict[int | None, TaskState | None] = {None: None, **{int(state): state for state in TaskState}}


@contextmanager
def moment(connection: sqlite3.Connection) -> Iterator[None]:
    """One read transaction."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        if connection.in_transaction:
            connection.execute("COMMIT")


# --- meta ----------------------------------------------------------------------------------------------------------------


def serials(connection: sqlite3.Connection) -> tuple[int, int, int]:
    job, attempt, node = connection.execute(SQL["serials"]).fetchone()
    return job, attempt, node


def last_segment(connection: sqlite3.Connection) -> int:
    return int(connection.execute(SQL["last_segment"]).fetchone()[0])


def marks(connection: sqlite3.Connection) -> list[ReportMark]:
    return [ReportMark(*row) for row in connection.execute(SQL["marks"])]


# --- jobs ----------------------------------------------------------------------------------------------------------------


def job_row(row: tuple[Any, ...]) -> JobRow:
    (job, identifier, spec, tasks, elements, state, accepted_at, ended_at, code, counts, reason, key, digest,
     _, cancel_reason, _) = row  # fmt: skip
    return JobRow(
        job,
        JobId(int.from_bytes(identifier, "big")),
        _unpack_job(spec),
        tasks,
        elements,
        JobState(state),
        accepted_at,
        ended_at,
        code,
        _unpack_counts(counts),
        cancel_reason if state == "CANCELLING" else reason,
        key,
        digest,
    )


def _one(connection: sqlite3.Connection, statement: str, argument: int | bytes | str) -> JobRow | None:
    row = connection.execute(statement, (argument,)).fetchone()
    return None if row is None else job_row(row)


def job(connection: sqlite3.Connection, serial: int) -> JobRow | None:
    return _one(connection, SQL["job"], serial)


def job_by_id(connection: sqlite3.Connection, identifier: JobId) -> JobRow | None:
    return _one(connection, SQL["job_by_id"], identifier.to_bytes(16, "big"))


def job_by_key(connection: sqlite3.Connection, key: str) -> JobRow | None:
    return _one(connection, SQL["job_by_key"], key)


def jobs(connection: sqlite3.Connection, page: Page, state: JobState | None, name: str) -> list[JobRow]:
    which = "jobs" if state is None else "jobs_live" if state == JobState.RUNNING else "jobs_in_state"
    statement = SQL[f"{which}_named" if name else which]
    # A statement numbers its parameters; it gets as many as it names.
    arguments: tuple[int | str, ...] = (page.before[0] or LAST, page.limit)
    if which == "jobs_in_state":
        arguments = (*arguments, name, state.value if state is not None else "")
    elif name:
        arguments = (*arguments, name)
    return [job_row(row) for row in connection.execute(statement, arguments)]


def find_jobs(connection: sqlite3.Connection, text: str, limit: int) -> list[JobId]:
    digits = digits_of(text)
    if not digits:
        return []
    ends = (digits, digits[::-1])
    ranges = [bytes.fromhex(part.ljust(32, fill)) for part in ends for fill in ("0", "f")]
    rows = connection.execute(SQL["find_jobs"], (*ranges, limit))
    return [JobId(int.from_bytes(row[0], "big")) for row in rows]


# --- tasks ---------------------------------------------------------------------------------------------------------------


def tasks(connection: sqlite3.Connection, page: Page, job: int) -> list[TaskRow]:
    last_job, last_task = page.before
    found: list[TaskRow] = []
    highest = job or last_job or LAST
    with moment(connection):
        while len(found) < page.limit:
            newest = connection.execute(SQL["newest_jobs"], (highest, 1 if job else page.limit)).fetchall()
            for row in newest:
                if (job and row[0] != job) or len(found) >= page.limit:
                    break
                first = last_task + 1 if row[0] == last_job else 0
                found += _tasks(connection, row, first, page.limit - len(found))
            if job or not newest:
                break
            highest = newest[-1][0] - 1
    return found


def task(connection: sqlite3.Connection, job: int, task: int) -> TaskRow | None:
    with moment(connection):
        row = connection.execute(SQL["newest_jobs"], (job, 1)).fetchone()
        if row is None or row[0] != job or not 0 <= task < _TASKS:
            return None
        found = _tasks(connection, row, task, 1)
    return found[0] if found and found[0].task == task else None


def _tasks(connection: sqlite3.Connection, job: tuple[Any, ...], first: int, limit: int) -> list[TaskRow]:
    serial, identifier, accepted_at, state = job
    rows = connection.execute(SQL["tasks"], (place(serial, first), place(serial, _TASKS - 1), limit)).fetchall()
    if not rows:
        return []
    specs = [(at & (_TASKS - 1), unpack_task(spec), unpack_needs(needs)) for at, spec, needs in rows]
    counts: dict[int, tuple[int, ...]] = {}
    if JobState(state).ended:
        counts = _ended_counts(connection, serial, specs)
    return [
        TaskRow(
            serial,
            JobId(int.from_bytes(identifier, "big")),
            ordinal,
            spec,
            needs,
            accepted_at,
            counts.get(ordinal, ()),
        )
        for ordinal, spec, needs in specs
    ]


def _ended_counts(
    connection: sqlite3.Connection, job: int, specs: list[tuple[int, TaskSpec, tuple[int, ...]]]
) -> dict[int, tuple[int, ...]]:
    """Elements by state of neighbouring tasks of an ended job: counted by SQLite, except for tasks with spans, where what
    came last decides for each element."""
    bounds = (job, specs[0][0], specs[-1][0])
    tallies: dict[int, list[int]] = {ordinal: [0] * len(TaskState) for ordinal, _, _ in specs}
    spanned = {row[0] for row in connection.execute(SQL["spanned_tasks"], bounds)}
    for ordinal, state, count in connection.execute(SQL["ended_counts"], bounds):
        tallies[ordinal][state] = count
    counts = {ordinal: tuple(tally) for ordinal, tally in tallies.items()}
    for ordinal, spec, _ in specs:
        if ordinal in spanned:
            counts[ordinal] = final_counts(spec.size, connection.execute(SQL["fates"], (job, ordinal)))
    return counts


# --- attempts and elements -----------------------------------------------------------------------------------------------


def _attempt_row(row: tuple[Any, ...]) -> AttemptRow:
    a, j, t, i, number, node, assigned_at, started_at, ended_at, outcome, code, state, reason, result, out, err = row
    return AttemptRow(
        a, j, t, i, number, node, assigned_at, started_at, ended_at, _OUTCOMES[outcome], code, _STATES[state], reason,
        result, out, err,
    )  # fmt: skip


def attempts(connection: sqlite3.Connection, job: int, task: int, first: int, count: int) -> list[AttemptRow]:
    rows = connection.execute(SQL["attempts"], (job, task, first, first + count - 1))
    return [_attempt_row(row) for row in rows]


def attempt(connection: sqlite3.Connection, serial: int) -> AttemptRow | None:
    row = connection.execute(SQL["attempt"], (serial,)).fetchone()
    return None if row is None else _attempt_row(row)


def elements(connection: sqlite3.Connection, job: int, task: int) -> list[ElementsRow]:
    return [
        ElementsRow(j, t, first, count, TaskState(state), at, after, reason)
        for j, t, first, count, state, at, after, reason in connection.execute(SQL["spans_of_task"], (job, task))
    ]


# --- nodes, events, outputs, tokens --------------------------------------------------------------------------------------


def nodes(connection: sqlite3.Connection) -> list[NodeRow]:
    found = []
    for row in connection.execute(SQL["nodes"]):
        (node, agent, name, host, _, version, _, _, linked_at, suspected_at, lost_at, state, shifted_at) = row
        shown = state or NodeState.UP.value
        if lost_at is not None and shown != NodeState.GONE.value:
            shown = "LOST"
        seen_at = max(linked_at, suspected_at or 0, shifted_at or 0)
        found.append(NodeRow(node, agent, name, host, version, shown, seen_at))
    return found


def instance_row(row: tuple[Any, ...]) -> InstanceRow:
    node, token, offer, job, intended_at, ref, bound_at, charged_at, state, shifted_at, reason, micros, lifetime = row
    known = unpack_offer(offer)
    return InstanceRow(
        node,
        token,
        known,
        job,
        intended_at,
        ref,
        bound_at,
        charged_at,
        state or "",
        shifted_at,
        reason,
        micros,
        lifetime,
    )


def instances(connection: sqlite3.Connection, limit: int) -> list[InstanceRow]:
    return [instance_row(row) for row in connection.execute(SQL["all_instances"], (limit,))]


def cost(connection: sqlite3.Connection, job: int) -> int:
    return int(connection.execute(SQL["cost_of_job"], (job,)).fetchone()[0])


def costs(connection: sqlite3.Connection, job: int) -> list[tuple[int, int]]:
    return [(node, micros) for node, micros in connection.execute(SQL["costs_of_job"], (job,))]


def events(connection: sqlite3.Connection, after: int, limit: int) -> list[EventRow]:
    return [EventRow(*row) for row in connection.execute(SQL["events"], (after, limit))]


def outputs(connection: sqlite3.Connection, attempt: int, stream: int, offset: int, limit: int) -> list[OutputRow]:
    rows = connection.execute(SQL["outputs"], (attempt, stream, offset, limit))
    return [OutputRow(*row) for row in rows]


def secrets(connection: sqlite3.Connection, job: int) -> bytes:
    row = connection.execute(SQL["secrets"], (job,)).fetchone()
    return row[0] if row is not None else b""


def enrolled(connection: sqlite3.Connection, agent: str) -> bytes:
    row = connection.execute(SQL["enrolled_key"], (agent,)).fetchone()
    return row[0] if row is not None else b""


def tokens(connection: sqlite3.Connection) -> list[TokenRow]:
    rows = [TokenRow(*row) for row in connection.execute(SQL["tokens"])]
    return [msgspec.structs.replace(row, single=bool(row.single)) for row in rows]
