"""The port between the runtime and what keeps records: `sqlite` on disk, `memory` for tests and embedding.

A batch is all that one turn of the loop wants on disk: it is committed whole or not at all.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

import msgspec

from styx.core.ids import JobId
from styx.core.offers import Offer
from styx.core.records import Record
from styx.core.spec import JobSpec, TaskSpec
from styx.core.states import JobState, Outcome, TaskState

__all__ = [
    "AttemptRow",
    "Batch",
    "ElementsRow",
    "EventRow",
    "InstanceRow",
    "JobRow",
    "NodeRow",
    "Opened",
    "OutputRow",
    "Page",
    "ReportMark",
    "SecretsRow",
    "Store",
    "TaskRow",
    "TokenRow",
]


class Opened(msgspec.Struct, frozen=True):
    incarnation: str  # drawn when the database was created or restored, never at a restart
    epoch: int  # raised by each open; a commit with an older one fails
    last_event: int  # the highest event sequence given out
    last_at: int  # the latest time of any record, so that time never goes backwards


class OutputRow(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """`length` bytes of one stream of an attempt, from `offset`, lie in segment file `segment` from `position`."""

    attempt: int
    stream: int
    offset: int
    length: int
    segment: int
    position: int


class ReportMark(msgspec.Struct, frozen=True, gc=False):
    """Every Report of this agent session up to `number` is dealt with in this batch."""

    agent: str
    session: str
    number: int


class SecretsRow(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """The values of a job's secrets, as `runtime.vault` has sealed them."""

    job: int
    sealed: bytes


class Batch(msgspec.Struct, frozen=True):
    """`events` is the encoded public form of the records, `last_event` the sequence of the last one."""

    records: list[Record]
    events: bytes = b""
    first_event: int = 0
    last_event: int = 0
    at: int = 0
    outputs: tuple[OutputRow, ...] = ()
    marks: tuple[ReportMark, ...] = ()
    secrets: tuple[SecretsRow, ...] = ()


class JobRow(msgspec.Struct, frozen=True):
    """A job as it is kept. For a live one `state` is RUNNING or CANCELLING, and memory knows more."""

    job: int
    id: JobId
    spec: JobSpec  # without tasks
    tasks: int
    elements: int
    state: JobState
    accepted_at: int
    ended_at: int
    code: int
    counts: tuple[int, ...]  # elements by TaskState, once it has ended
    reason: str
    key: str
    digest: bytes


class TaskRow(msgspec.Struct, frozen=True):
    """`counts` are the elements by TaskState, once the job has ended, else empty."""

    job: int
    job_id: JobId
    task: int
    spec: TaskSpec
    needs: tuple[int, ...]
    accepted_at: int
    counts: tuple[int, ...] = ()


class AttemptRow(msgspec.Struct, frozen=True):
    attempt: int
    job: int
    task: int
    index: int
    number: int
    node: int
    assigned_at: int
    started_at: int
    ended_at: int  # 0: under way
    outcome: Outcome | None
    code: int
    state: TaskState | None  # what the element became
    reason: str
    result: bytes
    stdout: int
    stderr: int


class ElementsRow(msgspec.Struct, frozen=True):
    """A SpansEnded or SpansReset (state PENDING) as it is kept."""

    job: int
    task: int
    first: int
    count: int
    state: TaskState
    at: int
    after: int
    reason: str


class NodeRow(msgspec.Struct, frozen=True):
    node: int
    agent: str
    name: str
    host: str
    version: str
    state: str
    seen_at: int


class InstanceRow(msgspec.Struct, frozen=True):
    """A machine that a provider was asked for. `state` is RELEASING or GONE, empty before; `micros` is what it has cost as far as that
    is charged, up to `charged_at`."""

    node: int
    token: str
    offer: Offer
    job: int
    intended_at: int
    ref: str
    bound_at: int
    charged_at: int
    state: str
    shifted_at: int
    reason: str
    micros: int
    lifetime: int = 0


class EventRow(msgspec.Struct, frozen=True):
    first: int
    last: int
    at: int
    payload: bytes


class TokenRow(msgspec.Struct, frozen=True):
    """An access token; only its SHA-256 is kept."""

    token: int
    name: str
    role: str  # admin, user, viewer, agent, join
    digest: bytes
    created_at: int
    expires_at: int  # 0: never
    revoked_at: int = 0
    agent: str = ""  # the one agent that may use it, once it has
    pool: str = ""  # what nodes that come by it are labelled with
    single: bool = False  # it lets in one agent only
    parent: int = 0  # of a credential: the join token that it came of


class Page(msgspec.Struct, frozen=True):
    """Which part of a list: at most `limit` rows behind (older than) the cursor; 0 starts at the newest."""

    limit: int = 100
    before: tuple[int, int] = (0, 0)  # (job, task) of the last row seen; (0, 0) is the start


class Store(Protocol):
    """Errors: StoreLocked from `open`; StoreFull, StaleEpoch, SyncFailed from `commit`; StoreError from any."""

    low: str
    """Why nothing new should be taken in: the disk was full, and commits live on what had been put aside. "" while there is room."""

    async def open(self) -> Opened: ...

    async def close(self) -> None: ...

    def load(self) -> AsyncIterator[list[Record]]:
        """What is live, as records in an order that `apply` can follow, in lists of some thousand: refusals (InstanceRefused of
        node 0); nodes (InstanceIntended, InstanceBound, InstanceCharged with all it has cost, NodeLinked, NodeShifted,
        NodeSuspected, NodeLost), and with them machines that are gone for less than a day; then for each live job
        TasksStaged, JobAccepted, InstanceCharged of node 0 with all it has cost, if it has, JobRevived (the last one) if it was,
        JobCancelling, and its ended attempts
        (AttemptAssigned, AttemptEnded) and its spans, in the order in which these ended; then the attempts under way of
        all jobs (AttemptAssigned, AttemptStarted, AttemptCancelling), by serial. Drops what was staged and never accepted."""
        ...

    async def serials(self) -> tuple[int, int, int]:
        """The highest (job, attempt, node) serial ever given out, ended ones included."""
        ...

    async def commit(self, epoch: int, batch: Batch) -> None:
        """Put the batch on disk, whole; returns after the fsync."""
        ...

    async def regain(self) -> bool:
        """Put room aside again. Returns whether there was enough, and then `low` is over."""
        ...

    async def marks(self) -> list[ReportMark]: ...

    async def job(self, job: int) -> JobRow | None: ...

    async def job_by_id(self, job_id: JobId) -> JobRow | None: ...

    async def job_by_key(self, key: str) -> JobRow | None: ...

    async def jobs(self, page: Page, *, state: JobState | None = None, name: str = "") -> list[JobRow]:
        """Newest first. `state` is one of the ended states, or RUNNING for all that has not ended."""
        ...

    async def find_jobs(self, digits: str, limit: int = 5) -> list[JobId]:
        """Jobs whose 32 hexadecimal digits begin or end with `digits`, newest first."""
        ...

    async def tasks(self, page: Page, *, job: int = 0) -> list[TaskRow]:
        """By job, newest first, then by ordinal (of one job when `job` is given)."""
        ...

    async def task(self, job: int, task: int) -> TaskRow | None: ...

    async def attempts(self, job: int, task: int, *, first: int = 0, count: int = 1 << 31) -> list[AttemptRow]:
        """The attempts of the elements first .. first + count - 1, by (index, number)."""
        ...

    async def attempt(self, attempt: int) -> AttemptRow | None: ...

    async def elements(self, job: int, task: int) -> list[ElementsRow]: ...

    async def history(self, job: int) -> list[Record]:
        """The records that rebuild an ended job, without its JobEnded."""
        ...

    async def nodes(self) -> list[NodeRow]: ...

    async def instances(self, limit: int = 1_000) -> list[InstanceRow]:
        """Machines, newest first, those that are gone too."""
        ...

    async def cost(self, job: int) -> int:
        """Micros that a job has cost, as far as they are charged."""
        ...

    async def costs(self, job: int) -> list[tuple[int, int]]:
        """The same by machine: (node, micros)."""
        ...

    async def events(self, after: int, limit: int) -> list[EventRow]:
        """Event rows whose last sequence is above `after`, oldest first."""
        ...

    async def outputs(self, attempt: int, stream: int, offset: int, limit: int = 1_000) -> list[OutputRow]:
        """The pieces of a stream that end behind `offset`, in order."""
        ...

    async def last_segment(self) -> int: ...

    async def tokens(self) -> list[TokenRow]: ...

    async def add_token(self, row: TokenRow) -> TokenRow:
        """Keeps it and returns it with its serial."""
        ...

    async def revoke_token(self, token: int, at: int) -> bool: ...

    async def bind_token(self, token: int, agent: str) -> str:
        """Bind a token to an agent, unless it is bound already. Returns the agent that it is bound to from now on."""
        ...

    async def enrol(self, agent: str, key: bytes) -> bytes:
        """Keep the digest of an agent's own key; the first one that comes counts. Returns the one that does."""
        ...

    async def enrolled(self, agent: str) -> bytes:
        """The digest of the key that counts for an agent; empty when it never joined."""
        ...

    async def forget_enrolment(self, agent: str) -> None:
        """Let the next key that comes with this agent's id count."""
        ...

    async def drop_credentials(self, before: int) -> None:
        """Drop the credentials that ended, by themselves, before a time."""
        ...

    async def secrets(self, job: int) -> bytes:
        """What the values of a job's secrets are sealed into; empty when it has none."""
        ...

    async def prune(self, *, ended_before: int, keep_bytes: int = 0, limit: int = 100) -> tuple[int, list[int]]:
        """Drop up to `limit` of the oldest jobs that ended before a time (or, with `keep_bytes`, beyond that size of
        output), their tasks, attempts, outputs and events. Returns how many, and the segments nobody points at."""
        ...

    async def backup(self, path: str) -> None:
        """A consistent copy, with a new incarnation, while this goes on."""
        ...

    async def size(self) -> int:
        """Bytes on disk, 0 in memory."""
        ...
