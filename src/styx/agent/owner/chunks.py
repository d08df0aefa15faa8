"""A queue of bytes that nobody copies: in as they were read, out as views, let go of from the front.

What a program writes is read from its pipe in pieces of up to 64 KiB and handed to the socket as the same pieces (`sendmsg`). Only
small pieces are joined, as long as none of theirs has been handed out, so that lines do not cost an object each.
"""

from __future__ import annotations

from collections import deque

__all__ = ["Chunks"]

_JOINED = (
    16 << 10
)  # bytes: joining up to here costs a microsecond, and a piece of memory is never much larger than what is in it


class Chunks:
    __slots__ = ("_pieces", "_skip", "size")

    def __init__(self) -> None:
        self._pieces: deque[bytes] = deque()
        self._skip = 0  # bytes of the first piece that were dropped
        self.size = 0

    def append(self, data: bytes, untouched: int) -> None:
        """`untouched` bytes at the end were not handed out yet."""
        pieces = self._pieces
        if not data:
            return
        if pieces:
            last = len(pieces[-1])
            if last <= untouched and last + len(data) <= _JOINED and (self._skip == 0 or len(pieces) > 1):
                pieces[-1] += data
                self.size += len(data)
                return
        pieces.append(data)
        self.size += len(data)

    def parts(self, start: int, limit: int) -> list[memoryview]:
        """Up to `limit` bytes from the `start`th on, in one view a piece."""
        found: list[memoryview] = []
        start += self._skip
        for piece in self._pieces:
            size = len(piece)
            if start >= size:
                start -= size
                continue
            part = memoryview(piece)[start : start + limit]
            found.append(part)
            limit -= len(part)
            if limit <= 0:
                break
            start = 0
        return found

    def drop(self, size: int) -> None:
        """Let go of the first `size` bytes; no more than there are."""
        self.size -= size
        size += self._skip
        pieces = self._pieces
        while pieces and size >= len(pieces[0]):
            size -= len(pieces.popleft())
        self._skip = size
