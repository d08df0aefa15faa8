"""From a spec to an accepted job: checked whole, staged in chunks, made visible by one record.

All that is wrong is said at once, before anything is stored. Checking and staging a large job is done in slices, so that
the loop serves others in between; a job of one chunk costs one turn and one commit. With an Idempotency-Key the first answer is
given again; the key is looked up on disk, because the job may have ended since.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from secrets import randbits

import msgspec

from styx.core import ids
from styx.core.capacity import check_fit
from styx.core.effects import Accepted, Answer
from styx.core.events import Event, JobStaged, JobSubmitted, JobUnstaged
from styx.core.graph import check_in_slices, task_path
from styx.core.spec import JobSpec, TaskSpec
from styx.core.states import JobState, TaskState
from styx.errors import Conflict, NoFit, Problem, SpecError
from styx.protocol.http import Created
from styx.runtime.clock import Clock
from styx.runtime.loop import Loop
from styx.runtime.secrets import Secrets, check
from styx.store.base import JobRow, Store

__all__ = ["Submissions"]

CHUNK = 1_000  # tasks staged in one event
MAX_MISFITS = 100  # tasks without a place that are named
MAX_TASK = 2 << 20  # bytes of one task's command and environment; a frame to an agent must hold it


class Submissions:
    """`entropy` gives so many random bits; they go into the ids of jobs. `looked` returns once providers have been looked at for the
    first time, at most some seconds after the start: nothing is said to fit nowhere before."""

    def __init__(
        self,
        loop: Loop,
        store: Store,
        clock: Clock,
        secrets: Secrets,
        *,
        entropy: Callable[[int], int] = randbits,
        looked: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._looked = looked
        self._secrets = secrets
        self._loop = loop
        self._store = store
        self._clock = clock
        self._entropy = entropy
        self._keys: dict[str, tuple[asyncio.Lock, int]] = {}

    async def submit(self, spec: JobSpec, *, key: str = "", secrets: Mapping[str, str] | None = None) -> Created:
        """Accepted and on disk when this returns, with the values of its `secrets` sealed beside it.

        Raises SpecError or NoFit with all that is wrong, Conflict when the key came with another spec before, Busy when too
        much is live, StoreFull while the disk is full.
        """
        spec = msgspec.structs.replace(spec, secrets=())  # where the submitter took them from is not our business
        values = check(spec.tasks, secrets or {})
        if not key:
            return await self._submit(spec, "", b"", values)
        digest = await _digest(spec)
        if values:
            digest = hashlib.sha256(digest + await self._secrets.vault.fingerprint(values)).digest()
        async with self._only(key):
            await self._loop.settled()
            row = await self._store.job_by_key(key)
            if row is not None:
                return _again(row, digest, key)
            return await self._submit(spec, key, digest, values)

    async def check(self, spec: JobSpec) -> list[tuple[int, ...]]:
        """The ordinals that each task needs; raises SpecError with everything that is wrong."""
        needs: list[tuple[int, ...]] = []
        problems: list[Problem] = []
        for slice_needs, slice_problems in check_in_slices(spec):
            needs += slice_needs
            problems += slice_problems
            await asyncio.sleep(0)
        for first in range(0, len(spec.tasks), CHUNK):
            problems += _too_large(spec.tasks[first : first + CHUNK])
            await asyncio.sleep(0)
        if problems:
            raise SpecError(problems)
        return needs

    async def _misfits(self, spec: JobSpec) -> list[Problem]:
        misfits: list[Problem] = []
        for first in range(0, len(spec.tasks), CHUNK):
            some = msgspec.structs.replace(spec, tasks=spec.tasks[first : first + CHUNK])
            misfits += check_fit(self._loop.engine.world, some, self._loop.engine.places)
            await asyncio.sleep(0)
        return misfits

    async def _submit(self, spec: JobSpec, key: str, digest: bytes, values: Mapping[str, str]) -> Created:
        needs = await self.check(spec)
        misfits = await self._misfits(spec)
        if misfits and self._looked is not None:
            await self._looked()
            misfits = await self._misfits(spec)
        if misfits:
            raise NoFit(misfits[:MAX_MISFITS])
        staging = _Staging()
        chunks = [slice(first, first + CHUNK) for first in range(0, len(spec.tasks), CHUNK)]
        header = msgspec.structs.replace(spec, tasks=())
        identifier = ids.job_id(self._clock.now(), self._entropy(ids.ENTROPY_BITS))
        sealed = await self._secrets.seal(identifier, values)

        def accept(serial: Answer) -> Event | None:
            return JobSubmitted(serial, identifier, header, key, digest) if type(serial) is int else None

        answer: Answer = None
        try:
            for number, part in enumerate(chunks, 1):
                chunk = JobStaged(staging.serial, part.start, spec.tasks[part], tuple(needs[part]))
                last = number == len(chunks)
                answer = await self._loop.ask(chunk, accept if last else staging.note, sealed if last else b"")
        finally:
            if not isinstance(answer, Accepted):
                staging.abandon(self._loop)
        assert isinstance(answer, Accepted)
        return self._created(answer, spec)

    def _created(self, accepted: Accepted, spec: JobSpec) -> Created:
        status = JobState.RUNNING.value
        task = ""
        if spec.single:
            task = ids.text(ids.join(accepted.id, 0))
            job = self._loop.engine.world.jobs.get(accepted.job)
            status = TaskState(job.tasks[0].states[0]).name if job is not None else status
        return Created(ids.text(accepted.id), spec.name, status, task, accepted.again)

    @asynccontextmanager
    async def _only(self, key: str) -> AsyncIterator[None]:
        """One submission at a time for each key."""
        lock, users = self._keys.get(key) or (asyncio.Lock(), 0)
        self._keys[key] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            lock, users = self._keys.pop(key)
            if users > 1:
                self._keys[key] = (lock, users - 1)


class _Staging:
    """What is staged of a submission, so that it can be dropped when the submitter goes away or a chunk is refused."""

    def __init__(self) -> None:
        self.serial = 0
        self._abandoned = False

    def note(self, answer: Answer) -> Event | None:
        """A chunk was stepped; undone at once when nobody waits for it any more."""
        if type(answer) is not int:
            return None
        self.serial = answer
        return JobUnstaged(answer) if self._abandoned else None

    def abandon(self, loop: Loop) -> None:
        self._abandoned = True
        if self.serial:
            loop.post(JobUnstaged(self.serial))


def _again(row: JobRow, digest: bytes, key: str) -> Created:
    if row.digest != digest:
        raise Conflict(
            f"the idempotency key {key!r} came with another job before",
            hint="use a new key for a new job, and the same key only to repeat the same request",
        )
    task = ids.text(ids.join(row.id, 0)) if row.spec.single else ""
    return Created(ids.text(row.id), row.spec.name, row.state.value, task, again=True)


async def _digest(spec: JobSpec) -> bytes:
    """The SHA-256 of the spec, computed a chunk of tasks at a time."""
    digest = hashlib.sha256(msgspec.msgpack.encode(msgspec.structs.replace(spec, tasks=())))
    for first in range(0, len(spec.tasks), CHUNK):
        digest.update(msgspec.msgpack.encode(spec.tasks[first : first + CHUNK]))
        await asyncio.sleep(0)
    return digest.digest()


def _too_large(tasks: Sequence[TaskSpec]) -> list[Problem]:
    problems: list[Problem] = []
    for task in tasks:
        size = sum(map(len, task.command)) + sum(len(name) + len(value) for name, value in task.env)
        if size > MAX_TASK:
            problems.append(
                Problem(
                    task_path(task.name),
                    f"the command and environment of {task.name!r} take {size:,} characters, more than {MAX_TASK:,}",
                    "put the content into a file and let the command read it",
                )
            )
    return problems
