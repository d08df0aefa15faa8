"""What a reference names: a job, a task, or one element of an array.

A reference is a full id, `TASKID.INDEX`, a prefix or suffix of an id of at least four digits, `@latest`, or one of these
followed by `/NAME` or `/NAME.INDEX`. Ids carry their own address, so a full id costs no search. An abbreviation is looked
up among the jobs first and only then among the tasks: those of live jobs and the latest of the ended ones, because the digits
of a task's id are in no table.
"""

from __future__ import annotations

import asyncio
import difflib
import re
from collections.abc import Iterable

import msgspec

from styx.core import ids
from styx.core.ids import JobId
from styx.core.world import Job
from styx.errors import AmbiguousId, NotFound, UsageError
from styx.runtime.loop import Loop
from styx.store.base import JobRow, Page, Store, TaskRow

__all__ = ["Ref", "Refs"]

LATEST = "@latest"
_DIGITS = re.compile(r"[0-9a-fA-F]{4,31}")
_LIVE_TASKS = 200_000  # tasks of live jobs whose ids are compared with a suffix
_ENDED_TASKS = 5_000  # and of ended jobs
_SLICE = 2_000  # comparisons between two turns of the event loop
_COMMON = 16  # hexadecimal digits that the ids of a job and of its tasks share


class Ref(msgspec.Struct, frozen=True):
    """`task` is -1 for a job, `index` is -1 unless it names an element of an array. `job` is the serial."""

    job: int
    id: JobId
    task: int = -1
    index: int = -1
    array: int = 0  # of the task named

    @property
    def kind(self) -> str:
        return "job" if self.task < 0 else "task" if self.index < 0 else "element"

    @property
    def job_text(self) -> str:
        return ids.text(self.id)

    @property
    def task_text(self) -> str:
        """The id of the task or element, "" for a job."""
        if self.task < 0:
            return ""
        task = ids.text(ids.join(self.id, self.task))
        return task if self.index < 0 else f"{task}.{self.index}"


class Refs:
    def __init__(self, loop: Loop, store: Store) -> None:
        self._loop = loop
        self._store = store

    async def resolve(self, text: str) -> Ref:
        """Raises NotFound, AmbiguousId, or UsageError when it cannot be a reference at all."""
        await self._loop.settled()
        head, slash, name = text.strip().partition("/")
        if not slash:
            return await self._identifier(head)
        ref = await self._identifier(head)
        if ref.task >= 0:
            raise UsageError(
                f"{head!r} is a task, and {name!r} was to be a task of it", hint="give the job's id: JOB/TASK"
            )
        return await self._named(ref, name)

    async def job(self, text: str) -> Ref:
        """The job that a reference names, or the job of the task that it names."""
        ref = await self.resolve(text)
        return Ref(ref.job, ref.id)

    def live(self, ref: Ref) -> Job | None:
        """The job in memory, when it has not ended."""
        return self._loop.engine.world.jobs.get(ref.job)

    async def _identifier(self, head: str) -> Ref:
        if head == LATEST:
            rows = await self._store.jobs(Page(1))
            if not rows:
                raise NotFound("there is no job yet", hint="start one: styx run COMMAND")
            return Ref(rows[0].job, rows[0].id)
        digits, dot, tail = head.partition(".")
        if dot and not (tail.isascii() and tail.isdigit()):
            raise UsageError(f"{tail!r} is not an index", hint="an element of an array is TASKID.INDEX, from 0")
        plain = digits.replace("-", "")
        if len(plain) == 32:
            try:
                identifier = ids.parse(digits)
            except ValueError:
                raise UsageError(f"{digits!r} is not an id") from None
            ref = await self._full(identifier, digits)
        else:
            ref = await self._abbreviated(plain, digits)
        if not dot:
            return ref
        if ref.task < 0:
            raise NotFound(
                f"{digits!r} is a job; only a task has elements", hint=f"name the task: {digits}/TASK.{tail}"
            )
        return self._element(ref, int(tail), digits)

    async def _full(self, identifier: int, text: str) -> Ref:
        job_id, ordinal = ids.split(identifier)
        serial = self._loop.engine.world.by_id.get(job_id, 0)
        if not serial:
            row = await self._store.job_by_id(job_id)
            serial = row.job if row is not None else 0
        if not serial:
            raise NotFound(f"there is no job or task {text}", hint="styx status lists what there is")
        return await self._task(Ref(serial, job_id), ordinal, text) if ordinal >= 0 else Ref(serial, job_id)

    async def _task(self, ref: Ref, ordinal: int, text: str) -> Ref:
        job = self.live(ref)
        if job is not None:
            array = job.tasks[ordinal].spec.array if ordinal < len(job.tasks) else None
        else:
            row = await self._store.task(ref.job, ordinal)
            array = row.spec.array if row is not None else None
        if array is None:
            raise NotFound(f"there is no task {text}", hint="styx status lists what there is")
        return Ref(ref.job, ref.id, ordinal, -1, array)

    @staticmethod
    def _element(ref: Ref, index: int, text: str) -> Ref:
        if not ref.array:
            raise NotFound(f"task {text} is no array, so it has no element {index}", hint=f"leave out .{index}")
        if index >= ref.array:
            raise NotFound(f"array {text} has the elements 0 to {ref.array - 1}, and no {index}")
        return Ref(ref.job, ref.id, ref.task, index, ref.array)

    async def _abbreviated(self, digits: str, text: str) -> Ref:
        if not _DIGITS.fullmatch(digits):
            raise UsageError(
                f"{text!r} is not an id",
                hint="give a full id, at least 4 of its first or last digits, @latest, or JOB/TASK",
            )
        digits = digits.lower()
        jobs = await self._store.find_jobs(digits)
        if len(jobs) > 1:
            raise AmbiguousId(
                f"{text!r} matches {len(jobs)} jobs or more: " + ", ".join(map(ids.text, jobs)), hint="give more digits"
            )
        if jobs:
            return await self._full(jobs[0], text)
        found = list(dict.fromkeys(await self._tasks(digits)))
        if len(found) > 1:
            names = ", ".join(ids.text(identifier) for identifier in found[:5])
            raise AmbiguousId(f"{text!r} matches {len(found)} tasks: {names}", hint="give more digits")
        if not found:
            raise NotFound(f"no job or task has an id that begins or ends with {text!r}", hint="styx status lists them")
        return await self._full(found[0], text)

    async def _tasks(self, digits: str) -> list[int]:
        """Ids of tasks that begin or end with these digits."""
        found: list[int] = []
        if len(digits) > _COMMON:
            for job_id in await self._store.find_jobs(digits[:_COMMON]):
                row = await self._store.job_by_id(job_id)
                if row is not None:
                    found += await _matching(((job_id, ordinal) for ordinal in range(row.tasks)), digits)
        jobs = sorted(self._loop.engine.world.jobs.items(), reverse=True)
        addresses: list[tuple[JobId, int]] = []
        for _, job in jobs:
            addresses += [(job.id, ordinal) for ordinal in range(min(len(job.tasks), _LIVE_TASKS - len(addresses)))]
            if len(addresses) >= _LIVE_TASKS:
                break
        found += await _matching(addresses, digits)
        before = (0, 0)
        for _ in range(_ENDED_TASKS // 1_000):
            rows = await self._store.tasks(Page(1_000, before))
            found += await _matching(((row.job_id, row.task) for row in rows), digits)
            if len(rows) < 1_000:
                break
            before = (rows[-1].job, rows[-1].task)
        return found

    async def _named(self, ref: Ref, name: str) -> Ref:
        """A task of a job by its name, `NAME` or `NAME.INDEX`; a name with a dot in it is tried whole first."""
        base, dot, tail = name.rpartition(".")
        indexed = bool(dot) and tail.isascii() and tail.isdigit()
        names: list[str] = []
        whole = part = None
        for known, ordinal, array in await self._names(ref):
            names.append(known)
            if known == name:
                whole = Ref(ref.job, ref.id, ordinal, -1, array)
            elif indexed and known == base:
                part = Ref(ref.job, ref.id, ordinal, -1, array)
        if whole is not None:
            return whole
        if part is not None:
            return self._element(part, int(tail), base)
        close = difflib.get_close_matches(name, names, 1) if len(names) <= _SLICE else []
        raise NotFound(
            f"the job has no task {name!r}",
            hint=f"did you mean {close[0]!r}?" if close else "styx status JOB lists its tasks",
        )

    async def _names(self, ref: Ref) -> list[tuple[str, int, int]]:
        job = self.live(ref)
        if job is not None:
            return [(task.spec.name, task.ordinal, task.spec.array) for task in job.tasks]
        found: list[TaskRow] = []
        before = (0, 0)
        while rows := await self._store.tasks(Page(1_000, before), job=ref.job):
            found += rows
            if len(rows) < 1_000:
                break
            before = (rows[-1].job, rows[-1].task)
        return [(row.spec.name, row.task, row.spec.array) for row in found]

    async def row(self, ref: Ref) -> JobRow:
        """The job's row in the store."""
        row = await self._store.job(ref.job)
        if row is None:
            raise NotFound(f"job {ref.job_text} is gone", hint="ended jobs are kept for 30 days by default")
        return row


async def _matching(addresses: Iterable[tuple[JobId, int]], digits: str) -> list[int]:
    """Which of these tasks have an id that begins or ends so; lets the event loop breathe."""
    found: list[int] = []
    for count, (job_id, ordinal) in enumerate(addresses, 1):
        identifier = ids.join(job_id, ordinal)
        written = f"{identifier:032x}"
        if written.endswith(digits) or written.startswith(digits):
            found.append(identifier)
        if not count % _SLICE:
            await asyncio.sleep(0)
    return found
