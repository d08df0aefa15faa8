"""Reading the output of a job, a task or an element: many streams merged into one, each in its own order.

What has ended is read attempt by attempt. A follower also hears of each attempt that starts, from the committed records, and
reads all that are under way at once; its queue is short, so that a slow reader holds back the reading and not the memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

from styx.core import ids
from styx.core.spec import TaskSpec
from styx.core.states import Outcome, TaskState
from styx.errors import NotFound, StyxError
from styx.protocol.http import LogChunk
from styx.runtime.feeds import Feed, Feeds
from styx.runtime.loop import Loop
from styx.runtime.output import OutputStore
from styx.runtime.refs import Ref, Refs
from styx.store.base import AttemptRow, Page, Store

__all__ = ["Logs"]

_ROWS = 500  # tasks, or elements, read from the tables at once
_QUEUE = 64  # chunks ahead of a reader
_LATE = 5.0  # seconds to wait for the next piece of output of an attempt that has ended and is still on its way here
_LATE_FOLLOWED = 30.0
_STREAMS = ((1, "stdout"), (2, "stderr"))

_Queue = asyncio.Queue[LogChunk | StyxError | None]


class Logs:
    def __init__(self, loop: Loop, store: Store, refs: Refs, output: OutputStore, feeds: Feeds) -> None:
        self._loop = loop
        self._store = store
        self._refs = refs
        self._output = output
        self._feeds = feeds

    async def read(self, text: str, *, follow: bool = False, tail: int = 0) -> AsyncGenerator[LogChunk, None]:
        """See `Verbs.logs`."""
        ref = await self._refs.resolve(text)
        await self._loop.settled()
        if not follow or self._refs.live(ref) is None:
            async for spec, row in self._attempts(ref):
                for stream, _ in _STREAMS:
                    async for chunk in self._stream(ref, spec, row, stream, tail, follow):
                        yield chunk
            return
        chunks: _Queue = asyncio.Queue(_QUEUE)
        with self._feeds.feed(ref.job) as feed:
            following = asyncio.create_task(self._follow(ref, feed, tail, chunks), name=f"logs of job {ref.job}")
            try:
                while (item := await chunks.get()) is not None:
                    if isinstance(item, StyxError):
                        raise item
                    yield item
            finally:
                following.cancel()
                await asyncio.wait([following])

    async def _follow(self, ref: Ref, feed: Feed, tail: int, chunks: _Queue) -> None:
        """Read what there is and what comes, until all that the reference names has ended. Ends with None, or an error."""
        seen: set[int] = set()

        async def pump(spec: TaskSpec, row: AttemptRow, stream: int) -> None:
            try:
                async for chunk in self._stream(ref, spec, row, stream, tail, True):
                    await chunks.put(chunk)
            except StyxError as error:
                await chunks.put(error)

        def read(group: asyncio.TaskGroup, spec: TaskSpec, row: AttemptRow) -> None:
            seen.add(row.attempt)
            for stream, name in _STREAMS:
                group.create_task(pump(spec, row, stream), name=f"{name} of attempt {row.attempt}")

        async def read_all(group: asyncio.TaskGroup) -> None:
            async for spec, row in self._attempts(ref):
                if row.ended_at:
                    seen.add(row.attempt)
                    for stream, _ in _STREAMS:
                        await pump(spec, row, stream)
                elif row.started_at:
                    read(group, spec, row)
            # What happened while the tables were read is in the feed, so it is looked at even when all is over by now.
            if await self._over(ref):
                feed.end()
            async for news in feed:
                for attempt, task, index in news:
                    if attempt in seen or not _names(ref, task, index):
                        continue
                    found = await self._store.attempt(attempt)
                    if found is not None and found.outcome != Outcome.REJECTED:
                        read(group, await self._spec(ref, task), found)
                if ref.task >= 0 and await self._over(ref):
                    feed.end()

        async with asyncio.TaskGroup() as group:
            try:
                await read_all(group)
            except StyxError as error:
                await chunks.put(error)
        await chunks.put(None)

    async def _over(self, ref: Ref) -> bool:
        """Whether nothing that the reference names can write any more."""
        await self._loop.settled()
        job = self._refs.live(ref)
        if job is None:
            return True
        if ref.task < 0:
            return False
        task = job.tasks[ref.task]
        return task.open == 0 if ref.index < 0 else TaskState(task.states[ref.index]).ended

    async def _spec(self, ref: Ref, task: int) -> TaskSpec:
        job = self._refs.live(ref)
        if job is not None:
            return job.tasks[task].spec
        row = await self._store.task(ref.job, task)
        if row is None:
            raise NotFound(f"job {ref.job_text} is gone", hint="ended jobs are kept for 30 days by default")
        return row.spec

    async def _attempts(self, ref: Ref) -> AsyncIterator[tuple[TaskSpec, AttemptRow]]:
        """All attempts that were started of what the reference names, by task, element and number."""
        if ref.task >= 0:
            spec = await self._spec(ref, ref.task)
            first, count = (ref.index, 1) if ref.index >= 0 else (0, spec.size)
            async for row in self._elements(ref.job, ref.task, first, count):
                yield spec, row
            return
        last = (0, 0)
        while rows := await self._store.tasks(Page(_ROWS, last), job=ref.job):
            for task in rows:
                async for row in self._elements(ref.job, task.task, 0, task.spec.size):
                    yield task.spec, row
            last = (ref.job, rows[-1].task)
            if len(rows) < _ROWS:
                return

    async def _elements(self, job: int, task: int, first: int, count: int) -> AsyncIterator[AttemptRow]:
        for start in range(first, first + count, _ROWS):
            for row in await self._store.attempts(job, task, first=start, count=min(_ROWS, first + count - start)):
                if row.outcome != Outcome.REJECTED:
                    yield row

    async def _stream(
        self, ref: Ref, spec: TaskSpec, row: AttemptRow, stream: int, tail: int, follow: bool
    ) -> AsyncIterator[LogChunk]:
        """One stream of one attempt, from `tail` bytes before its end; with the terminal marker if it has ended, or once it has.

        An attempt may have ended while its last output is still on its way here. That is waited for, but not for ever: its
        machine may be gone. What has not come is a gap.
        """
        attempt = row.attempt
        offset = max(0, await self._length(row, stream) - tail) if tail else 0
        if not row.ended_at and attempt not in self._loop.engine.world.attempts:
            await self._loop.settled()  # it has ended since the row was read
            row = await self._store.attempt(attempt) or row
        ended = bool(row.ended_at)
        whole = ended and row.outcome != Outcome.LOST
        length = (row.stdout if stream == 1 else row.stderr) if whole else -1
        name = dict(_STREAMS)[stream]
        task_id = ids.element_text(ids.join(ref.id, row.task), row.index, spec.array)
        index = row.index if spec.array else None
        if whole and not length:
            yield LogChunk(spec.name, task_id, index, row.number, name, 0, b"", end=True)
            return
        live = follow and not ended
        patience = None if live or not ended else _LATE_FOLLOWED if follow else _LATE
        pieces = self._output.follow(attempt, stream, offset, length=length, live=live or whole)
        try:
            while True:
                try:
                    async with asyncio.timeout(patience):
                        piece = await anext(pieces)
                except TimeoutError:
                    patience = None
                    pieces = self._output.follow(attempt, stream, offset, length=length, live=False)
                    continue
                offset = piece.offset + len(piece.data)
                if not piece.end or ended or live:
                    yield LogChunk(
                        spec.name, task_id, index, row.number, name, piece.offset, piece.data, piece.gap, piece.end
                    )
                if piece.end:
                    return
        finally:
            await pieces.aclose()

    async def _length(self, row: AttemptRow, stream: int) -> int:
        if row.ended_at and row.outcome != Outcome.LOST:
            return row.stdout if stream == 1 else row.stderr
        return await self._output.length(row.attempt, stream)


def _names(ref: Ref, task: int, index: int) -> bool:
    return ref.task in {-1, task} and ref.index in {-1, index}
