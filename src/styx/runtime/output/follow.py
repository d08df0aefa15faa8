"""Reading streams: what is committed, from any offset, and then what comes.

A Cursor walks the rows of one stream. It asks for rows a few hundred at a time, first from the short tail that the stream keeps
in memory (all that a live reader ever needs) and else from the tables, and reads their bytes through the page cache.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Sequence

import msgspec

from styx.runtime.output.segments import SegmentReader
from styx.store.base import OutputRow, Store

__all__ = ["Cursor", "Piece", "Stream"]

_TAIL = 64  # rows kept in memory of a stream that is being written
_ROWS = 256  # rows asked of the tables at a time


class Piece(msgspec.Struct, frozen=True, gc=False):
    """Bytes of a stream. `gap` bytes before `offset` are missing and will not come; `end` says that nothing follows."""

    offset: int
    data: bytes
    gap: int = 0
    end: bool = False


class Stream:
    """What is known of one stream of one attempt. Offsets count its bytes from 0.

    `known` bytes were taken in, `committed` of them have a row on disk; `final` is its length in all, -1 while that is open.
    """

    __slots__ = (
        "attempt",
        "committed",
        "final",
        "holds",
        "known",
        "loaded",
        "loading",
        "lost",
        "stream",
        "tail",
        "waiters",
    )

    def __init__(self, attempt: int, stream: int, *, loaded: bool) -> None:
        self.attempt = attempt
        self.stream = stream
        self.known = 0
        self.committed = 0
        self.final = -1
        self.lost = False  # what is missing up to `final` will not come
        self.loaded = loaded  # `known` is right; else the tables have to be asked first
        self.loading: asyncio.Future[None] | None = None
        self.tail: list[OutputRow] = []
        self.waiters: list[asyncio.Future[None]] = []
        self.holds = 0  # readers, and writers that wait

    @property
    def idle(self) -> bool:
        """Whether it can be forgotten: what it says is in the tables, and nobody holds it."""
        return self.known == self.committed and not self.holds and self.loading is None

    @property
    def complete(self) -> bool:
        """Whether nothing more will come."""
        return self.final >= 0 and (self.committed >= self.final or self.lost) and self.known == self.committed

    def commit(self, row: OutputRow) -> None:
        self.committed = row.offset + row.length
        self.tail.append(row)
        if len(self.tail) > _TAIL:
            del self.tail[: _TAIL // 2]

    def wake(self) -> None:
        waiters, self.waiters = self.waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)


class Cursor:
    """A place in a stream. `state` is the live stream where there is one."""

    def __init__(
        self, store: Store, segments: SegmentReader, attempt: int, stream: int, offset: int, state: Stream | None
    ) -> None:
        self._store = store
        self._segments = segments
        self._attempt = attempt
        self._stream = stream
        self._state = state
        self._rows: Sequence[OutputRow] = ()
        self._next = 0
        self.offset = offset

    async def read(self, limit: int) -> Piece | None:
        """Up to `limit` committed bytes from here, or None when there are none. Bytes behind a gap come with it."""
        row = await self._row()
        if row is None:
            return None
        start = max(self.offset, row.offset)
        gap = start - self.offset
        parts: list[bytes] = []
        room = limit
        offset = start
        while row is not None and room and row.offset <= offset:
            skip = offset - row.offset
            length = min(row.length - skip, room)
            parts.append(await self._segments.read(row.segment, row.position + skip, length))
            offset += length
            room -= length
            self.offset = offset
            row = await self._row() if room else None
        return Piece(start, parts[0] if len(parts) == 1 else b"".join(parts), gap)

    async def _row(self) -> OutputRow | None:
        """The first row that ends behind this place."""
        while True:
            while self._next < len(self._rows):
                row = self._rows[self._next]
                if row.offset + row.length > self.offset:
                    return row
                self._next += 1
            state = self._state
            if state is not None and self.offset >= state.committed:
                return None
            self._next = 0
            if state is not None and state.tail and state.tail[0].offset <= self.offset:
                first = bisect_right(state.tail, self.offset, key=_begin) - 1
                self._rows = state.tail[first:]
            else:
                self._rows = await self._store.outputs(self._attempt, self._stream, self.offset, _ROWS)
            if not self._rows or self._rows[-1].offset + self._rows[-1].length <= self.offset:
                self._rows = ()
                return None


def _begin(row: OutputRow) -> int:
    return row.offset
