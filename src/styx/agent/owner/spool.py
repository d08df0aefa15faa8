"""Output between the pipe and the server's disk: in memory while it is little, in files when it is much, never dropped.

A stream is a range of bytes: [0, released) is on the server's disk, [released, total) is kept here. The front of what is kept
may be in memory (`head`); once the memory allowed is full, what follows goes to segment files, which are unlinked one by
one as they are released, so that a slow reader costs disk in proportion to its lag and not to all that was ever written.
When the disk allowed is full too, the pipe is not read any more and the program waits, as it would on any full pipe.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence

from styx.agent.owner.chunks import Chunks

__all__ = ["Budget", "Spool", "Stream"]

SEGMENT = 16 << 20
PER_ATTEMPT_MEMORY = 1 << 20
PER_ATTEMPT_DISK = 1 << 30
ALL_MEMORY = 64 << 20
_PILE = 256 << 10  # bytes not sent; with what is on its way, a stream never runs dry
_SPARE = 192 << 10  # of the memory of an attempt: what its pipes may hold when it exits goes there


class Budget:
    """Memory for the output of all attempts together."""

    __slots__ = ("limit", "per_attempt_disk", "per_attempt_memory", "segment", "used")

    def __init__(
        self,
        limit: int = ALL_MEMORY,
        per_attempt_memory: int = PER_ATTEMPT_MEMORY,
        per_attempt_disk: int = PER_ATTEMPT_DISK,
        segment: int = SEGMENT,
    ) -> None:
        self.limit = limit
        self.per_attempt_memory = per_attempt_memory
        self.per_attempt_disk = per_attempt_disk
        self.segment = segment
        self.used = 0


class _Segment:
    __slots__ = ("end", "path", "start")

    def __init__(self, path: str, start: int) -> None:
        self.path = path
        self.start = start
        self.end = start


class Stream:
    """One of the two outputs of an attempt. `sent` is how far it went to the agent on the present connection."""

    __slots__ = ("_file", "_head", "_late", "_segments", "_spool", "_stem", "_written", "released", "sent", "total")

    def __init__(self, spool: Spool, stem: str) -> None:
        self._spool = spool
        self._stem = stem
        self._head = Chunks()
        self._segments: list[_Segment] = []
        self._file = -1  # open for writing: the last segment
        self._written = 0  # what is in `head` and the segments ends here
        self._late = bytearray()  # read from the pipe, but the disk took no more
        self.released = 0
        self.sent = 0
        self.total = 0

    @property
    def held(self) -> int:
        return self.total - self.released

    def append(self, data: bytes) -> None:
        spool = self._spool
        if not self._segments and not self._late and spool.take(len(data)):
            self._head.append(data, self.total - self.sent)
            self._written += len(data)
        else:
            self._late += data
            self.settle()
        self.total += len(data)

    def settle(self) -> bool:
        """Write what the disk did not take before. False when it still does not."""
        while self._late:
            segment = self._segments[-1] if self._segments else None
            if segment is None or segment.end - segment.start >= self._spool.budget.segment:
                segment = self._open()
                if segment is None:
                    return False
            try:
                written = os.write(self._file, self._late)
            except OSError:  # no room, a quota, an I/O error: it stays in memory and the pipe is not read meanwhile
                return False
            segment.end += written
            self._written += written
            self._spool.on_disk += written
            del self._late[:written]
        return True

    @property
    def piled_up(self) -> bool:
        """So much was not sent yet, or is on the disk, that what comes could as well wait in the pipe."""
        return self.total - self.sent >= _PILE or bool(self._segments)

    @property
    def stuck(self) -> bool:
        return bool(self._late)

    def _open(self) -> _Segment | None:
        segment = _Segment(f"{self._stem}.{self._written}", self._written)
        try:
            os.makedirs(os.path.dirname(self._stem), mode=0o700, exist_ok=True)
            file = os.open(segment.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except OSError:
            return None
        if self._file >= 0:
            os.close(self._file)
        self._file = file
        self._segments.append(segment)
        return segment

    def read(self, offset: int, limit: int) -> Sequence[bytes | memoryview]:
        """Up to `limit` bytes of what is kept from `offset` on, in pieces; less at the border of two places, none at the end.
        Raises OSError when the disk does not give back what it took."""
        start = offset - self.released
        if start < self._head.size:
            return self._head.parts(start, limit)
        for segment in self._segments:
            if segment.start <= offset < segment.end:
                file = os.open(segment.path, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    return [os.pread(file, min(limit, segment.end - offset), offset - segment.start)]
                finally:
                    os.close(file)
        start = offset - self._written
        return [bytes(memoryview(self._late)[start : start + limit])] if start >= 0 else []

    def release(self, offset: int) -> int:
        """The server has it up to `offset`. Returns how many bytes sent on this connection that lets go of."""
        offset = min(offset, self.total)
        if offset <= self.released:
            return 0
        landed = max(0, min(offset, self.sent) - self.released)
        head = min(self._head.size, offset - self.released)
        if head:
            self._head.drop(head)
            self._spool.give(head)
        while self._segments and self._segments[0].end <= offset:
            self._drop(self._segments.pop(0))
        if offset > self._written:
            del self._late[: offset - self._written]
            self._written = offset
        self.released = offset
        self.sent = max(self.sent, offset)
        return landed

    def _drop(self, segment: _Segment) -> None:
        if not self._segments and self._file >= 0:
            os.close(self._file)
            self._file = -1
        self._spool.on_disk -= segment.end - segment.start
        with contextlib.suppress(OSError):  # the next start clears the folder
            os.unlink(segment.path)

    def close(self) -> None:
        """Nobody wants the rest."""
        self.release(self.total)


class Spool:
    """Both streams of an attempt and what they may use together."""

    __slots__ = ("budget", "memory", "on_disk", "streams")

    def __init__(self, budget: Budget, stem: str) -> None:
        self.budget = budget
        self.memory = 0
        self.on_disk = 0
        self.streams = (Stream(self, f"{stem}.1"), Stream(self, f"{stem}.2"))

    @property
    def full(self) -> bool:
        return self.on_disk >= self.budget.per_attempt_disk or self.streams[0].stuck or self.streams[1].stuck

    def piled_up(self, index: int) -> bool:
        """Whether the pipe of this stream could wait for what is owed of it to be taken: it waits for nothing else."""
        stream, limit = self.streams[index], self.budget.per_attempt_memory
        return stream.piled_up or (stream.held > 0 and self.memory > limit - min(_SPARE, limit // 4))

    @property
    def owed(self) -> bool:
        return self.streams[0].held > 0 or self.streams[1].held > 0

    @property
    def unsent(self) -> int:
        """Bytes."""
        first, second = self.streams
        return first.total - first.sent + second.total - second.sent

    @property
    def all_sent(self) -> bool:
        first, second = self.streams
        return first.sent == first.total and second.sent == second.total

    def take(self, size: int) -> bool:
        budget = self.budget
        if self.memory + size > budget.per_attempt_memory or budget.used + size > budget.limit:
            return False
        self.memory += size
        budget.used += size
        return True

    def give(self, size: int) -> None:
        self.memory -= size
        self.budget.used -= size

    def close(self) -> None:
        for stream in self.streams:
            stream.close()
