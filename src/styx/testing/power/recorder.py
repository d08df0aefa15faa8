"""A control plane under load whose disk is on a tape.

Everything is what ships: the store with its threads, settings and checkpoints, the loop, the output, the hub. Only SQLite itself is the
one that apsw brings. The agent is a FakeAgent, so that what its server acknowledged is known to the byte.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, cast
from uuid import UUID

from styx.compose import ControlPlane
from styx.core.resources import Resources
from styx.core.spec import JobSpec, TaskSpec
from styx.errors import Conflict, NotFound
from styx.protocol.messages import OutputAck, Run, Spec
from styx.runtime.shell import ShellSettings
from styx.store import sqlite
from styx.store.base import Batch, Opened, TokenRow
from styx.store.link import Link, open_link, set_up_reader, set_up_writer
from styx.store.sqlite import SqliteStore
from styx.store.statements import SQL
from styx.testing.agents import Act, FakeAgent
from styx.testing.power.disk import Tape
from styx.testing.power.files import recorded_files
from styx.testing.power.notes import (
    Acknowledged,
    Began,
    JobAnswered,
    OutputAnswered,
    State,
    fingerprint,
)
from styx.testing.power.vfs import Connection, RecordingVFS

__all__ = ["LONGEST", "RecordedStore", "pattern", "record"]

LONGEST = 6_000  # bytes that a program writes to one stream
_CLIENTS = 4
_PATIENCE = 60.0  # seconds until the load counts as stuck
_SEGMENT = 20_000  # bytes of an output segment, so that there are several
_CHECKPOINT = 8  # commits between two checkpoints
_BACKSTOP = 40  # pages of WAL from which a commit checkpoints by itself


class RecordedStore(SqliteStore):
    """The shipped store over a recording VFS. `synchronous` overrides what the store asks of SQLite: for the test of the test."""

    def __init__(self, folder: Path, tape: Tape, *, synchronous: str = "") -> None:
        super().__init__(folder, reserve=0)
        self._tape = tape
        self._vfs = RecordingVFS(tape)
        self._synchronous = synchronous
        self._asked = 0  # batches
        self._batches = 0  # of them committed
        self._states = 0
        self._jobs: frozenset[bytes] = frozenset()

    async def open_writer(self, path: Path) -> Link:
        return await open_link(path, cast("Any", self._writing))

    async def open_reader(self, path: Path) -> Link:
        return await open_link(path, cast("Any", self._reading))

    async def open(self) -> Opened:
        opened = await super().open()
        self._tape.note(Acknowledged(state=self._states))
        self._tape.note(Began(opened.incarnation, opened.epoch))
        return opened

    async def commit(self, epoch: int, batch: Batch) -> None:
        self._asked += 1
        number = self._asked
        await self._write(epoch, batch)
        self._tape.note(Acknowledged(batches=number))

    async def add_token(self, row: TokenRow) -> TokenRow:
        added = await super().add_token(row)
        self._tape.note(Acknowledged(state=self._states))
        return added

    async def _write(self, epoch: int, batch: Batch) -> None:
        await super().commit(epoch, batch)

    def _writing(self, path: Path) -> Connection:
        connection = Connection(self._vfs, path, committed=self._committed)
        set_up_writer(cast("Any", connection))
        connection.execute(f"PRAGMA wal_autocheckpoint = {_BACKSTOP}")
        if self._synchronous:
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")
        return connection

    def _reading(self, path: Path) -> Connection:
        connection = Connection(self._vfs, path)
        set_up_reader(cast("Any", connection))
        return connection

    def _committed(self, connection: Connection, statements: list[str]) -> None:
        self._states += 1
        self._batches += SQL["advance"] in statements
        jobs: frozenset[Any] = frozenset(row[0] for row in connection.execute("SELECT id FROM jobs").fetchall())
        gone = self._jobs - jobs if SQL["drop_job"] in statements else frozenset()
        self._jobs = jobs
        self._tape.note(State(self._batches, fingerprint(connection), gone))


class _Agent(FakeAgent):
    """Notes what it need not keep any more."""

    tape: Tape
    jobs: dict[int, bytes]

    def _output_ack(self, message: OutputAck) -> None:
        super()._output_ack(message)
        job = self.jobs[message.attempt]
        self.tape.note(OutputAnswered(job, message.attempt, message.stream, message.offset))


@lru_cache(1_000)
def pattern(attempt: int, stream: int) -> bytes:
    """What an attempt writes to a stream, as far as it gets."""
    return random.Random(attempt * 4 + stream).randbytes(LONGEST)


async def record(
    folder: Path,
    *,
    jobs: int,
    seed: int,
    make: Callable[[Path, Tape], RecordedStore] = RecordedStore,
    output_synced: bool = True,
) -> Tape:
    """Open a control plane in `folder`, which may hold what an earlier one left, let it accept and run some `jobs`, and close it."""
    dice = random.Random(seed)
    tape = Tape(_files(folder))
    commits, sqlite.CHECKPOINT_COMMITS = sqlite.CHECKPOINT_COMMITS, _CHECKPOINT
    try:
        with recorded_files(tape, honest=output_synced):
            store = make(folder, tape)
            settings = ShellSettings(segment=_SEGMENT)
            async with (
                asyncio.timeout(_PATIENCE),
                ControlPlane.open(folder, agent=False, store=store, settings=settings) as plane,
            ):
                await _load(plane, tape, dice, jobs)
    finally:
        sqlite.CHECKPOINT_COMMITS = commits
    return tape


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def _load(plane: ControlPlane, tape: Tape, dice: random.Random, jobs: int) -> None:
    agent = _Agent(plane.shell.hub, name="fake", cpus=4)
    agent.id = str(UUID(int=1))  # the same machine in each generation, rebooted: what it held is lost and runs again
    agent.tape, agent.jobs = tape, {}

    def act(spec: Spec, run: Run) -> Act:
        agent.jobs[run.attempt] = UUID(spec.job_id).bytes
        sizes = [dice.choice((0, 10, 500, 3_000, LONGEST)) for _ in range(2)]
        out, err = (pattern(run.attempt, stream)[:size] for stream, size in enumerate(sizes, 1))
        return Act(code=int(dice.random() < 0.1), stdout=out, stderr=err, result=out[:100])

    agent.script = act
    await agent.connect()
    left = iter(range(jobs))
    reconnecting = asyncio.Lock()
    await asyncio.gather(*(_client(plane, tape, agent, reconnecting, dice, left) for _ in range(_CLIENTS)))
    await agent.disconnect()


async def _client(
    plane: ControlPlane, tape: Tape, agent: FakeAgent, reconnecting: asyncio.Lock, dice: random.Random, left: Any
) -> None:
    """One caller after the other: submits, waits or not, cancels, makes a token, lets old jobs go."""
    for _ in left:
        created = await plane.submit_spec(_job(dice))
        tape.note(JobAnswered(UUID(created.job_id).bytes))
        what = dice.random()
        if what < 0.4:
            try:
                await plane.wait(created.job_id)
            except NotFound:  # it had ended, and another client let it go
                continue
        elif what < 0.5:
            try:
                await plane.cancel(created.job_id)
            except NotFound:
                continue
        elif what < 0.6:
            await plane.add_token(f"token {what}")
        elif what < 0.7:
            try:
                await plane.retry(created.job_id, failed=True)
            except (Conflict, NotFound):  # there is nothing to run again
                continue
        elif what < 0.75:
            async with reconnecting:
                await agent.connect()
        elif what < 0.78:
            await plane.gc(days=0)


def _job(dice: random.Random) -> JobSpec:
    small = Resources(1_000)
    if dice.random() < 0.5:
        return JobSpec("one", (TaskSpec("a", ("true",), resources=small),), single=True)
    first = TaskSpec("first", ("true",), array=dice.randint(1, 6), resources=small, retries=1)
    return JobSpec("two", (first, TaskSpec("then", ("true",), needs=("first",), resources=small)))
