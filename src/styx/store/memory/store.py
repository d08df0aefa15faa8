"""The port over what is kept in memory. Closing keeps it, so that opening again is a restart."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator

import msgspec

from styx.core.ids import JobId
from styx.core.records import Record
from styx.core.states import JobState
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
from styx.store.memory import read, rebuild, retention
from styx.store.memory.tables import Tables
from styx.store.memory.write import write
from styx.store.rows import batches

__all__ = ["MemoryStore"]


class MemoryStore:
    """Everything in this process's memory; `backup` has nothing to offer and says so."""

    def __init__(self) -> None:
        self.tables = Tables()
        self.low = ""
        self._incarnation = secrets.token_hex(8)
        self._epoch = 0

    # --- opening, committing, starting again ---------------------------------------------------------------------

    async def open(self) -> Opened:
        self._epoch += 1
        return Opened(self._incarnation, self._epoch, self.tables.last_event, self.tables.last_at)

    async def close(self) -> None:
        return

    async def commit(self, epoch: int, batch: Batch) -> None:
        if epoch != self._epoch:
            raise StaleEpoch(f"this store was opened again (epoch {self._epoch}) since epoch {epoch}")
        write(self.tables, batch)

    async def regain(self) -> bool:
        return True

    async def load(self) -> AsyncIterator[list[Record]]:
        rebuild.forsake_staged(self.tables)
        for chunk in batches(rebuild.live(self.tables)):
            yield chunk

    async def serials(self) -> tuple[int, int, int]:
        return self.tables.serials

    async def history(self, job: int) -> list[Record]:
        return rebuild.history(self.tables, job)

    async def marks(self) -> list[ReportMark]:
        return list(self.tables.marks.values())

    # --- jobs and tasks ------------------------------------------------------------------------------------------

    async def job(self, job: int) -> JobRow | None:
        return read.job(self.tables, job)

    async def job_by_id(self, job_id: JobId) -> JobRow | None:
        serial = self.tables.by_id.get(job_id)
        return None if serial is None else read.job(self.tables, serial)

    async def job_by_key(self, key: str) -> JobRow | None:
        serial = self.tables.by_key.get(key)
        return None if serial is None else read.job(self.tables, serial)

    async def jobs(self, page: Page, *, state: JobState | None = None, name: str = "") -> list[JobRow]:
        return read.jobs(self.tables, page, state, name)

    async def find_jobs(self, digits: str, limit: int = 5) -> list[JobId]:
        return read.find_jobs(self.tables, digits, limit)

    async def tasks(self, page: Page, *, job: int = 0) -> list[TaskRow]:
        return read.tasks(self.tables, page, job)

    async def task(self, job: int, task: int) -> TaskRow | None:
        return read.task(self.tables, job, task)

    async def attempts(self, job: int, task: int, *, first: int = 0, count: int = 1 << 31) -> list[AttemptRow]:
        return read.attempts(self.tables, job, task, first, count)

    async def attempt(self, attempt: int) -> AttemptRow | None:
        return read.attempt(self.tables, attempt)

    async def elements(self, job: int, task: int) -> list[ElementsRow]:
        return read.elements(self.tables, job, task)

    # --- nodes, costs, events, outputs ---------------------------------------------------------------------------

    async def nodes(self) -> list[NodeRow]:
        return read.nodes(self.tables)

    async def instances(self, limit: int = 1_000) -> list[InstanceRow]:
        return read.instances(self.tables, limit)

    async def cost(self, job: int) -> int:
        return self.tables.cost_of_job(job)

    async def costs(self, job: int) -> list[tuple[int, int]]:
        return sorted((node, micros) for (payer, node), micros in self.tables.costs.items() if payer == job)

    async def events(self, after: int, limit: int) -> list[EventRow]:
        return [row for row in self.tables.events if row.last > after][:limit]

    async def outputs(self, attempt: int, stream: int, offset: int, limit: int = 1_000) -> list[OutputRow]:
        return read.outputs(self.tables, attempt, stream, offset, limit)

    async def last_segment(self) -> int:
        return self.tables.last_segment

    # --- tokens, enrolments, secrets -----------------------------------------------------------------------------

    async def tokens(self) -> list[TokenRow]:
        return list(self.tables.tokens.values())

    async def add_token(self, row: TokenRow) -> TokenRow:
        kept = msgspec.structs.replace(row, token=self.tables.last_token + 1)
        self.tables.last_token = kept.token
        self.tables.tokens[kept.token] = kept
        return kept

    async def revoke_token(self, token: int, at: int) -> bool:
        row = self.tables.tokens.get(token)
        if row is None or row.revoked_at:
            return False
        self.tables.tokens[token] = msgspec.structs.replace(row, revoked_at=at)
        return True

    async def bind_token(self, token: int, agent: str) -> str:
        row = self.tables.tokens.get(token)
        if row is not None and not row.agent:
            row = self.tables.tokens[token] = msgspec.structs.replace(row, agent=agent)
        return row.agent if row is not None else ""

    async def enrol(self, agent: str, key: bytes) -> bytes:
        return self.tables.enrolments.setdefault(agent, key)

    async def enrolled(self, agent: str) -> bytes:
        return self.tables.enrolments.get(agent, b"")

    async def forget_enrolment(self, agent: str) -> None:
        self.tables.enrolments.pop(agent, None)

    async def drop_credentials(self, before: int) -> None:
        tokens = self.tables.tokens
        for row in [row for row in tokens.values() if row.parent and not row.revoked_at and row.expires_at < before]:
            del tokens[row.token]

    async def secrets(self, job: int) -> bytes:
        return self.tables.secrets.get(job, b"")

    # --- retention, copies, size ---------------------------------------------------------------------------------

    async def prune(self, *, ended_before: int, keep_bytes: int = 0, limit: int = 100) -> tuple[int, list[int]]:
        return retention.prune(self.tables, ended_before, keep_bytes, limit)

    async def backup(self, path: str) -> None:
        raise StoreError(
            "a store in memory cannot be backed up", hint="give the control plane a folder to keep its records in"
        )

    async def size(self) -> int:
        return 0
