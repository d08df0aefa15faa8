"""The store on disk: `styx.db` in a folder, one connection that writes, one that reads.

Checkpoints: moving the WAL into the database costs two fsyncs, so it is never done inside a commit that somebody waits
for. After enough has been written it is queued behind the commit, in the writer's thread, where it overlaps with the loop's next
turn. If it fails for want of room the WAL only grows until the next one succeeds.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from styx.core.ids import JobId
from styx.core.records import Record
from styx.core.states import JobState
from styx.errors import StoreError, StoreFull, StoreLocked, SyncFailed
from styx.store import backup, read, rebuild, retention
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
from styx.store.faults import from_os
from styx.store.link import Link, open_reader, open_writer
from styx.store.lock import FolderLock
from styx.store.migrate import Migration, migrate, migrations
from styx.store.reserve import RESERVE, Reserve
from styx.store.rows import batches
from styx.store.statements import SQL
from styx.store.write import write

__all__ = ["SqliteStore"]

CHECKPOINT_RECORDS = 20_000
CHECKPOINT_COMMITS = 500
"""A checkpoint is due after so many records or commits; a commit writes some ten pages however small it is, so the WAL
stays in the tens of megabytes."""


class SqliteStore:
    """Needs a folder that nobody else uses; makes it when it is not there. Mode 0700, the database 0600."""

    # How it comes to its connections; a test that watches what reaches the disk makes its own.
    open_writer = staticmethod(open_writer)
    open_reader = staticmethod(open_reader)

    def __init__(self, folder: Path, *, reserve: int = RESERVE) -> None:
        self.folder = folder
        self.low = ""
        self._reserve = Reserve(folder / "styx.reserve", reserve)
        self._reserving = asyncio.Lock()
        self.path = folder / "styx.db"
        self._lock = FolderLock(folder / "styx.lock")
        self._writer_link: Link | None = None
        self._reader_link: Link | None = None
        self._failed: SyncFailed | None = None
        self._records = 0  # since the last checkpoint
        self._commits = 0
        self._checkpoint: asyncio.Future[None] | None = None

    @property
    def _writer(self) -> Link:
        if self._writer_link is None:
            raise StoreError("the store is not open")
        return self._writer_link

    @property
    def _reader(self) -> Link:
        if self._reader_link is None:
            raise StoreError("the store is not open")
        return self._reader_link

    # --- opening and closing -------------------------------------------------------------------------------------

    async def open(self) -> Opened:
        """Raises StoreLocked when another server has the folder, StoreError when the database cannot be used."""
        if self._writer_link is not None:
            raise StoreError("the store is open already")
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock.acquire()
            os.close(os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
            backup.part_from_old_log(self.path)
        except OSError as error:
            self._lock.release()
            raise from_os(error, f"opening {self.path}") from error
        try:
            opened = await self._take_over()
            self._reader_link = await self.open_reader(self.path)
            backup.sync_folder(self.folder)
        except BaseException:
            await self.close()
            raise
        self._failed = None
        if not self.low:
            await asyncio.to_thread(self._reserve.hold)
        return opened

    async def _take_over(self) -> Opened:
        """On a full disk, with the room that a server before this one had put aside."""
        try:
            self._writer_link = await self.open_writer(self.path)
            return await self._writer_link.run(_take_over, migrations())
        except StoreFull as error:
            writer, self._writer_link = self._writer_link, None
            if writer is not None:
                await writer.close()
            if not await asyncio.to_thread(self._reserve.release):
                raise
            self.low = error.message
        self._writer_link = await self.open_writer(self.path)
        return await self._writer_link.run(_take_over, migrations())

    async def close(self) -> None:
        """The reader goes first: the last connection to leave cleans up, and that takes one that may write."""
        reader, self._reader_link = self._reader_link, None
        writer, self._writer_link = self._writer_link, None
        try:
            if reader is not None:
                await reader.close()
            if writer is not None:
                await writer.close()
        finally:
            if writer is not None:
                await asyncio.to_thread(self._reserve.release)
            self._lock.release()

    # --- committing ----------------------------------------------------------------------------------------------

    async def commit(self, epoch: int, batch: Batch) -> None:
        """A lock that a foreign program holds on the database counts as StoreFull: trying again may well succeed."""
        if self._failed is not None:
            raise self._failed
        try:
            await self._put(epoch, batch)
        except SyncFailed as error:
            self._failed = error
            raise
        except StoreLocked as error:
            raise StoreFull(f"{error.message}; nothing was written", hint=error.hint) from error
        except (UnicodeEncodeError, OverflowError) as error:
            raise StoreError(f"a record holds what the database cannot keep: {error}; nothing was written") from error
        self._records += len(batch.records) + len(batch.outputs)
        self._commits += 1
        if self._records >= CHECKPOINT_RECORDS or self._commits >= CHECKPOINT_COMMITS:
            self._start_checkpoint()

    async def _put(self, epoch: int, batch: Batch) -> None:
        try:
            await self._writer.run(write, epoch, batch)
        except StoreFull as error:
            async with self._reserving:
                if not await asyncio.to_thread(self._reserve.release):
                    raise
                self.low = error.message
            await self._writer.run(write, epoch, batch)

    async def regain(self) -> bool:
        async with self._reserving:
            if await asyncio.to_thread(self._reserve.hold):
                self.low = ""
        return not self.low

    def _start_checkpoint(self) -> None:
        if self._checkpoint is None or self._checkpoint.done():
            self._records = self._commits = 0
            self._checkpoint = asyncio.ensure_future(self._writer.run(_checkpoint))
            self._checkpoint.add_done_callback(self._checkpointed)

    def _checkpointed(self, done: asyncio.Future[None]) -> None:
        if not done.cancelled() and isinstance(error := done.exception(), SyncFailed):
            self._failed = error

    # --- starting again ------------------------------------------------------------------------------------------

    async def load(self) -> AsyncIterator[list[Record]]:
        await self._writer.run(retention.forsake_staged)
        link = await self.open_reader(self.path)
        try:
            chunks = batches(rebuild.live(link.raw))
            while chunk := await link.run(lambda _: next(chunks, None)):
                yield chunk
        finally:
            await link.close()

    async def serials(self) -> tuple[int, int, int]:
        return await self._reader.run(read.serials)

    async def history(self, job: int) -> list[Record]:
        return await self._reader.run(rebuild.history, job)

    async def marks(self) -> list[ReportMark]:
        return await self._reader.run(read.marks)

    # --- jobs, tasks, attempts -----------------------------------------------------------------------------------

    async def job(self, job: int) -> JobRow | None:
        return await self._reader.run(read.job, job)

    async def job_by_id(self, job_id: JobId) -> JobRow | None:
        return await self._reader.run(read.job_by_id, job_id)

    async def job_by_key(self, key: str) -> JobRow | None:
        return await self._reader.run(read.job_by_key, key)

    async def jobs(self, page: Page, *, state: JobState | None = None, name: str = "") -> list[JobRow]:
        return await self._reader.run(read.jobs, page, state, name)

    async def find_jobs(self, digits: str, limit: int = 5) -> list[JobId]:
        return await self._reader.run(read.find_jobs, digits, limit)

    async def tasks(self, page: Page, *, job: int = 0) -> list[TaskRow]:
        return await self._reader.run(read.tasks, page, job)

    async def task(self, job: int, task: int) -> TaskRow | None:
        return await self._reader.run(read.task, job, task)

    async def attempts(self, job: int, task: int, *, first: int = 0, count: int = 1 << 31) -> list[AttemptRow]:
        return await self._reader.run(read.attempts, job, task, first, count)

    async def attempt(self, attempt: int) -> AttemptRow | None:
        return await self._reader.run(read.attempt, attempt)

    async def elements(self, job: int, task: int) -> list[ElementsRow]:
        return await self._reader.run(read.elements, job, task)

    # --- nodes, events, outputs, tokens --------------------------------------------------------------------------

    async def nodes(self) -> list[NodeRow]:
        return await self._reader.run(read.nodes)

    async def instances(self, limit: int = 1_000) -> list[InstanceRow]:
        return await self._reader.run(read.instances, limit)

    async def cost(self, job: int) -> int:
        return await self._reader.run(read.cost, job)

    async def costs(self, job: int) -> list[tuple[int, int]]:
        return await self._reader.run(read.costs, job)

    async def events(self, after: int, limit: int) -> list[EventRow]:
        return await self._reader.run(read.events, after, limit)

    async def outputs(self, attempt: int, stream: int, offset: int, limit: int = 1_000) -> list[OutputRow]:
        return await self._reader.run(read.outputs, attempt, stream, offset, limit)

    async def last_segment(self) -> int:
        return await self._reader.run(read.last_segment)

    async def tokens(self) -> list[TokenRow]:
        return await self._reader.run(read.tokens)

    async def add_token(self, row: TokenRow) -> TokenRow:
        return await self._writer.run(_add_token, row)

    async def revoke_token(self, token: int, at: int) -> bool:
        return await self._writer.run(_revoke_token, token, at)

    async def bind_token(self, token: int, agent: str) -> str:
        return await self._writer.run(_bind_token, token, agent)

    async def enrol(self, agent: str, key: bytes) -> bytes:
        return await self._writer.run(_enrol, agent, key)

    async def enrolled(self, agent: str) -> bytes:
        return await self._reader.run(read.enrolled, agent)

    async def forget_enrolment(self, agent: str) -> None:
        await self._writer.run(_execute, "forget_enrolment", (agent,))

    async def drop_credentials(self, before: int) -> None:
        await self._writer.run(_execute, "drop_credentials", (before,))

    async def secrets(self, job: int) -> bytes:
        return await self._reader.run(read.secrets, job)

    # --- retention and copies ------------------------------------------------------------------------------------

    async def prune(self, *, ended_before: int, keep_bytes: int = 0, limit: int = 100) -> tuple[int, list[int]]:
        writer = self._writer
        segments: set[int] = set()
        for job in await writer.run(retention.dropped_jobs):
            await self._sweep(job, segments)
        dropped = 0
        while dropped < limit and (job := await writer.run(retention.drop_oldest, ended_before, keep_bytes)):
            await self._sweep(job, segments)
            dropped += 1
        while not await writer.run(retention.trim_events, ended_before):
            self._start_checkpoint()
        return dropped, await writer.run(retention.free_segments, segments)

    async def _sweep(self, job: int, segments: set[int]) -> None:
        while not await self._writer.run(retention.sweep, job, segments):
            self._start_checkpoint()

    async def backup(self, path: str) -> None:
        target = Path(path)
        backup.refuse(target, self.folder)
        link = await self.open_reader(self.path)
        try:
            await link.run(backup.copy, target)
        finally:
            await link.close()

    async def size(self) -> int:
        total = 0
        for suffix in ("", "-wal", "-shm"):
            file = self.path.with_name(self.path.name + suffix)
            if file.exists():
                total += file.stat().st_size
        return total


def _take_over(connection: sqlite3.Connection, steps: list[Migration]) -> Opened:
    migrate(connection, steps)
    with retention.transaction(connection):
        incarnation = (secrets.token_hex(8),)
        connection.execute(SQL["create_meta"], incarnation)
        connection.execute(SQL["renew"], incarnation)
        connection.execute(SQL["raise_epoch"])
        row = connection.execute(SQL["opened"]).fetchone()
    return Opened(*row)


def _checkpoint(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA wal_checkpoint(PASSIVE)")


def _add_token(connection: sqlite3.Connection, row: TokenRow) -> TokenRow:
    added = connection.execute(SQL["add_token"], msgspec.structs.astuple(row)[1:])
    return msgspec.structs.replace(row, token=added.lastrowid or 0)


def _revoke_token(connection: sqlite3.Connection, token: int, at: int) -> bool:
    return connection.execute(SQL["revoke_token"], (token, at)).rowcount == 1


def _bind_token(connection: sqlite3.Connection, token: int, agent: str) -> str:
    connection.execute(SQL["bind_token"], (token, agent))
    row = connection.execute(SQL["bound_to"], (token,)).fetchone()
    return str(row[0]) if row is not None else ""


def _enrol(connection: sqlite3.Connection, agent: str, key: bytes) -> bytes:
    connection.execute(SQL["enrol"], (agent, key))
    return bytes(connection.execute(SQL["enrolled_key"], (agent,)).fetchone()[0])


def _execute(connection: sqlite3.Connection, name: str, arguments: tuple[object, ...]) -> None:
    connection.execute(SQL[name], arguments)
