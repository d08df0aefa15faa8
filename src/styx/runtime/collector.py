"""Brings output from the links to the disk, and the acknowledgements back.

A link's reader must never wait for the disk, or heartbeats would wait too. So output is put aside per link, and a task of its
own takes it in; how much can lie there is bounded by the window of the agent, which sends no more until it is acknowledged.

An agent may write only for attempts that are, or were, assigned to it. What it sends for others is acknowledged and dropped, so
that it does not keep it for ever.
"""

from __future__ import annotations

from collections.abc import Sequence

from styx.core.records import AttemptEnded, Record
from styx.core.states import Outcome
from styx.core.world import World
from styx.protocol.messages import Output
from styx.runtime.link import Link
from styx.runtime.output import OutputStore
from styx.store.base import OutputRow, Store
from styx.telemetry.metrics import Counter

__all__ = ["Collector"]

_OWNED = 10_000  # ended attempts remembered for each link


class Collector:
    def __init__(self, output: OutputStore, store: Store, world: World, written: Counter) -> None:
        self._output = output
        self._store = store
        self._world = world
        self._written = written
        self._sources: dict[tuple[int, int], tuple[Link, int]] = {}  # stream -> who sent it, and up to where

    async def write(self, link: Link, message: Output) -> None:
        """Take in what a link sent. Raises ProtocolError when bytes before it are missing, StoreError."""
        attempt, stream = message.attempt, message.stream
        end = message.offset + len(message.data)
        if not await self._owns(link, attempt):
            link.outbox.output_ack(attempt, stream, end)
            return
        self._sources[attempt, stream] = (link, end)
        committed = await self._output.write(attempt, stream, message.offset, message.data)
        if committed >= end:
            self._sources.pop((attempt, stream), None)
            link.outbox.output_ack(attempt, stream, committed)

    def take(self) -> tuple[OutputRow, ...]:
        """Rows of output that is synced and belongs into the next batch."""
        return self._output.take()

    def committed(self, rows: Sequence[OutputRow], records: Sequence[Record]) -> None:
        """A turn is on disk: acknowledge its output, and close the streams of the attempts that ended in it."""
        if rows:
            self._written.add(sum(row.length for row in rows))
            for attempt, stream, offset in self._output.committed(rows):
                link, end = self._sources.get((attempt, stream), (None, 0))
                if link is None:
                    continue
                link.outbox.output_ack(attempt, stream, offset)
                if offset >= end:
                    del self._sources[attempt, stream]
        for record in records:
            if type(record) is AttemptEnded:
                if record.outcome == Outcome.LOST:
                    self._output.abandon(record.attempt)
                else:
                    self._output.finish(record.attempt, record.stdout, record.stderr)

    async def _owns(self, link: Link, serial: int) -> bool:
        attempt = self._world.attempts.get(serial)
        if attempt is not None:
            return attempt.node.id == link.node
        known = link.owned.get(serial)
        if known is None:
            row = await self._store.attempt(serial)
            known = row is not None and row.node == link.node
            if len(link.owned) >= _OWNED:
                link.owned.clear()
            link.owned[serial] = known
        return known
