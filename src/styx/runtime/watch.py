"""Who watches, and what they see: the public event stream, and the ends of jobs.

A turn's records are encoded before the commit (`encode`: they get their ids, and go to disk with the batch) and shown after it
(`publish`). Events are built for those who listen, once however many they are. A reader that begins in the past reads batches
from disk at its own pace until it has caught up, and joins the live stream in the same moment, so there is neither a gap nor an
event told twice. A live reader that does not keep up is dropped (TooSlow), with the id to resume at, and nobody waits for it.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Sequence
from types import TracebackType

from styx.core.records import JobEnded, Record
from styx.core.world import World
from styx.errors import TooSlow
from styx.protocol.http import Event
from styx.runtime.event_rows import JobNames, Row, decode_rows, encode_rows, show
from styx.runtime.event_writer import RowWriter
from styx.store.base import Page, Store

__all__ = ["Subscription", "Watch"]

_REPLAYED = 64  # batches read from disk at a time
_OLD_JOBS = 64  # jobs whose names are kept for readers of the past
_TASKS = 1_000


class Watch:
    """The event stream of one control plane. `last_event` is the highest id given out so far (Opened.last_event); `backlog` is how
    many events a live reader may leave lying."""

    def __init__(self, world: World, store: Store, *, last_event: int = 0, backlog: int = 20_000) -> None:
        self._store = store
        self._writer = RowWriter(world)
        self._backlog = backlog
        self._next = last_event + 1
        self._encoded: deque[tuple[list[Row], dict[int, JobEnded]]] = deque()
        self._everything: list[Subscription] = []
        self._by_job: dict[int, list[Subscription]] = {}
        self._ends: dict[int, list[asyncio.Future[JobEnded]]] = {}
        self._old_jobs: OrderedDict[int, JobNames] = OrderedDict()
        self._old_nodes: dict[int, str] = {}
        self.published = last_event  # the id of the last event that readers may see

    async def recover(self) -> None:
        """Learn the names of what the world holds; called once, after it was rebuilt and before anything is encoded."""
        self._writer.recover()
        self._old_nodes = {row.node: row.name for row in await self._store.nodes()}

    @property
    def readers(self) -> int:
        return len(self._everything) + sum(len(readers) for readers in self._by_job.values())

    def encode(self, records: Sequence[Record], at: int) -> tuple[bytes, int, int]:
        """The records of a turn as their events are kept, and the ids of the first and the last; (b"", 0, 0) when there are no
        events. Each call is followed by one of `publish` for the same records, in the same order."""
        rows = self._writer.rows(records, at)
        ended = self._writer.ended
        if ended:
            self._writer.ended = {}
        self._encoded.append((rows, ended))
        if not rows:
            return b"", 0, 0
        first = self._next
        self._next += len(rows)
        return encode_rows(rows), first, self._next - 1

    def publish(self, payload: bytes, first: int, last: int, at: int, records: Sequence[Record]) -> None:
        """The turn is on disk: readers may see its events, and whoever waits for the end of a job hears of it."""
        rows, ended = self._encoded.popleft()
        if rows:
            self.published = last
            if self._everything or self._by_job:
                self._show(rows, first, at)
        for job, record in ended.items():
            for waiter in self._ends.pop(job, ()):
                if not waiter.done():
                    waiter.set_result(record)
            self._writer.forget(job)

    def ended(self, job: int) -> asyncio.Future[JobEnded]:
        """Done at the next end of this job. Ask for it first and look then whether the job has ended already, so that an end in
        between is not missed; cancel it when it is not needed."""
        waiter: asyncio.Future[JobEnded] = asyncio.get_running_loop().create_future()
        self._ends.setdefault(job, []).append(waiter)
        waiter.add_done_callback(lambda done: self._unwait(job, done))
        return waiter

    def subscribe(self, job: int = 0, *, after: int = -1, live: bool = True) -> Subscription:
        """Events of one job, or of everything (0): from now on, or those behind the id `after` (0: from the oldest kept) and
        then what comes. With `live=False` only those that there are now."""
        return Subscription(self, job, after, live, self._backlog)

    def join(self, reader: Subscription) -> None:
        if reader.job:
            self._by_job.setdefault(reader.job, []).append(reader)
        else:
            self._everything.append(reader)

    def leave(self, reader: Subscription) -> None:
        if not reader.job:
            self._everything = [other for other in self._everything if other is not reader]
            return
        others = [other for other in self._by_job.get(reader.job, ()) if other is not reader]
        if others:
            self._by_job[reader.job] = others
        else:
            self._by_job.pop(reader.job, None)

    async def replay(self, after: int, until: int, job: int) -> tuple[int, list[Event]]:
        """Some of the events behind `after` and up to `until` from disk, and the id up to which all were looked at."""
        events: list[Event] = []
        seen = after
        for batch in await self._store.events(after, _REPLAYED):
            for number, row in enumerate(decode_rows(batch.payload), batch.first):
                if after < number <= until and (not job or row[2] == job):
                    names = {row[2]: await self._names(row[2])} if row[2] else {}
                    events.append(show(number, batch.at, row, names, self._node_names()))
            seen = min(batch.last, until)
            if seen == until:
                break
        else:
            if seen == after:  # the rest was trimmed, or never was
                seen = until
        return seen, events

    def _show(self, rows: list[Row], first: int, at: int) -> None:
        jobs, nodes = self._writer.jobs, self._writer.nodes
        if self._everything:
            events = [show(number, at, row, jobs, nodes) for number, row in enumerate(rows, first)]
            for reader in list(self._everything):
                reader.add(events)
        if not self._by_job:
            return
        wanted: dict[int, list[Event]] = {}
        for position, row in enumerate(rows):
            if row[2] in self._by_job:
                event = events[position] if self._everything else show(first + position, at, row, jobs, nodes)
                wanted.setdefault(row[2], []).append(event)
        for job, theirs in wanted.items():
            for reader in list(self._by_job.get(job, ())):
                reader.add(theirs)

    def _unwait(self, job: int, done: asyncio.Future[JobEnded]) -> None:
        waiters = self._ends.get(job)
        if waiters is not None and done in waiters:
            waiters.remove(done)
            if not waiters:
                del self._ends[job]

    def _node_names(self) -> dict[int, str]:
        return self._old_nodes | self._writer.nodes

    async def _names(self, job: int) -> JobNames:
        """What is known of a job, from memory while it lives and else from the tables."""
        names = self._writer.jobs.get(job) or self._old_jobs.get(job)
        if names is not None:
            return names
        names = JobNames()
        row = await self._store.job(job)
        if row is not None:
            names.id = row.id
            before = (0, 0)
            while tasks := await self._store.tasks(Page(_TASKS, before), job=job):
                names.tasks += [task.spec for task in tasks]
                before = (job, tasks[-1].task)
        self._old_jobs[job] = names
        while len(self._old_jobs) > _OLD_JOBS:
            self._old_jobs.popitem(last=False)
        return names


class Subscription:
    """One reader of the event stream: an async iterator, and a context manager that lets go at its end.

    A reader of one job comes to its end once it has caught up and the last it saw of the job was job.ended. Raises TooSlow.
    `last` is the id up to which it has seen everything that concerns it."""

    def __init__(self, watch: Watch, job: int, after: int, live: bool, backlog: int) -> None:
        self._watch = watch
        self._live = live
        self._backlog = backlog
        self._queue: list[Event] = []
        self._ready: deque[Event] = deque()  # taken out of the queue, for the iterator
        self._waiter: asyncio.Future[None] | None = None
        self._joined = after < 0 and live
        self._slow = False
        self._job_ended = False
        self._closed = False
        self.job = job
        self.last = watch.published if after < 0 else after
        self._until = watch.published  # where a reader that does not stay comes to its end
        if self._joined:
            watch.join(self)

    def add(self, events: list[Event]) -> None:
        """Called by the Watch: these have happened."""
        if len(self._queue) + len(events) > self._backlog and self._queue:
            self._slow = True
            self._queue = []
            self._watch.leave(self)
        else:
            self._queue += events
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def batch(self) -> list[Event]:
        """All events there are by now, oldest first; waits until there is one. Empty at the end. Raises TooSlow."""
        while not self._closed:
            if not self._joined:
                if self._live:
                    self._until = self._watch.published
                self.last, events = await self._watch.replay(self.last, self._until, self.job)
                if not self._live:
                    self._joined = self.last >= self._until
                elif self.last >= self._watch.published:
                    self._joined = True  # no await lies in between, so nothing is missed and nothing comes twice
                    self._watch.join(self)
                if events:
                    return self._given(events)
            elif self._queue:
                events, self._queue = self._queue, []
                self.last = events[-1].id
                return self._given(events)
            elif self._slow:
                self._closed = True
                raise TooSlow("the reader did not keep up with the events and was dropped", resume=self.last)
            elif self._job_ended or not self._live:
                break
            else:
                self._waiter = asyncio.get_running_loop().create_future()
                await self._waiter
        self.close()
        return []

    def close(self) -> None:
        self._closed = True
        self._queue = []
        self._watch.leave(self)

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> Event:
        if not self._ready:
            self._ready.extend(await self.batch())
            if not self._ready:
                raise StopAsyncIteration
        return self._ready.popleft()

    async def __aenter__(self) -> Subscription:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _given(self, events: list[Event]) -> list[Event]:
        if self.job:
            self._job_ended = events[-1].type == "job.ended"
        return events
