"""The server's disk: a store whose commits are slow, are refused for want of room, or never return, and segments of output.

What a commit has put here is durable, whatever becomes of the process that asked for it. The server may be killed at points before
a batch is durable, and behind it but before anybody hears of that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from random import Random

import msgspec

from styx.core.records import Record
from styx.errors import NotFound, StoreFull
from styx.protocol.messages import Data
from styx.store.base import Batch, Opened, ReportMark
from styx.store.memory import MemoryStore
from styx.store.memory.rebuild import live
from styx.testing.simulator.process import current

__all__ = ["Disk", "Segments"]


class Disk(MemoryStore):
    """`point` is called where a crash may come. `durable` sees every batch in the moment in which it is."""

    def __init__(self, chance: Random, point: Callable[[str], None], durable: Callable[[Batch], None]) -> None:
        super().__init__()
        self._chance = chance
        self._point = point
        self._durable = durable
        self.full = 0  # how many reasons there are for it to be full
        self.slow = 0.003  # the longest a commit takes, in seconds

    async def open(self) -> Opened:
        opened = await super().open()
        return msgspec.structs.replace(opened, incarnation="the-one-database")

    async def commit(self, epoch: int, batch: Batch) -> None:
        self._point("before a commit")
        await asyncio.sleep(self._chance.random() * self.slow)
        _alive()
        if self.full:
            raise StoreFull("the disk is full")
        self._point("before a commit is durable")
        await super().commit(epoch, batch)
        self._durable(batch)
        self._point("after a commit was durable")
        await asyncio.sleep(self._chance.random() * self.slow)
        _alive()

    def has_attempt(self, attempt: int) -> bool:
        return attempt in self.tables.assigned

    def attempts_ended(self, attempt: int) -> bool:
        return attempt in self.tables.ended

    def mark(self, agent: str) -> ReportMark | None:
        return self.tables.marks.get(agent)

    def committed_output(self, attempt: int, stream: int) -> int:
        rows = self.tables.outputs.get((attempt, stream), {})
        return max((row.offset + row.length for row in rows.values()), default=0)

    def live_records(self) -> list[Record]:
        """What `load` would give, without its side effects."""
        return list(live(self.tables))

    @property
    def highest(self) -> tuple[int, int, int]:
        return self.tables.serials


def _alive() -> None:
    process = current()
    if process is not None and not process.alive:
        raise asyncio.CancelledError


class Segments:
    """Output on the same disk (`runtime.output.segments.Segments`)."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self.content: dict[int, bytearray] = {}

    def prepare(self) -> list[int]:
        return sorted(self.content)

    def writer(self, first: int, roll: int) -> _Writer:
        return _Writer(self, first, roll)

    def reader(self, files: int) -> _Reader:
        return _Reader(self)

    def unlink(self, numbers: Sequence[int]) -> int:
        return sum(len(self.content.pop(number, b"")) for number in numbers)

    def size(self) -> int:
        return sum(map(len, self.content.values()))

    def write(self, number: int, buffers: Sequence[Data]) -> int:
        """Append; returns the position of the first byte."""
        _alive()
        if self._disk.full:
            raise StoreFull("the disk is full")
        content = self.content.setdefault(number, bytearray())
        position = len(content)
        for data in buffers:
            content += data
        return position


class _Writer:
    def __init__(self, segments: Segments, first: int, roll: int) -> None:
        self._segments = segments
        self._number = first
        self._roll = roll

    def write(self, buffers: Sequence[Data]) -> tuple[int, int]:
        if len(self._segments.content.get(self._number, b"")) >= self._roll:
            self._number += 1
        return self._number, self._segments.write(self._number, buffers)

    def end(self) -> int:
        self._number += 1
        return self._number - 1

    def close(self) -> None:
        return


class _Reader:
    def __init__(self, segments: Segments) -> None:
        self._segments = segments

    async def read(self, segment: int, position: int, length: int) -> bytes:
        content = self._segments.content.get(segment)
        if content is None:
            raise NotFound(f"segment {segment} was dropped")
        return bytes(content[position : position + length])

    def forget(self, segment: int) -> None:
        return

    def close(self) -> None:
        return
