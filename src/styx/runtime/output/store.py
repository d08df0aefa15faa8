"""The one place that output passes through: from the links to the disk, and from there to whoever reads.

One writer thread writes and syncs batches; while it does, the next batch gathers, so the busier it gets the fewer syncs a
byte costs. Rows come out of `take`, go into the caller's next Batch, and come back through `committed`, which says what to
acknowledge and wakes the readers. Bytes count against `limit` from `write` until their row is committed; beyond it, writers wait.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from styx.aiokit import Backoff
from styx.errors import ProtocolError, StoreError, StoreFull
from styx.protocol.messages import Data
from styx.runtime.output.follow import Cursor, Piece
from styx.runtime.output.segments import SegmentFolder, Segments
from styx.runtime.output.streams import Stream, Streams
from styx.store.base import OutputRow, Store

__all__ = ["OutputStore"]

_PIECE = 256 << 10  # bytes handed to a reader at a time

_Chunk = tuple[Stream, int, Data]  # (stream, offset, data)


class OutputStore:
    """Output of all attempts, under `folder` (created when missing), or wherever else segments are kept. `run` must be running for anything to be written.

    `synced` is called on the loop whenever rows wait for `take`. Sizes are bytes: `roll` of a segment, `limit` of what is
    taken in and not committed yet. `remembered` streams stay in memory when nothing goes on in them. `patience` is the first and
    the longest wait, in seconds, before a full disk is tried again.
    """

    def __init__(
        self,
        folder: Path | Segments,
        store: Store,
        *,
        synced: Callable[[], None] = lambda: None,
        roll: int = 64 << 20,
        limit: int = 32 << 20,
        remembered: int = 20_000,
        files: int = 64,
        patience: tuple[float, float] = (0.2, 5.0),
    ) -> None:
        self._disk: Segments = SegmentFolder(folder) if isinstance(folder, Path) else folder
        self._store = store
        self._roll = roll
        self._limit = limit
        self._patience = patience
        self.synced = synced
        self._segments = self._disk.reader(files)
        self._writer = self._disk.writer(1, roll)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="styx-output")
        self._streams = Streams(store, remembered)
        self._queue: list[_Chunk] = []
        self._gathered: asyncio.Future[None] | None = None  # `run` waits for something to write
        self._writing = False
        self._rows: list[OutputRow] = []
        self._uncommitted_rows: dict[int, int] = {}  # segment -> rows made and not committed
        self._garbage: list[int] = []  # segments of before the start that no row points at: a crash came first
        self._settled = 0  # nothing more will point into segments up to this one
        self._failure: StoreError | None = None
        self._waiting: deque[asyncio.Future[None]] = deque()  # writers and flushers
        self.uncommitted = 0  # bytes taken in whose rows are not committed
        self.written = 0  # bytes written and synced since the start
        self.full = ""  # why nothing can be written, while that is so

    async def open(self) -> None:
        """Find out where to go on. Raises StoreError when the folder cannot be used."""
        try:
            present = await asyncio.to_thread(self._disk.prepare)
        except OSError as error:
            raise StoreError(f"{self._disk} cannot be used for output: {error.strerror}") from error
        last = await self._store.last_segment()
        self._garbage = [number for number in present if number > last]
        self._settled = max([last, *present])
        self._writer = self._disk.writer(self._settled + 1, self._roll)
        self._streams.begin((await self._store.serials())[1])

    async def close(self) -> None:
        """Let go of the files. `run` must have ended; what it did not write is not acknowledged, and comes again."""
        await asyncio.to_thread(self._thread.shutdown)
        self._writer.close()
        self._segments.close()

    async def run(self) -> None:
        """Write what comes in, until cancelled. Raises SyncFailed or StoreError when the disk can no longer be trusted; a
        full one is waited for."""
        try:
            while True:
                if not self._queue:
                    self._gathered = asyncio.get_running_loop().create_future()
                    await self._gathered
                await self._write_batch()
        except StoreError as error:
            self._failure = error
            self._release()
            raise

    async def write(self, attempt: int, stream: int, offset: int, data: Data, *, gap: bool = False) -> int:
        """Take in bytes of a stream (1: stdout, 2: stderr), and say up to where that stream is committed. A caller that sent
        what was committed already acknowledges it again from that answer.

        What is known is dropped. Waits while too much is uncommitted. Raises ProtocolError when bytes before `offset` are
        missing, unless `gap` says that they will never come."""
        state = self._streams.find(attempt, stream)
        if not state.loaded or self.uncommitted >= self._limit or self._failure is not None:
            state.holds += 1
            try:
                await self._streams.load(state, offset)
                await self._room()
            finally:
                state.holds -= 1
        skip = state.known - offset
        if skip < 0 and not gap:
            raise ProtocolError(
                f"output of attempt {attempt}, stream {stream}, begins at byte {offset}, but only {state.known} are known"
            )
        if skip >= len(data) or not data:
            return state.committed
        if skip > 0:
            data = data[skip:]
            offset = state.known
        state.known = offset + len(data)
        self._queue.append((state, offset, data))
        self.uncommitted += len(data)
        if self._gathered is not None and not self._gathered.done():
            self._gathered.set_result(None)
        return state.committed

    def take(self) -> tuple[OutputRow, ...]:
        """Rows of what is synced, each once. They belong into the next Batch, and then into `committed`."""
        rows, self._rows = self._rows, []
        return tuple(rows)

    def committed(self, rows: Iterable[OutputRow]) -> list[tuple[int, int, int]]:
        """The Batch with these rows is on disk: holds may see them. Returns what to acknowledge: (attempt, stream, offset)."""
        touched: dict[Stream, None] = {}
        for row in rows:
            state = self._streams.held(row.attempt, row.stream)
            state.commit(row)
            self.uncommitted -= row.length
            touched[state] = None
            if self._uncommitted_rows[row.segment] > 1:
                self._uncommitted_rows[row.segment] -= 1
            else:
                del self._uncommitted_rows[row.segment]
        for state in touched:
            state.wake()
        self._release()
        return [(state.attempt, state.stream, state.committed) for state in touched]

    def finish(self, attempt: int, stdout: int, stderr: int) -> None:
        """The attempt has ended, having written that many bytes; more than that stays what it is. Cheap when it wrote none."""
        if not self._streams:
            return
        for stream, length in ((1, stdout), (2, stderr)):
            state = self._streams.get(attempt, stream)
            if state is not None:
                state.final = max(length, state.known)
                state.wake()

    def abandon(self, attempt: int) -> None:
        """Nothing more will come of this attempt's output, whatever it wrote: its machine is gone."""
        for stream in (1, 2):
            state = self._streams.get(attempt, stream)
            if state is not None:
                state.final = max(state.final, state.known)
                state.lost = True
                state.wake()

    def owed(self) -> list[int]:
        """Attempts that have ended and whose output has not all come, as far as is known here."""
        return sorted({s.attempt for s in self._streams.all() if s.final > s.known and not s.lost})

    async def flush(self) -> None:
        """Until all that was taken in is synced, and its rows wait for `take` or were taken. `run` must be running."""
        while self._queue or self._writing:
            await self._wait()

    async def length(self, attempt: int, stream: int) -> int:
        """How many bytes of a stream are committed."""
        state = self._streams.find(attempt, stream)
        state.holds += 1
        try:
            await self._streams.load(state, 0)
        finally:
            state.holds -= 1
        return state.committed

    async def read(self, attempt: int, stream: int, offset: int = 0, limit: int = _PIECE) -> Piece:
        """Committed bytes from `offset`, at most `limit`, none when there are none now. Raises NotFound when they were dropped."""
        state = self._streams.get(attempt, stream)
        cursor = Cursor(self._store, self._segments, attempt, stream, offset, state if state and state.loaded else None)
        return await cursor.read(limit) or Piece(offset, b"")

    async def follow(
        self, attempt: int, stream: int, offset: int = 0, *, length: int = -1, live: bool = True
    ) -> AsyncGenerator[Piece, None]:
        """A stream from `offset` to its end, as it comes; the last piece has `end`.

        `length` is that of the whole stream if the attempt has ended (what an AttemptRow says); without it, `finish` is waited
        for. With `live=False` nothing is waited for: what is missing is a gap."""
        state = self._streams.find(attempt, stream)
        state.holds += 1
        try:
            await self._streams.load(state, offset)
            if length >= 0:
                state.final = max(state.final, length, state.known)
            cursor = Cursor(self._store, self._segments, attempt, stream, offset, state)
            while True:
                piece = await cursor.read(_PIECE)
                if piece is not None:
                    yield piece
                    if (
                        len(piece.data) == _PIECE
                    ):  # there is more, and what is cached comes without waiting: let others in
                        await asyncio.sleep(0)
                elif cursor.offset < state.committed:  # its rows were pruned under our feet
                    yield Piece(state.committed, b"", gap=state.committed - cursor.offset)
                    cursor.offset = state.committed
                elif state.complete or not live:
                    end = max(cursor.offset, state.final)
                    yield Piece(end, b"", gap=end - cursor.offset, end=True)
                    return
                else:
                    waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                    state.waiters.append(waiter)
                    try:
                        await waiter
                    finally:
                        if not waiter.done() or waiter.cancelled():
                            state.waiters = [other for other in state.waiters if other is not waiter]
        finally:
            state.holds -= 1

    async def roll(self) -> None:
        """Write on in a new segment. Called before `Store.prune`: in the older ones nothing is written any more, so of those that
        have all their rows in the tables, one that nobody points at stays one, and `drop` may delete it."""
        last = await asyncio.get_running_loop().run_in_executor(self._thread, self._writer.end)
        self._settled = max(self._settled, min([last, *(number - 1 for number in self._uncommitted_rows)]))

    async def drop(self, segments: Iterable[int]) -> int:
        """Delete segments that no row in the tables points at: what `Store.prune` returned after `roll` (others are left alone),
        and what a crash left behind. Returns the bytes given back."""
        garbage, self._garbage = self._garbage, []
        numbers = [number for number in (*segments, *garbage) if number <= self._settled]
        for number in numbers:
            self._segments.forget(number)
        return await asyncio.to_thread(self._disk.unlink, numbers)

    async def size(self) -> int:
        """Bytes of all segments on disk."""
        return await asyncio.to_thread(self._disk.size)

    async def _write_batch(self) -> None:
        """Write all that has gathered, and make rows of it; pieces of one stream that lie together become one row."""
        chunks, self._queue = self._queue, []
        groups: dict[Stream, list[tuple[int, Data]]] = {}
        for stream, offset, data in chunks:
            groups.setdefault(stream, []).append((offset, data))
        buffers = [data for pieces in groups.values() for _, data in pieces]
        loop = asyncio.get_running_loop()
        patience = Backoff(*self._patience, jitter=0)
        self._writing = True
        while True:
            try:
                segment, position = await loop.run_in_executor(self._thread, self._writer.write, buffers)
            except StoreFull as error:
                self.full = error.message
                await asyncio.sleep(patience.next())
            else:
                break
        self._writing = False
        self.full = ""
        for stream, pieces in groups.items():
            position = self._row(stream, pieces, segment, position)
        self._release()
        self.synced()

    def _row(self, stream: Stream, pieces: list[tuple[int, Data]], segment: int, position: int) -> int:
        """Make rows of what was written from `position` for one stream; returns the position behind it."""
        begin = end = pieces[0][0]
        for offset, data in pieces:
            if offset != end:
                position = self._add(OutputRow(stream.attempt, stream.stream, begin, end - begin, segment, position))
                begin = offset
            end = offset + len(data)
        return self._add(OutputRow(stream.attempt, stream.stream, begin, end - begin, segment, position))

    def _add(self, row: OutputRow) -> int:
        self._rows.append(row)
        self._uncommitted_rows[row.segment] = self._uncommitted_rows.get(row.segment, 0) + 1
        self.written += row.length
        return row.position + row.length

    async def _room(self) -> None:
        while self.uncommitted >= self._limit or self._failure is not None:
            await self._wait()

    async def _wait(self) -> None:
        if self._failure is not None:
            raise self._failure
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        await waiter

    def _release(self) -> None:
        waiting, self._waiting = self._waiting, deque()
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)
