"""The one loop that drives the core.

    drain the mailbox -> step each event -> place once -> commit once -> acknowledge -> perform effects -> answer -> publish

Durable before visible: nothing leaves a turn before its batch is on disk, and nothing is stepped while a commit is in flight.
Events gather meanwhile, which is the group commit: at once when idle, and when busy as many as arrived, up to 1,000 records
or 5 ms of stepping. The same two limits keep the event loop free for readers and heartbeats: what is left over waits for the
next turn. While somebody waits for an answer, or did a moment ago, turns are shorter (`_Pace`), and who asks goes before what agents
report: a client waits for two or three turns, and a million tasks that drain may take a little longer.

Any error that leaves `run` is fatal by design: a bug in the core, an fsync that failed or a database that was taken over.
Whoever runs the loop must stop the process and must not go on with the world in memory.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, Protocol

from styx.core.effects import Accepted, Answer, Effect
from styx.core.engine import Engine
from styx.core.events import Continued, Event, PlacementDue, TimerFired
from styx.core.records import Record
from styx.errors import Busy, StoreFull, StyxError
from styx.runtime.clock import Clock
from styx.runtime.committer import Committer
from styx.runtime.timers import Timer
from styx.store.base import Batch, OutputRow, ReportMark, SecretsRow
from styx.telemetry.metrics import Metrics

__all__ = ["Entry", "Loop", "Publisher", "Then"]

MAX_ASKED = 10_000  # callers that may wait for the core at once
ATTENTION = 0.25  # seconds that turns stay short after somebody asked


class _Pace(NamedTuple):
    """How much goes into one turn: records, give or take those of its last event, seconds of stepping, and placements."""

    records: int
    stepping: float
    placed: int


_LONG = _Pace(1_000, 0.005, 1_000)
_SHORT = _Pace(300, 0.001, 150)

Then = Callable[[Answer], Event | None]


class Publisher(Protocol):
    """The public event stream (`runtime.watch`)."""

    def encode(self, records: Sequence[Record], at: int) -> tuple[bytes, int, int]:
        """The records as encoded public events, with the sequence of the first and of the last one."""
        ...

    def publish(self, payload: bytes, first: int, last: int, at: int, records: Sequence[Record]) -> None:
        """They are on disk: show them to everybody who watches."""
        ...


class Outputs(Protocol):
    """Output on its way to the disk (`runtime.collector`)."""

    def take(self) -> tuple[OutputRow, ...]:
        """Rows that belong into the next batch."""
        ...

    def committed(self, rows: Sequence[OutputRow], records: Sequence[Record]) -> None:
        """The batch with these rows is on disk."""
        ...


class Entry:
    """One thing that waits for the next turn: an event, perhaps with the mark of the report that it came in.

    `sealed` are secrets that belong to the job which the core accepts in answer; they are committed with it.
    `then` sees what the core answered to the event and may name the event that follows; it is stepped in the same turn, and
    its answer counts. `committed` is called as soon as the turn is on disk, before effects are performed and callers are
    answered.
    """

    __slots__ = ("answer", "committed", "event", "mark", "result", "sealed", "then")

    def __init__(
        self,
        event: Event,
        *,
        answer: asyncio.Future[Answer] | None = None,
        mark: ReportMark | None = None,
        committed: Callable[[], None] | None = None,
        then: Then | None = None,
        sealed: bytes = b"",
    ) -> None:
        self.event = event
        self.answer = answer
        self.mark = mark
        self.committed = committed
        self.then = then
        self.sealed = sealed
        self.result: Answer = None


class _Turn:
    __slots__ = ("at", "effects", "entries", "records")

    def __init__(self, at: int) -> None:
        self.at = at
        self.records: list[Record] = []
        self.effects: list[Effect] = []
        self.entries: list[Entry] = []


class Loop:
    """`perform` carries out the effects of a turn; `publisher` shows its records to watchers, `outputs` has rows of its own for the
    batch. `stopwatch` (seconds) limits the stepping of one turn."""

    def __init__(
        self,
        engine: Engine,
        committer: Committer,
        clock: Clock,
        *,
        perform: Callable[[list[Record], list[Effect]], Awaitable[None]],
        publisher: Publisher,
        outputs: Outputs,
        metrics: Metrics,
        stopwatch: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.engine = engine
        self.committer = committer
        self._clock = clock
        self._perform = perform
        self._publisher = publisher
        self._outputs = outputs
        self._stopwatch = stopwatch
        self._working = metrics.turns
        metrics.queue.read = lambda: self.waiting
        self._nudged = False
        self._timer = Timer(clock, self._timer_fired)
        self._asks: deque[Entry] = deque()  # with somebody who waits for the answer
        self._mailbox: deque[Entry] = deque()
        self._asked = 0
        self._attentive_until = 0.0
        self._wake: asyncio.Event = asyncio.Event()
        self._readers: list[asyncio.Future[None]] = []
        self._under_way: list[Entry] = []
        self._in_flight = False
        self._stopping = False
        self._stopped = False

    @property
    def waiting(self) -> int:
        """Entries that wait for the next turn."""
        return len(self._asks) + len(self._mailbox)

    def post(self, event: Event) -> None:
        """Tell the core something; nobody waits for an answer."""
        self.put(Entry(event))

    def put(self, entry: Entry) -> None:
        (self._mailbox if entry.answer is None else self._asks).append(entry)
        self._wake.set()

    def nudge(self) -> None:
        """There is output for the next batch."""
        self._nudged = True
        self._wake.set()

    async def ask(self, event: Event, then: Then | None = None, sealed: bytes = b"") -> Accepted | int | bool | None:
        """Tell the core something and wait until it is on disk. An answer that is an error is raised. For `then` and `sealed` see
        Entry.

        Raises StoreFull while the disk is full, and Busy when too many callers wait or the loop has stopped.
        """
        if self._stopped or self._stopping:
            raise Busy("Styx is shutting down", retry_after=5.0, status=503)
        if self.committer.full:
            raise StoreFull(self.committer.full, hint="free some space; Styx goes on by itself")
        if self._asked >= MAX_ASKED:
            raise Busy(f"{self._asked} requests are waiting already", status=503)
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._attend()
        self._asked += 1
        try:
            self.put(Entry(event, answer=answer, then=then, sealed=sealed))
            result = await answer
        finally:
            self._asked -= 1
        if isinstance(result, StyxError):
            try:
                raise result
            finally:
                del result, answer  # its trace holds this frame: together they would be a cycle, one for each refusal
        return result

    async def settled(self) -> None:
        """Wait for the commit in flight, so that what is read from the world next is on disk. The caller reads at once,
        without awaiting anything in between. While a commit waits for room this does not: what is shown then is what will
        be committed, unchanged, when there is room."""
        self._attend()
        if self._in_flight and not self.committer.blocked:
            reader: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._readers.append(reader)
            await reader

    def stop(self) -> None:
        """End `run` once what is in the mailbox now has been dealt with."""
        self._stopping = True
        self._wake.set()

    async def run(self) -> None:
        """Drive the core until `stop`. Every error that leaves here is fatal."""
        try:
            self._timer.set(self.engine.wake_at)
            while True:
                while not self._due():
                    if self._stopping:
                        return
                    self._wake.clear()
                    await self._wake.wait()
                began = time.perf_counter()
                turn = self._turn()
                self._working.observe(time.perf_counter() - began)
                await self._finish(turn)
        finally:
            self._close()

    def full_changed(self) -> None:
        """The disk has become full, or has room again: let nobody wait for it who can be told."""
        if not self.committer.full:
            return
        refusal = StoreFull(self.committer.full, hint="free some space; Styx goes on by itself")
        asks, self._asks = self._asks, deque()
        for entry in asks:
            if entry.answer is not None and not entry.answer.done():
                entry.answer.set_result(refusal)
        self._release_readers()

    def _attend(self) -> None:
        """Somebody waits: let turns be short for a while."""
        self._attentive_until = self._stopwatch() + ATTENTION

    def _due(self) -> bool:
        return bool(self._asks or self._mailbox) or self._nudged or self.engine.unfinished or self.engine.placement_due

    def _turn(self) -> _Turn:
        """Step what is there, within the limits; synchronous."""
        engine = self.engine
        turn = _Turn(self._clock.now())
        self._under_way = turn.entries
        began = self._stopwatch()
        pace = _SHORT if began < self._attentive_until else _LONG
        if engine.unfinished:
            self._step(turn, Continued())
        while (entry := self._take(turn)) is not None:
            turn.entries.append(entry)
            entry.result = self._step(turn, entry.event)
            if entry.then is not None and (following := entry.then(entry.result)) is not None:
                entry.result = self._step(turn, following)
            if len(turn.records) >= pace.records or self._stopwatch() - began >= pace.stepping:
                break
        if engine.placement_due:
            self._step(turn, PlacementDue(pace.placed))
        return turn

    def _take(self, turn: _Turn) -> Entry | None:
        """What is stepped next. Who asks goes first, but while others wait too every second one is theirs."""
        asks, mailbox = self._asks, self._mailbox
        while asks and (not mailbox or not len(turn.entries) % 2):
            entry = asks.popleft()
            if entry.answer is None or not entry.answer.done():  # else the caller went away before the core heard of it
                return entry
        return mailbox.popleft() if mailbox else None

    def _step(self, turn: _Turn, event: Event) -> Answer:
        step = self.engine.step(event, turn.at)
        turn.records += step.records
        turn.effects += step.effects
        return step.answer

    async def _finish(self, turn: _Turn) -> None:
        marks = tuple(entry.mark for entry in turn.entries if entry.mark is not None)
        self._nudged = False
        outputs = self._outputs.take()
        payload, first, last = b"", 0, 0
        if turn.records:
            payload, first, last = self._publisher.encode(turn.records, turn.at)
        if turn.records or marks or outputs:
            self._in_flight = True
            sealed = _sealed(turn.entries)
            await self.committer.commit(Batch(turn.records, payload, first, last, turn.at, outputs, marks, sealed))
            self._in_flight = False
        for entry in turn.entries:
            if entry.committed is not None:
                entry.committed()
        if outputs or turn.records:
            self._outputs.committed(outputs, turn.records)
        if turn.effects or turn.records:
            await self._perform(turn.records, turn.effects)
        for entry in turn.entries:
            if entry.answer is not None and not entry.answer.done():
                entry.answer.set_result(entry.result)
        if turn.records:
            self._publisher.publish(payload, first, last, turn.at, turn.records)
        self._release_readers()
        self._timer.set(self.engine.wake_at)
        await asyncio.sleep(0)  # readers read and links write before anything is stepped again

    def _timer_fired(self) -> None:
        self.post(TimerFired())

    def _release_readers(self) -> None:
        readers, self._readers = self._readers, []
        for reader in readers:
            if not reader.done():
                reader.set_result(None)

    def _close(self) -> None:
        self._stopped = True
        self._timer.close()
        self._in_flight = False
        self._release_readers()
        refusal = Busy("Styx has stopped", retry_after=5.0, status=503)
        for entry in (*self._under_way, *self._asks):
            if entry.answer is not None and not entry.answer.done():
                entry.answer.set_result(refusal)
        self._asks.clear()
        self._mailbox.clear()


def _sealed(entries: Sequence[Entry]) -> tuple[SecretsRow, ...]:
    """The secrets of jobs that were accepted in this turn."""
    return tuple(
        SecretsRow(entry.result.job, entry.sealed)
        for entry in entries
        if entry.sealed and type(entry.result) is Accepted and not entry.result.again
    )
