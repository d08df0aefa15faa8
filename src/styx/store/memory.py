"""A store that keeps the records themselves, in dicts: for tests, and for embedding where nothing needs to last.

It passes the same contract suite as the store on disk. Closing keeps what it holds, so that opening it again is a restart.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import msgspec

from styx.core.ids import JobId
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
from styx.core.spec import TaskSpec
from styx.core.states import JobState, NodeState, TaskState
from styx.errors import StaleEpoch, StoreError
from styx.store.base import (
    AttemptRow,
    Batch,
    ElementsRow,
    EventRow,
    InstanceRow,
    JobRow,
    NodeRow,
    Opened,
    OutputRow,
    Page,
    ReportMark,
    TaskRow,
    TokenRow,
)
from styx.store.rows import CHUNK, Fate, attempt_row, batches, digits_of, final_counts, no_such_record

__all__ = ["MemoryStore"]

_SpansRecord = SpansEnded | SpansReset


class _Job:
    """All that is kept of one job. `accepted` is None while it is staged."""

    __slots__ = ("accepted", "attempts", "cancelling", "ended", "revived", "spans", "tasks")

    def __init__(self) -> None:
        self.accepted: JobAccepted | None = None
        self.revived: JobRevived | None = None
        self.cancelling: JobCancelling | None = None
        self.ended: JobEnded | None = None
        self.tasks: list[tuple[TaskSpec, tuple[int, ...]]] = []
        self.attempts: dict[int, list[int]] = {}  # task -> serials
        self.spans: list[tuple[int, _SpansRecord]] = []


class _Node:
    __slots__ = ("linked", "lost", "shifted", "suspected")

    def __init__(self, linked: NodeLinked) -> None:
        self.linked = linked
        self.suspected: NodeSuspected | None = None
        self.lost: NodeLost | None = None
        self.shifted: NodeShifted | None = None

    def records(self) -> Iterator[Record]:
        yield self.linked
        for record in (self.shifted, self.suspected, self.lost):
            if record is not None:
                yield record


class _Machine:
    """An intent, and what became of it."""

    __slots__ = ("bound", "charged_at", "intended", "reason", "shifted")

    def __init__(self, intended: InstanceIntended) -> None:
        self.intended = intended
        self.bound: InstanceBound | None = None
        self.charged_at = 0
        self.shifted: NodeShifted | None = None
        self.reason = ""

    def shift(self, shifted: NodeShifted) -> None:
        self.shifted = shifted
        self.reason = shifted.reason or self.reason

    def row(self, micros: int) -> InstanceRow:
        intended, bound, shifted = self.intended, self.bound, self.shifted
        return InstanceRow(
            intended.node,
            intended.token,
            intended.offer,
            intended.job,
            intended.at,
            bound.ref if bound else "",
            bound.at if bound else 0,
            self.charged_at,
            shifted.state.value if shifted else "",
            shifted.at if shifted else 0,
            self.reason,
            micros,
            intended.lifetime,
        )

    def records(self, micros: int) -> Iterator[Record]:
        yield self.intended
        if self.bound is not None:
            yield self.bound
            yield InstanceCharged(self.intended.node, ((self.intended.job, micros),), self.charged_at)


class MemoryStore:
    """Everything in this process's memory; `backup` has nothing to offer and says so."""

    def __init__(self) -> None:
        self._incarnation = secrets.token_hex(8)
        self._epoch = 0
        self.low = ""
        self._serials = [0, 0, 0]  # the highest job, attempt, node ever
        self._told = 0  # records so far
        self._last_event = 0
        self._last_at = 0
        self._jobs: dict[int, _Job] = {}
        self._by_id: dict[JobId, int] = {}
        self._by_key: dict[str, int] = {}
        self._assigned: dict[int, AttemptAssigned] = {}
        self._started: dict[int, AttemptStarted] = {}
        self._stopping: dict[int, AttemptCancelling] = {}
        self._ended: dict[int, AttemptEnded] = {}
        self._ended_told: dict[int, int] = {}
        self._nodes: dict[int, _Node] = {}
        self._machines: dict[int, _Machine] = {}
        self._costs: dict[tuple[int, int], int] = {}  # (job, node) -> micros
        self._refusals: dict[tuple[str, ...], InstanceRefused] = {}
        self._events: list[EventRow] = []
        self._outputs: dict[tuple[int, int], dict[int, OutputRow]] = {}
        self._last_segment = 0
        self._marks: dict[str, ReportMark] = {}
        self._tokens: dict[int, TokenRow] = {}
        self._last_token = 0
        self._enrolments: dict[str, bytes] = {}
        self._secrets: dict[int, bytes] = {}

    # --- opening, committing -------------------------------------------------------------------------------------

    async def open(self) -> Opened:
        self._epoch += 1
        return Opened(self._incarnation, self._epoch, self._last_event, self._last_at)

    async def close(self) -> None:
        return

    async def serials(self) -> tuple[int, int, int]:
        job, attempt, node = self._serials
        return job, attempt, node

    async def commit(self, epoch: int, batch: Batch) -> None:
        if epoch != self._epoch:
            raise StaleEpoch(f"this store was opened again (epoch {self._epoch}) since epoch {epoch}")
        for record in batch.records:
            if type(record) not in _KEEP:
                raise no_such_record(record)
        for record in batch.records:
            self._told += 1
            _KEEP[type(record)](self, record)
        if batch.events:
            self._events.append(EventRow(batch.first_event, batch.last_event, batch.at, batch.events))
        self._last_event = max(self._last_event, batch.last_event)
        self._last_at = max(self._last_at, batch.at)
        for row in batch.outputs:
            self._outputs.setdefault((row.attempt, row.stream), {})[row.offset] = row
            self._last_segment = max(self._last_segment, row.segment)
        for mark in batch.marks:
            self._marks[mark.agent] = mark
        for sealed in batch.secrets:
            self._secrets[sealed.job] = sealed.sealed

    def _tasks_staged(self, record: TasksStaged) -> None:
        job = self._jobs.setdefault(record.job, _Job())
        job.tasks += zip(record.tasks, record.needs, strict=True)
        self._serials[0] = max(self._serials[0], record.job)

    def _job_unstaged(self, record: JobUnstagedRecord) -> None:
        self._jobs.pop(record.job, None)
        self._serials[0] = max(self._serials[0], record.job)

    def _job_accepted(self, record: JobAccepted) -> None:
        self._jobs.setdefault(record.job, _Job()).accepted = record
        self._serials[0] = max(self._serials[0], record.job)
        self._by_id[record.id] = record.job
        if record.key:
            self._by_key.setdefault(record.key, record.job)

    def _job_cancelling(self, record: JobCancelling) -> None:
        self._jobs[record.job].cancelling = record

    def _job_revived(self, record: JobRevived) -> None:
        job = self._jobs[record.job]
        job.ended = job.cancelling = None
        job.revived = record

    def _job_ended(self, record: JobEnded) -> None:
        self._jobs[record.job].ended = record

    def _attempt_assigned(self, record: AttemptAssigned) -> None:
        self._assigned[record.attempt] = record
        self._jobs[record.job].attempts.setdefault(record.task, []).append(record.attempt)
        self._serials[1] = max(self._serials[1], record.attempt)

    def _attempt_started(self, record: AttemptStarted) -> None:
        self._started[record.attempt] = record

    def _attempt_cancelling(self, record: AttemptCancelling) -> None:
        self._stopping[record.attempt] = record

    def _attempt_ended(self, record: AttemptEnded) -> None:
        self._ended[record.attempt] = record
        self._ended_told[record.attempt] = self._told
        self._started.pop(record.attempt, None)
        self._stopping.pop(record.attempt, None)

    def _spans(self, record: _SpansRecord) -> None:
        self._jobs[record.job].spans.append((self._told, record))

    def _node_linked(self, record: NodeLinked) -> None:
        self._nodes[record.node] = _Node(record)
        self._serials[2] = max(self._serials[2], record.node)

    def _node_suspected(self, record: NodeSuspected) -> None:
        self._nodes[record.node].suspected = record

    def _node_lost(self, record: NodeLost) -> None:
        self._nodes[record.node].lost = record

    def _node_shifted(self, record: NodeShifted) -> None:
        if record.node in self._nodes:
            self._nodes[record.node].shifted = record
        if record.node in self._machines and record.state in {NodeState.RELEASING, NodeState.GONE}:
            self._machines[record.node].shift(record)

    def _instance_intended(self, record: InstanceIntended) -> None:
        self._machines[record.node] = _Machine(record)
        self._serials[2] = max(self._serials[2], record.node)

    def _instance_bound(self, record: InstanceBound) -> None:
        machine = self._machines[record.node]
        machine.bound, machine.charged_at = record, record.at

    def _instance_refused(self, record: InstanceRefused) -> None:
        self._refusals[scope(record.kind, record.offer)] = record
        if record.node in self._machines:
            self._machines[record.node].shift(NodeShifted(record.node, NodeState.GONE, record.at, record.detail))

    def _instance_charged(self, record: InstanceCharged) -> None:
        if record.node in self._machines:
            self._machines[record.node].charged_at = record.at
        for job, micros in record.shares:
            self._costs[job, record.node] = self._costs.get((job, record.node), 0) + micros

    def _derived(self, record: Record) -> None:
        return

    # --- starting again ------------------------------------------------------------------------------------------

    async def load(self) -> AsyncIterator[list[Record]]:
        for serial in [serial for serial, job in self._jobs.items() if job.accepted is None]:
            del self._jobs[serial]
        for chunk in batches(self._live()):
            yield chunk

    def _live(self) -> Iterator[Record]:
        for refusal in sorted(self._refusals.values(), key=lambda record: record.at):
            yield msgspec.structs.replace(refusal, node=0)
        day = self._last_at - 86_400_000
        machines = [
            machine
            for _, machine in sorted(self._machines.items())
            if machine.shifted is None or machine.shifted.state != NodeState.GONE or machine.shifted.at > day
        ]
        for machine in machines:
            yield from machine.records(self._cost_of(machine.intended.node))
        for serial in sorted(self._nodes):
            yield from self._nodes[serial].records()
        for machine in machines:
            if machine.shifted is not None:
                yield msgspec.structs.replace(machine.shifted, reason=machine.reason)
        under_way: list[int] = []
        for serial in sorted(self._jobs):
            if self._jobs[serial].ended is None:
                yield from self._job_records(serial, under_way)
        for attempt in sorted(under_way):
            yield self._assigned[attempt]
            if attempt in self._started:
                yield self._started[attempt]
            if attempt in self._stopping:
                yield self._stopping[attempt]

    def _job_records(self, serial: int, under_way: list[int]) -> Iterator[Record]:
        """One job, ended attempts only; the others are added to `under_way`."""
        job = self._jobs[serial]
        if job.accepted is None:
            return
        for first in range(0, len(job.tasks), CHUNK):
            specs, needs = zip(*job.tasks[first : first + CHUNK], strict=True)
            yield TasksStaged(serial, first, specs, needs)
        yield job.accepted
        if cost := sum(micros for (payer, _), micros in self._costs.items() if payer == serial):
            yield InstanceCharged(0, ((serial, cost),), 0)
        if job.revived is not None:
            yield job.revived
        if job.cancelling is not None:
            yield job.cancelling
        told: list[tuple[int, tuple[Record, ...]]] = [(number, (span,)) for number, span in job.spans]
        for attempts in job.attempts.values():
            for attempt in attempts:
                ended = self._ended.get(attempt)
                if ended is None:
                    under_way.append(attempt)
                else:
                    told.append((self._ended_told[attempt], (self._assigned[attempt], ended)))
        told.sort(key=lambda entry: entry[0])
        for _, records in told:
            yield from records

    def _cost_of(self, node: int) -> int:
        return sum(micros for (_, machine), micros in self._costs.items() if machine == node)

    async def instances(self, limit: int = 1_000) -> list[InstanceRow]:
        newest = sorted(self._machines, reverse=True)[:limit]
        return [self._machines[node].row(self._cost_of(node)) for node in newest]

    async def cost(self, job: int) -> int:
        return sum(micros for (payer, _), micros in self._costs.items() if payer == job)

    async def costs(self, job: int) -> list[tuple[int, int]]:
        return sorted((node, micros) for (payer, node), micros in self._costs.items() if payer == job)

    async def history(self, job: int) -> list[Record]:
        return list(self._job_records(job, [])) if job in self._jobs else []

    async def marks(self) -> list[ReportMark]:
        return list(self._marks.values())

    # --- jobs and tasks ------------------------------------------------------------------------------------------

    def _row(self, serial: int) -> JobRow | None:
        job = self._jobs.get(serial)
        if job is None or job.accepted is None:
            return None
        a, e = job.accepted, job.ended
        return JobRow(
            serial,
            a.id,
            a.spec,
            a.tasks,
            a.elements,
            e.state if e else JobState.CANCELLING if job.cancelling else JobState.RUNNING,
            a.at,
            e.at if e else 0,
            e.code if e else 0,
            e.counts if e else (),
            e.reason if e else job.cancelling.reason if job.cancelling else "",
            a.key,
            a.digest,
        )

    def _newest(self) -> Iterator[JobRow]:
        for serial in sorted(self._jobs, reverse=True):
            row = self._row(serial)
            if row is not None:
                yield row

    async def job(self, job: int) -> JobRow | None:
        return self._row(job)

    async def job_by_id(self, job_id: JobId) -> JobRow | None:
        serial = self._by_id.get(job_id)
        return None if serial is None else self._row(serial)

    async def job_by_key(self, key: str) -> JobRow | None:
        serial = self._by_key.get(key)
        return None if serial is None else self._row(serial)

    async def jobs(self, page: Page, *, state: JobState | None = None, name: str = "") -> list[JobRow]:
        before = page.before[0]
        found: list[JobRow] = []
        for row in self._newest():
            if len(found) >= page.limit:
                break
            if before and row.job >= before:
                continue
            if name and row.spec.name != name:
                continue
            if state is None or row.state == state or (state == JobState.RUNNING and not row.state.ended):
                found.append(row)
        return found

    async def find_jobs(self, digits: str, limit: int = 5) -> list[JobId]:
        wanted = digits_of(digits)
        if not wanted:
            return []
        texts = ((row.id, f"{row.id:032x}") for row in self._newest())
        return [job_id for job_id, text in texts if text.startswith(wanted) or text.endswith(wanted)][:limit]

    def _task_row(self, serial: int, ordinal: int) -> TaskRow:
        job = self._jobs[serial]
        assert job.accepted is not None
        spec, needs = job.tasks[ordinal]
        counts = final_counts(spec.size, self._fates(job, ordinal)) if job.ended else ()
        return TaskRow(serial, job.accepted.id, ordinal, spec, needs, job.accepted.at, counts)

    def _fates(self, job: _Job, ordinal: int) -> Iterator[Fate]:
        for attempt in job.attempts.get(ordinal, ()):
            ended = self._ended.get(attempt)
            if ended is not None:
                yield self._ended_told[attempt], ended.index, 1, ended.state
        for told, row in _elements(job.spans, ordinal):
            yield told, row.first, row.count, row.state

    async def tasks(self, page: Page, *, job: int = 0) -> list[TaskRow]:
        last_job, last_task = page.before
        found: list[TaskRow] = []
        for row in self._newest():
            if (job and row.job != job) or (last_job and row.job > last_job):
                continue
            first = last_task + 1 if row.job == last_job else 0
            last = min(len(self._jobs[row.job].tasks), first + page.limit - len(found))
            found += [self._task_row(row.job, ordinal) for ordinal in range(first, last)]
            if len(found) >= page.limit:
                break
        return found

    async def task(self, job: int, task: int) -> TaskRow | None:
        kept = self._jobs.get(job)
        known = kept is not None and kept.accepted is not None and 0 <= task < len(kept.tasks)
        return self._task_row(job, task) if known else None

    def _attempt_row(self, attempt: int) -> AttemptRow:
        started = self._started.get(attempt)
        return attempt_row(self._assigned[attempt], started.at if started is not None else 0, self._ended.get(attempt))

    async def attempts(self, job: int, task: int, *, first: int = 0, count: int = 1 << 31) -> list[AttemptRow]:
        kept = self._jobs.get(job)
        serials = kept.attempts.get(task, []) if kept is not None else []
        rows = [self._attempt_row(attempt) for attempt in serials]
        rows = [row for row in rows if first <= row.index < first + count]
        return sorted(rows, key=lambda row: (row.index, row.number))

    async def attempt(self, attempt: int) -> AttemptRow | None:
        return self._attempt_row(attempt) if attempt in self._assigned else None

    async def elements(self, job: int, task: int) -> list[ElementsRow]:
        kept = self._jobs.get(job)
        return [row for _, row in _elements(kept.spans, task)] if kept is not None else []

    # --- nodes, events, outputs, tokens --------------------------------------------------------------------------

    async def nodes(self) -> list[NodeRow]:
        return [_node_row(self._nodes[serial]) for serial in sorted(self._nodes)]

    async def events(self, after: int, limit: int) -> list[EventRow]:
        return [row for row in self._events if row.last > after][:limit]

    async def outputs(self, attempt: int, stream: int, offset: int, limit: int = 1_000) -> list[OutputRow]:
        pieces = self._outputs.get((attempt, stream), {})
        return [pieces[at] for at in sorted(pieces) if at + pieces[at].length > offset][:limit]

    async def last_segment(self) -> int:
        return self._last_segment

    async def tokens(self) -> list[TokenRow]:
        return list(self._tokens.values())

    async def add_token(self, row: TokenRow) -> TokenRow:
        kept = msgspec.structs.replace(row, token=self._last_token + 1)
        self._last_token = kept.token
        self._tokens[kept.token] = kept
        return kept

    async def revoke_token(self, token: int, at: int) -> bool:
        row = self._tokens.get(token)
        if row is None or row.revoked_at:
            return False
        self._tokens[token] = msgspec.structs.replace(row, revoked_at=at)
        return True

    async def bind_token(self, token: int, agent: str) -> str:
        row = self._tokens.get(token)
        if row is not None and not row.agent:
            row = self._tokens[token] = msgspec.structs.replace(row, agent=agent)
        return row.agent if row is not None else ""

    async def enrol(self, agent: str, key: bytes) -> bytes:
        return self._enrolments.setdefault(agent, key)

    async def enrolled(self, agent: str) -> bytes:
        return self._enrolments.get(agent, b"")

    async def forget_enrolment(self, agent: str) -> None:
        self._enrolments.pop(agent, None)

    async def drop_credentials(self, before: int) -> None:
        ended = [r.token for r in self._tokens.values() if r.parent and not r.revoked_at and r.expires_at < before]
        for token in ended:
            del self._tokens[token]

    async def secrets(self, job: int) -> bytes:
        return self._secrets.get(job, b"")

    # --- retention -----------------------------------------------------------------------------------------------

    async def prune(self, *, ended_before: int, keep_bytes: int = 0, limit: int = 100) -> tuple[int, list[int]]:
        segments = self._segments()
        total = sum(row.length for pieces in self._outputs.values() for row in pieces.values())
        ended = sorted((job.ended.at, serial) for serial, job in self._jobs.items() if job.ended is not None)
        dropped = 0
        for at, serial in ended[:limit]:
            if at >= ended_before and not (keep_bytes and total > keep_bytes):
                break
            total -= self._forget(serial)
            dropped += 1
        self._events = [row for row in self._events if row.at >= ended_before]
        return dropped, sorted(segments - self._segments())

    def _segments(self) -> set[int]:
        return {row.segment for pieces in self._outputs.values() for row in pieces.values()}

    def _forget(self, serial: int) -> int:
        """Drops a job; returns the bytes of its output."""
        job = self._jobs.pop(serial)
        for pair in [pair for pair in self._costs if pair[0] == serial]:
            del self._costs[pair]
        self._secrets.pop(serial, None)
        if job.accepted is not None:
            del self._by_id[job.accepted.id]
            if self._by_key.get(job.accepted.key) == serial:
                del self._by_key[job.accepted.key]
        gone = {attempt for attempts in job.attempts.values() for attempt in attempts}
        for attempt in gone:
            del self._assigned[attempt]
            self._ended.pop(attempt, None)
            self._ended_told.pop(attempt, None)
        streams = [stream for stream in self._outputs if stream[0] in gone]
        return sum(row.length for stream in streams for row in self._outputs.pop(stream).values())

    async def regain(self) -> bool:
        return True

    async def backup(self, path: str) -> None:
        raise StoreError(
            "a store in memory cannot be backed up", hint="give the control plane a folder to keep its records in"
        )

    async def size(self) -> int:
        return 0


def _elements(spans: list[tuple[int, _SpansRecord]], ordinal: int) -> Iterator[tuple[int, ElementsRow]]:
    for told, record in spans:
        state, reason = (record.state, record.reason) if isinstance(record, SpansEnded) else (TaskState.PENDING, "")
        for task, first, count in record.spans:
            if task == ordinal:
                yield told, ElementsRow(record.job, task, first, count, state, record.at, record.after, reason)


def _node_row(node: _Node) -> NodeRow:
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


_KEEP: dict[type, Callable[[MemoryStore, Any], None]] = {
    TasksStaged: MemoryStore._tasks_staged,
    JobUnstagedRecord: MemoryStore._job_unstaged,
    JobAccepted: MemoryStore._job_accepted,
    JobCancelling: MemoryStore._job_cancelling,
    JobRevived: MemoryStore._job_revived,
    JobEnded: MemoryStore._job_ended,
    AttemptAssigned: MemoryStore._attempt_assigned,
    AttemptStarted: MemoryStore._attempt_started,
    AttemptCancelling: MemoryStore._attempt_cancelling,
    AttemptEnded: MemoryStore._attempt_ended,
    SpansEnded: MemoryStore._spans,
    SpansReset: MemoryStore._spans,
    NodeLinked: MemoryStore._node_linked,
    NodeSuspected: MemoryStore._node_suspected,
    NodeLost: MemoryStore._node_lost,
    NodeShifted: MemoryStore._node_shifted,
    TasksReady: MemoryStore._derived,
    AttemptAdmitted: MemoryStore._derived,
    ElementsDue: MemoryStore._derived,
    NodeReserved: MemoryStore._derived,
    InstanceIntended: MemoryStore._instance_intended,
    InstanceBound: MemoryStore._instance_bound,
    InstanceRefused: MemoryStore._instance_refused,
    InstanceCharged: MemoryStore._instance_charged,
    InstanceDoubted: MemoryStore._derived,
}
