"""What waits to be sent over one link, gathered into frames.

Many small messages in one frame cost a twentieth of the same messages one a frame, so nothing is sent at once: a message is
put here, and a single writer takes whatever has gathered. Acknowledgements are cumulative, so only the latest is kept.

Bounded: when what waits takes more than `limit` bytes of memory, the outbox overflows and its link must be closed. That loses
nothing, because orders are level-triggered: at the next Hello what is missing is sent again. An order is small here, however
large its spec: the spec's text is the world's own and becomes bytes only in the frame that is being sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from styx.errors import ProtocolError
from styx.protocol.codec import MAX_FRAME, encode
from styx.protocol.messages import Ack, Credential, HeartbeatAck, OutputAck, ServerMessage

__all__ = ["Outbox"]

_FRAME = 1 << 20  # bytes, estimated, that are gathered into one frame
_SMALL = 64  # estimate for a message without content of its own


_Message = ServerMessage | Credential


class Outbox:
    def __init__(self, limit: int = 64 << 20) -> None:
        self._limit = limit
        self._messages: list[tuple[_Message, int, int]] = []  # with its bytes in a frame, and in memory
        self._held = 0
        self._ack = 0
        self._beat = 0
        self._outputs: dict[tuple[int, int], int] = {}
        self._wake = asyncio.Event()
        self._closed = False
        self.overflowed = False

    def put(self, message: _Message, size: int = _SMALL, held: int = 0) -> None:
        """Queue a message of about `size` bytes in a frame, which takes about `held` bytes of memory of its own until then (as
        much, when not given). After an overflow or a close it is dropped."""
        if self._closed:
            return
        self._held += held or size
        if self._held > self._limit:
            self.overflowed = True
            self.close()
            return
        self._messages.append((message, size, held or size))
        self._wake.set()

    def ack(self, number: int) -> None:
        """Every Report up to this number is on disk."""
        self._ack = max(self._ack, number)
        self._wake.set()

    def beat(self, number: int) -> None:
        """Answer a heartbeat; never refused, and sent before all else."""
        self._beat = max(self._beat, number)
        self._wake.set()

    def output_ack(self, attempt: int, stream: int, offset: int) -> None:
        key = (attempt, stream)
        self._outputs[key] = max(self._outputs.get(key, 0), offset)
        self._wake.set()

    def close(self) -> None:
        """What waits is still handed out, and then `frames` ends (at once after an overflow)."""
        self._closed = True
        if self.overflowed:
            self._messages.clear()
        self._wake.set()

    async def frames(self) -> AsyncIterator[bytes]:
        """Encoded frames, until the outbox is closed and empty."""
        while True:
            batch = self._take()
            if batch:
                for frame in _frames(batch):
                    yield frame
            elif self._closed:
                return
            else:
                self._wake.clear()
                await self._wake.wait()

    def _take(self) -> list[_Message]:
        batch: list[_Message] = []
        if self._beat:
            batch.append(HeartbeatAck(self._beat))
            self._beat = 0
        taken, size = 0, 0
        for message, weight, held in self._messages:
            if size and size + weight > _FRAME:
                break
            batch.append(message)
            taken += 1
            size += weight
            self._held -= held
        del self._messages[:taken]
        if self._ack:
            batch.append(Ack(self._ack))
            self._ack = 0
        if self._outputs:
            batch += [OutputAck(attempt, stream, end) for (attempt, stream), end in self._outputs.items()]
            self._outputs.clear()
        return batch


def _frames(messages: list[_Message]) -> list[bytes]:
    """The messages as frames within the limit; sizes were only estimated."""
    frame = encode(messages)
    if len(frame) <= MAX_FRAME:
        return [frame]
    if len(messages) == 1:
        raise ProtocolError(f"a {type(messages[0]).__name__} of {len(frame)} bytes is longer than a frame may be")
    middle = len(messages) // 2
    return _frames(messages[:middle]) + _frames(messages[middle:])
