"""Output that the server has not yet put on its disk: a bounded window between the owner and the link.

Chunks are kept in the window until an OutputAck covers them, and sent again over a new link. When the window is full the agent
stops reading from its owner, so a server that is slow or away holds the programs' output back at the owner (which keeps
it until it is released) instead of filling the agent's memory.

An owner that is connected anew tells its un-released output again, from the start; what the window has already taken in is
recognised by its offset and dropped.
"""

from __future__ import annotations

from collections import deque

from styx.protocol.messages import Output, OutputAck
from styx.protocol.owner import OwnerOutput, OwnerRelease

__all__ = ["OutputWindow"]

LIMIT = 8 << 20  # bytes

Stream = tuple[int, int]  # attempt, stream


class OutputWindow:
    __slots__ = ("_chunks", "_limit", "_next", "size")

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._chunks: dict[Stream, deque[Output]] = {}
        self._next: dict[Stream, int] = {}  # the offset behind the last byte taken in
        self.size = 0  # bytes kept

    @property
    def full(self) -> bool:
        return self.size >= self._limit

    @property
    def owed(self) -> bool:
        return bool(self._chunks)

    def __contains__(self, attempt: int) -> bool:
        return (attempt, 1) in self._next or (attempt, 2) in self._next

    def take(self, said: OwnerOutput) -> Output | None:
        """Keep a chunk and return it to be sent; None when all of it is known already."""
        key = (said.attempt, said.stream)
        data, offset = said.data, said.offset
        known = self._next.get(key, offset)
        if offset < known:
            data, offset = data[known - offset :], known
        if not data:
            return None
        chunk = Output(said.attempt, said.stream, offset, data)
        self._next[key] = offset + len(data)
        self._chunks.setdefault(key, deque()).append(chunk)
        self.size += len(data)
        return chunk

    def synced(self, attempt: int, stream: int) -> int:
        """Up to where the server is known to have the stream."""
        key = (attempt, stream)
        chunks = self._chunks.get(key)
        return chunks[0].offset if chunks else self._next.get(key, 0)

    def acknowledged(self, ack: OutputAck) -> OwnerRelease:
        """The server has the stream up to an offset; the owner may let go of as much."""
        key = (ack.attempt, ack.stream)
        chunks = self._chunks.get(key)
        if chunks is not None:
            while chunks and chunks[0].offset + len(chunks[0].data) <= ack.offset:
                self.size -= len(chunks.popleft().data)
            if not chunks:
                del self._chunks[key]
        return OwnerRelease(ack.attempt, ack.stream, ack.offset)

    def again(self) -> list[Output]:
        """All that is kept, each stream in order, for a new link."""
        return [chunk for chunks in self._chunks.values() for chunk in chunks]

    def settle(self, attempt: int) -> None:
        """Nothing more will come of this attempt; its offsets are let go of unless some of its output is still owed."""
        for stream in (1, 2):
            if (attempt, stream) not in self._chunks:
                self._next.pop((attempt, stream), None)

    def drop(self, attempt: int) -> list[OwnerRelease]:
        """Nobody wants the output of this attempt: what the owner is to let go of."""
        releases: list[OwnerRelease] = []
        for stream in (1, 2):
            for chunk in self._chunks.pop((attempt, stream), ()):
                self.size -= len(chunk.data)
            end = self._next.pop((attempt, stream), None)
            if end is not None:
                releases.append(OwnerRelease(attempt, stream, end))
        return releases

    def clear(self) -> None:
        self._chunks.clear()
        self._next.clear()
        self.size = 0
