"""What a runner's owner has to tell over its connection, and how much output it holds meanwhile.

News go out first, then output, each attempt in turn, and an end behind the last byte of its attempt. Output is bounded twice: what is sent and
not released on one connection by windows, and what is here at all by `room`, in which a reader of logs waits while much of its
attempt, or of all, is not on the server's disk yet.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping

import msgspec

from styx.core.events import AttemptEnding
from styx.protocol.codec import MAX_CHUNK
from styx.protocol.owner import OwnerEnded, OwnerHello, OwnerOutput, OwnerToAgent
from styx.runtime.runner_attempt import Hosted

__all__ = ["Traffic"]

STREAM_WINDOW = 1 << 20  # bytes of a stream that are sent and not released
WINDOW = 6 << 20  # of all; below what an agent keeps, so that it never stops reading and hears of ends meanwhile
KEPT = 2 << 20  # bytes of one attempt that are here, before its reader waits
ALL_KEPT = 64 << 20
_FRAME = 1 << 20
_PER_FRAME = 1_000  # ends in one message


class Traffic:
    """Of one connection after another; `attempts` is the owner's own table."""

    def __init__(self, attempts: Mapping[int, Hosted], clock: Callable[[], int]) -> None:
        self.told = False  # this connection knows what is held
        self._attempts = attempts
        self._clock = clock
        self._said: deque[OwnerToAgent] = deque()
        self._due: dict[int, None] = {}  # attempts with something to tell, in turn
        self._wake = asyncio.Event()
        self._closed = True
        self._inflight = 0  # bytes sent on this connection and not released
        self._kept = 0  # bytes of output that are here
        self._thirsty: list[asyncio.Future[None]] = []  # readers that wait for room

    # -- the connection -------------------------------------------------------------------------------------------

    def open(self, hello: OwnerHello) -> None:
        """A new one, which begins with that."""
        self._closed = False
        self.told = False
        self._inflight = 0
        self._due.clear()
        self._said.clear()
        self._said.append(hello)

    async def recv(self) -> list[OwnerToAgent]:
        while True:
            if self._closed:
                raise ConnectionResetError("the runner was closed")
            messages = list(self._said)
            self._said.clear()
            if self.told:
                messages += self._gather()
            if messages:
                return messages
            self._wake.clear()
            await self._wake.wait()

    def close(self) -> None:
        self._closed = True
        self._wake.set()

    # -- what there is to tell ------------------------------------------------------------------------------------

    def say(self, message: OwnerToAgent) -> None:
        """At once; a connection that knows nothing yet hears of it with all that is held."""
        if self.told:
            self._said.append(message)
            self._wake.set()

    def due(self, held: Hosted) -> None:
        """It has output, or its end, to tell."""
        self._due[held.number] = None
        self._wake.set()

    def anew(self) -> None:
        """The connection knows what is held: all that is not released is told from there on."""
        self.told = True
        for held in self._attempts.values():
            held.ending_sent = False
            for stream in held.streams:
                stream.sent = stream.released
            self.due(held)

    def drop(self, held: Hosted) -> None:
        """It is let go of."""
        self._due.pop(held.number, None)
        self._pour()

    # -- how much is here -----------------------------------------------------------------------------------------

    def came(self, count: int) -> None:
        """So many more bytes of output are here."""
        self._kept += count

    def landed(self, gone: int, sent: int) -> None:
        """So many bytes are on the server's disk, so many of them had been sent on this connection."""
        self._kept -= gone
        self._inflight -= sent

    def go_on(self) -> None:
        """Something was released: whoever waits for room, or for a window, looks again."""
        self._pour()
        self._wake.set()

    async def room(self, attempt: int) -> None:
        while (held := self._attempts.get(attempt)) is not None and (held.owed >= KEPT or self._kept >= ALL_KEPT):
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._thirsty.append(waiter)
            await waiter

    def _pour(self) -> None:
        """Readers that wait for room look again."""
        waiting, self._thirsty = self._thirsty, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)

    def _gather(self) -> list[OwnerToAgent]:
        """A frame of what is due, each attempt in turn."""
        messages: list[OwnerToAgent] = []
        ends: list[AttemptEnding] = []
        size, now = 0, self._clock()
        for number in list(self._due):
            held = self._attempts.get(number)
            del self._due[number]
            if held is None:
                continue
            for stream, kept in enumerate(held.streams, 1):
                room = min(MAX_CHUNK, STREAM_WINDOW - (kept.sent - kept.released), WINDOW - self._inflight)
                if room > 0 and kept.sent < kept.total:
                    offset = kept.sent
                    data = kept.read(room)
                    messages.append(OwnerOutput(number, stream, offset, data))
                    self._inflight += len(data)
                    size += len(data)
            if held.all_sent and held.ending is not None and not held.ending_sent and not held.forgotten:
                held.ending_sent = True
                ends.append(msgspec.structs.replace(held.ending, ago=max(0, now - held.ended_at)))
            elif not held.all_sent:
                self._due[number] = None  # at the end of the line; where a window is full, a release wakes us
            if size >= _FRAME or len(ends) >= _PER_FRAME:
                break
        if ends:
            messages.append(OwnerEnded(tuple(ends)))
        return messages
