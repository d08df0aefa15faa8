"""From the records that are kept to the rows of the port."""

from __future__ import annotations

from collections.abc import Iterator

from styx.core.ids import JobId
from styx.core.records import SpansEnded
from styx.core.states import JobState, NodeState, TaskState
from styx.store.base import AttemptRow, ElementsRow, InstanceRow, JobRow, NodeRow, OutputRow, Page, TaskRow
from styx.store.memory.tables import Job, Machine, Node, SpansRecord, Tables
from styx.store.rows import Fate, attempt_row, digits_of, final_counts

__all__ = [
    "attempt",
    "attempts",
    "elements",
    "find_jobs",
    "instances",
    "job",
    "jobs",
    "nodes",
    "outputs",
    "task",
    "tasks",
]


# --- jobs ----------------------------------------------------------------------------------------------------------------


def job(tables: Tables, serial: int) -> JobRow | None:
    kept = tables.jobs.get(serial)
    if kept is None or kept.accepted is None:
        return None
    a, e = kept.accepted, kept.ended
    return JobRow(
        serial,
        a.id,
        a.spec,
        a.tasks,
        a.elements,
        e.state if e else JobState.CANCELLING if kept.cancelling else JobState.RUNNING,
        a.at,
        e.at if e else 0,
        e.code if e else 0,
        e.counts if e else (),
        e.reason if e else kept.cancelling.reason if kept.cancelling else "",
        a.key,
        a.digest,
    )


def _newest(tables: Tables) -> Iterator[JobRow]:
    for serial in sorted(tables.jobs, reverse=True):
        row = job(tables, serial)
        if row is not None:
            yield row


def jobs(tables: Tables, page: Page, state: JobState | None, name: str) -> list[JobRow]:
    before = page.before[0]
    found: list[JobRow] = []
    for row in _newest(tables):
        if len(found) >= page.limit:
            break
        if before and row.job >= before:
            continue
        if name and row.spec.name != name:
            continue
        if state is None or row.state == state or (state == JobState.RUNNING and not row.state.ended):
            found.append(row)
    return found


def find_jobs(tables: Tables, text: str, limit: int) -> list[JobId]:
    wanted = digits_of(text)
    if not wanted:
        return []
    texts = ((row.id, f"{row.id:032x}") for row in _newest(tables))
    return [job_id for job_id, digits in texts if digits.startswith(wanted) or digits.endswith(wanted)][:limit]


# --- tasks, attempts, elements -------------------------------------------------------------------------------------------


def tasks(tables: Tables, page: Page, wanted: int) -> list[TaskRow]:
    last_job, last_task = page.before
    found: list[TaskRow] = []
    for row in _newest(tables):
        if (wanted and row.job != wanted) or (last_job and row.job > last_job):
            continue
        first = last_task + 1 if row.job == last_job else 0
        last = min(len(tables.jobs[row.job].tasks), first + page.limit - len(found))
        found += [_task_row(tables, row.job, ordinal) for ordinal in range(first, last)]
        if len(found) >= page.limit:
            break
    return found


def task(tables: Tables, serial: int, ordinal: int) -> TaskRow | None:
    kept = tables.jobs.get(serial)
    known = kept is not None and kept.accepted is not None and 0 <= ordinal < len(kept.tasks)
    return _task_row(tables, serial, ordinal) if known else None


def _task_row(tables: Tables, serial: int, ordinal: int) -> TaskRow:
    kept = tables.jobs[serial]
    assert kept.accepted is not None
    spec, needs = kept.tasks[ordinal]
    counts = final_counts(spec.size, _fates(tables, kept, ordinal)) if kept.ended else ()
    return TaskRow(serial, kept.accepted.id, ordinal, spec, needs, kept.accepted.at, counts)


def _fates(tables: Tables, kept: Job, ordinal: int) -> Iterator[Fate]:
    for serial in kept.attempts.get(ordinal, ()):
        ended = tables.ended.get(serial)
        if ended is not None:
            yield tables.ended_told[serial], ended.index, 1, ended.state
    for told, row in _elements(kept.spans, ordinal):
        yield told, row.first, row.count, row.state


def _attempt_row(tables: Tables, serial: int) -> AttemptRow:
    started = tables.started.get(serial)
    return attempt_row(tables.assigned[serial], started.at if started is not None else 0, tables.ended.get(serial))


def attempts(tables: Tables, serial: int, ordinal: int, first: int, count: int) -> list[AttemptRow]:
    kept = tables.jobs.get(serial)
    serials = kept.attempts.get(ordinal, []) if kept is not None else []
    rows = [_attempt_row(tables, number) for number in serials]
    rows = [row for row in rows if first <= row.index < first + count]
    return sorted(rows, key=lambda row: (row.index, row.number))


def attempt(tables: Tables, serial: int) -> AttemptRow | None:
    return _attempt_row(tables, serial) if serial in tables.assigned else None


def elements(tables: Tables, serial: int, ordinal: int) -> list[ElementsRow]:
    kept = tables.jobs.get(serial)
    return [row for _, row in _elements(kept.spans, ordinal)] if kept is not None else []


def _elements(spans: list[tuple[int, SpansRecord]], ordinal: int) -> Iterator[tuple[int, ElementsRow]]:
    for told, record in spans:
        state, reason = (record.state, record.reason) if isinstance(record, SpansEnded) else (TaskState.PENDING, "")
        for number, first, count in record.spans:
            if number == ordinal:
                yield told, ElementsRow(record.job, number, first, count, state, record.at, record.after, reason)


# --- nodes, instances, output --------------------------------------------------------------------------------------------


def nodes(tables: Tables) -> list[NodeRow]:
    return [_node_row(tables.nodes[serial]) for serial in sorted(tables.nodes)]


def _node_row(node: Node) -> NodeRow:
    linked = node.linked
    state = node.shifted.state.value if node.shifted is not None else NodeState.UP.value
    seen_at = max(
        linked.at,
        node.suspected.at if node.suspected is not None else 0,
        node.shifted.at if node.shifted is not None else 0,
    )
    if state != NodeState.GONE.value and node.lost is not None:
        state = "LOST"
    return NodeRow(linked.node, linked.agent, linked.name, linked.host, linked.version, state, seen_at)


def instances(tables: Tables, limit: int) -> list[InstanceRow]:
    newest = sorted(tables.machines, reverse=True)[:limit]
    return [_instance_row(tables.machines[node], tables.cost_of_node(node)) for node in newest]


def _instance_row(machine: Machine, micros: int) -> InstanceRow:
    intended, bound, shifted = machine.intended, machine.bound, machine.shifted
    return InstanceRow(
        intended.node,
        intended.token,
        intended.offer,
        intended.job,
        intended.at,
        bound.ref if bound else "",
        bound.at if bound else 0,
        machine.charged_at,
        shifted.state.value if shifted else "",
        shifted.at if shifted else 0,
        machine.reason,
        micros,
        intended.lifetime,
    )


def outputs(tables: Tables, serial: int, stream: int, offset: int, limit: int) -> list[OutputRow]:
    pieces = tables.outputs.get((serial, stream), {})
    return [pieces[at] for at in sorted(pieces) if at + pieces[at].length > offset][:limit]
