"""Reading streams: what is committed, from any offset, and then what comes.

A Cursor walks the rows of one stream. It asks for rows a few hundred at a time, first from the short tail that the stream keeps
in memory (all that a live reader ever needs) and else from the tables, and reads their bytes through the page cache.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import msgspec

from styx.runtime.output.segments import Reader
from styx.runtime.output.streams import Stream
from styx.store.base import OutputRow, Store

__all__ = ["Cursor", "Piece"]

_ROWS = 256  # rows asked of the tables at a time


class Piece(msgspec.Struct, frozen=True, gc=False):
    """Bytes of a stream. `gap` bytes before `offset` are missing and will not come; `end` says that nothing follows."""

    offset: int
    data: bytes
    gap: int = 0
    end: bool = False


class Cursor:
    """A place in a stream. `state` is the live stream where there is one."""

    def __init__(
        self, store: Store, segments: Reader, attempt: int, stream: int, offset: int, state: Stream | None
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
