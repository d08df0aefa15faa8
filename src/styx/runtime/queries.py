"""Reads: jobs, tasks, elements and results, from memory where they are live and from the tables where they have ended.

Rows are read first, then the commit in flight is waited for, and then the world is looked at without a pause in between. A row
that says RUNNING of a job that memory no longer holds was overtaken by the job's end, and is read again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

from styx.core.budget import spent
from styx.core.spec import TaskSpec
from styx.core.states import JobState, TaskState
from styx.core.world import Task
from styx.errors import NotFound, UsageError
from styx.protocol.http import JobResult, JobView, TaskView
from styx.runtime.loop import Loop
from styx.runtime.refs import Ref, Refs
from styx.runtime.views import element_views, job_result, job_view, task_view
from styx.store.base import AttemptRow, ElementsRow, JobRow, Page, Store, TaskRow

__all__ = ["Queries"]

MAX_PAGE = 1_000
_DETAILED = 200  # tasks of one job whose attempts are read for its graph
_FAILED = 20  # failures shown in a result
_ROWS = 1_000
_WAITING = frozenset({int(TaskState.PENDING), int(TaskState.READY)})
_BREATH = 200  # views built between two turns of the event loop


class Queries:
    """`now` is in milliseconds since the epoch."""

    def __init__(self, loop: Loop, store: Store, refs: Refs, now: Callable[[], int]) -> None:
        self._loop = loop
        self._store = store
        self._refs = refs
        self._now = now

    async def job(self, text: str) -> JobView:
        ref = await self._refs.job(text)
        row = await self._current(await self._refs.row(ref))
        tasks = await self._task_rows(ref.job)
        graph: list[TaskView] = []
        for count, task in enumerate(tasks, 1):
            if len(tasks) <= _DETAILED:
                graph.append(await self._whole(task, row.spec.name))
            else:
                graph.append(task_view(task, row.spec.name, self._live(task)))
                if not count % _BREATH:
                    await asyncio.sleep(0)
        charged = await self._store.cost(row.job)
        row = await self._current(row)
        live = self._loop.engine.world.jobs.get(row.job)
        cost = charged if live is None else spent(self._loop.engine.world, live, self._now())
        return job_view(row, live, graph, cost)

    async def jobs(self, *, limit: int, cursor: str, status: str, name: str) -> tuple[list[JobView], str]:
        state = _job_state(status)
        asked = JobState.RUNNING if state == JobState.CANCELLING else state
        before = _cursor(cursor, 1)[0] if cursor else 0
        page = Page(_limit(limit), (before, 0) if before else (0, 0))
        rows = await self._store.jobs(page, state=asked, name=name)
        following = str(rows[-1].job) if len(rows) == page.limit else ""
        rows = [await self._current(row) for row in rows]
        live = self._loop.engine.world.jobs
        views = [job_view(row, live.get(row.job)) for row in rows]
        if state == JobState.CANCELLING:
            views = [view for view in views if view.status == state.value]
        return views, following

    async def task(self, text: str) -> TaskView:
        ref = await self._refs.resolve(text)
        ref = await self._only_task(ref, text)
        row = await self._task_row(ref)
        name = await self._job_name(ref)
        if ref.index < 0:
            return await self._whole(row, name)
        return (await self._elements(row, name, range(ref.index, ref.index + 1)))[0]

    async def tasks(self, *, job: str, limit: int, cursor: str) -> tuple[list[TaskView], str]:
        serial = (await self._refs.job(job)).job if job else 0
        before = _cursor(cursor, 2) if cursor else (0, 0)
        page = Page(_limit(limit), (before[0], before[1]))
        rows = await self._store.tasks(page, job=serial)
        names: dict[int, str] = {}
        for row in rows:
            if row.job not in names:
                found = await self._store.job(row.job)
                names[row.job] = found.spec.name if found is not None else ""
        rows = [await self._current_task(row) for row in rows]
        views = [task_view(row, names[row.job], self._live(row)) for row in rows]
        return views, f"{rows[-1].job}.{rows[-1].task}" if len(rows) == page.limit else ""

    async def elements(self, text: str, *, limit: int, cursor: str) -> tuple[list[TaskView], str]:
        ref = await self._refs.resolve(text)
        ref = await self._only_task(ref, text)
        row = await self._task_row(ref)
        name = await self._job_name(ref)
        first = _cursor(cursor, 1)[0] if cursor else 0
        last = min(first + _limit(limit), row.spec.size)
        views = await self._elements(row, name, range(first, last))
        return views, str(last) if last < row.spec.size else ""

    async def result(self, ref: Ref) -> JobResult:
        """The end of a job that has ended, with the first of its failures."""
        row = await self._refs.row(ref)
        failed: list[TaskView] = []
        left = row.counts[TaskState.FAILED] if row.counts else 0
        for task in await self._task_rows(ref.job) if left else ():
            if not task.counts or not task.counts[TaskState.FAILED]:
                continue
            failed += await self._failures(task, row.spec.name, _FAILED - len(failed))
            if len(failed) >= min(_FAILED, left):
                break
        return job_result(row, failed)

    async def _failures(self, task: TaskRow, job_name: str, room: int) -> list[TaskView]:
        if not task.spec.array:
            return [await self._whole(task, job_name)]
        found: list[int] = []
        wanted = min(room, task.counts[TaskState.FAILED])
        for first in range(0, task.spec.size, _ROWS):
            latest = {
                row.index: row for row in await self._store.attempts(task.job, task.task, first=first, count=_ROWS)
            }
            found += [index for index, row in latest.items() if row.state == TaskState.FAILED]
            if len(found) >= wanted:
                break
        return await self._elements(task, job_name, found[:wanted])

    async def _whole(self, task: TaskRow, job_name: str) -> TaskView:
        """A task; with its attempts when it is no array and has any."""
        attempts: Sequence[AttemptRow] = ()
        if not task.spec.array:
            attempts = await self._store.attempts(task.job, task.task)
        spans = await self._store.elements(task.job, task.task) if not task.spec.array else ()
        names = await self._node_names(attempts)
        task = await self._current_task(task)
        return task_view(task, job_name, self._live(task), attempts=attempts, spans=spans, nodes=names)

    async def _elements(self, task: TaskRow, job_name: str, indices: Sequence[int]) -> list[TaskView]:
        attempts: list[AttemptRow] = []
        spans: Sequence[ElementsRow] = ()
        if self._begun(task, indices):
            if isinstance(indices, range):
                attempts = await self._store.attempts(task.job, task.task, first=indices.start, count=len(indices))
            else:
                for index in indices:
                    attempts += await self._store.attempts(task.job, task.task, first=index, count=1)
            spans = await self._store.elements(task.job, task.task)
        names = await self._node_names(attempts)
        task = await self._current_task(task)
        return element_views(task, job_name, self._live(task), indices, attempts=attempts, spans=spans, nodes=names)

    def _begun(self, row: TaskRow, indices: Iterable[int]) -> bool:
        """Whether the tables may know anything of these elements: those that wait, and were never given to a node, are in memory
        alone. A commit in flight that gives them to one is waited for afterwards, and then shows in their states."""
        live = self._live(row)
        if live is None:
            return True
        numbers, states = live.numbers, live.states
        return any(states[index] not in _WAITING or (numbers is not None and numbers[index]) for index in indices)

    async def _node_names(self, attempts: Iterable[AttemptRow]) -> dict[int, str]:
        world = self._loop.engine.world.nodes
        wanted = {row.node for row in attempts}
        names = {serial: world[serial].name for serial in wanted if serial in world}
        if len(names) < len(wanted):
            names |= {row.node: row.name for row in await self._store.nodes() if row.node in wanted - names.keys()}
        return names

    async def _current(self, row: JobRow) -> JobRow:
        """The row, read again if the job has ended since."""
        await self._loop.settled()
        if row.state.ended or row.job in self._loop.engine.world.jobs:
            return row
        return await self._store.job(row.job) or row

    async def _current_task(self, row: TaskRow) -> TaskRow:
        await self._loop.settled()
        if row.counts or row.job in self._loop.engine.world.jobs:
            return row
        return await self._store.task(row.job, row.task) or row

    def _live(self, row: TaskRow) -> Task | None:
        job = self._loop.engine.world.jobs.get(row.job)
        return job.tasks[row.task] if job is not None else None

    async def _task_rows(self, job: int) -> list[TaskRow]:
        found: list[TaskRow] = []
        last = (0, 0)
        while rows := await self._store.tasks(Page(_ROWS, last), job=job):
            found += rows
            if len(rows) < _ROWS:
                break
            last = (job, rows[-1].task)
        return found

    async def _job_name(self, ref: Ref) -> str:
        live = self._refs.live(ref)
        return live.spec.name if live is not None else (await self._refs.row(ref)).spec.name

    async def _task_row(self, ref: Ref) -> TaskRow:
        """From memory while the job is live: the way to the tables and back costs more than all else, when many are asked for."""
        live = self._refs.live(ref)
        if live is not None:
            task = live.tasks[ref.task]
            return TaskRow(live.serial, live.id, task.ordinal, task.spec, task.needs, live.accepted_at)
        row = await self._store.task(ref.job, ref.task)
        if row is None:
            raise NotFound(f"task {ref.task_text} is gone", hint="ended jobs are kept for 30 days by default")
        return row

    async def _only_task(self, ref: Ref, text: str) -> Ref:
        """The task that a reference names; a job of one task stands for that task."""
        if ref.task >= 0:
            return ref
        row = await self._refs.row(ref)
        if row.tasks != 1:
            raise UsageError(f"{text!r} is a job of {row.tasks} tasks", hint=f"name one of them: {text}/TASK")
        task = await self._store.task(ref.job, 0)
        spec: TaskSpec | None = task.spec if task is not None else None
        return Ref(ref.job, ref.id, 0, -1, spec.array if spec is not None else 0)


def _limit(limit: int) -> int:
    if not 1 <= limit <= MAX_PAGE:
        raise UsageError(f"a page has 1 to {MAX_PAGE:,} entries, not {limit}")
    return limit


def _cursor(cursor: str, parts: int) -> tuple[int, int]:
    numbers = cursor.split(".")
    if len(numbers) != parts or not all(part.isascii() and part.isdigit() and len(part) < 19 for part in numbers):
        raise UsageError(f"{cursor!r} is no cursor", hint="use the `next` of the page before, as it is")
    return int(numbers[0]), int(numbers[-1])


def _job_state(status: str) -> JobState | None:
    if not status:
        return None
    try:
        return JobState(status.upper())
    except ValueError:
        names = ", ".join(state.value for state in JobState)
        raise UsageError(f"no job has the status {status!r}", hint=f"it is one of {names}") from None
