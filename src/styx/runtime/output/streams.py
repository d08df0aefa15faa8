"""What is known of streams: how far each has been taken in, and how far it is committed.

Which bytes are new is decided by the `known` offset of their stream. A stream that is not in memory is new if its attempt is younger
than every attempt that was ever forgotten here (`_watermark`; at the start: than every attempt there is), else the tables are
asked. So the usual stream costs no query, and forgetting idle ones is always safe.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from styx.errors import ProtocolError
from styx.store.base import OutputRow, Store

__all__ = ["Stream", "Streams"]

_TAIL = 64  # rows kept in memory of a stream that is being written
_ROWS = 1_000  # rows asked of the tables at a time


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


class Streams:
    """The streams in memory. `remembered` of them stay when nothing goes on in them."""

    def __init__(self, store: Store, remembered: int) -> None:
        self._store = store
        self._remembered = remembered
        self._known: dict[int, Stream] = {}  # by attempt * 4 + stream
        self._sweep_at = remembered
        self._watermark = 0

    def begin(self, last_attempt: int) -> None:
        """Attempts up to this one may have output in the tables."""
        self._watermark = last_attempt

    def __bool__(self) -> bool:
        return bool(self._known)

    def get(self, attempt: int, stream: int) -> Stream | None:
        return self._known.get(attempt << 2 | stream)

    def held(self, attempt: int, stream: int) -> Stream:
        """One that has bytes on their way to the tables, and so cannot have been forgotten."""
        return self._known[attempt << 2 | stream]

    def all(self) -> Iterable[Stream]:
        return self._known.values()

    def find(self, attempt: int, stream: int) -> Stream:
        state = self._known.get(attempt << 2 | stream)
        if state is None:
            if stream not in {1, 2}:
                raise ProtocolError(f"an attempt has the streams 1 and 2, not {stream}")
            if len(self._known) >= self._sweep_at:
                self._sweep()
            state = Stream(attempt, stream, loaded=attempt > self._watermark)
            self._known[attempt << 2 | stream] = state
        return state

    def _sweep(self) -> None:
        """Forget idle streams, the oldest first, until half of what may be remembered is left."""
        surplus = len(self._known) - self._remembered // 2
        for key, state in list(self._known.items()):
            if surplus <= 0:
                break
            if state.idle:
                del self._known[key]
                self._watermark = max(self._watermark, state.attempt)
                surplus -= 1
        # When most are busy, look again only after as many more have come, so that a sweep stays cheap for each.
        self._sweep_at = max(self._remembered, 2 * len(self._known))

    async def load(self, state: Stream, hint: int) -> None:
        """Ask the tables how far a stream is known, unless that has been done. `hint` is an offset probably near its end.
        The caller holds the stream."""
        while state.loading is not None:
            await asyncio.wait([state.loading])
        if state.loaded:
            return
        state.loading = asyncio.get_running_loop().create_future()
        try:
            end = 0
            begin = max(hint - 1, 0)
            while True:
                rows = await self._store.outputs(state.attempt, state.stream, begin, _ROWS)
                if rows:
                    begin = end = rows[-1].offset + rows[-1].length
                elif begin and not end:
                    begin = 0
                else:
                    break
            state.known = state.committed = end
            state.loaded = True
        finally:
            state.loading.set_result(None)
            state.loading = None
