"""The owner's socket within the agent's loop: frames in without a copy, frames out with back-pressure.

A large frame is received into memory of its own, and what it holds of a program's output are views into that: they go to the server
as they are. Small frames come many to a read, into one buffer that stays, and are cut out of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import cast

from styx.agent.owner.frames import MAX_FRAME, decode_owner
from styx.errors import ProtocolError
from styx.protocol.owner import OwnerToAgent

__all__ = ["Inlet"]

_SMALL = 64 << 10  # bytes of the buffer that stays: a frame that fits is copied out of it
_AHEAD = 512 << 10  # bytes taken in and not asked for, beyond which the socket is not read
_HEAD = 4


class Inlet(asyncio.BufferedProtocol):
    """One reader, one writer."""

    def __init__(self) -> None:
        self._small = bytearray(_SMALL)
        self._filled = 0  # bytes in `small`
        self._large: bytearray | None = None  # a frame that is on its way
        self._have = 0  # bytes of it
        self._messages: list[OwnerToAgent] = []
        self._ahead = 0
        self._reading = True
        self._waiter: asyncio.Future[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._lost: ConnectionError | ProtocolError | None = None
        self._closed = asyncio.Event()
        self._transport: asyncio.Transport | None = None

    async def messages(self) -> list[OwnerToAgent]:
        """What has come, at least one. Raises ConnectionError when there is no more, ProtocolError on what is no frame."""
        while not self._messages:
            if self._lost is not None:
                raise self._lost
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        found, self._messages, self._ahead = self._messages, [], 0
        if not self._reading and self._transport is not None and self._lost is None:
            self._reading = True
            self._transport.resume_reading()
        return found

    async def write(self, frames: Sequence[bytes]) -> None:
        """Returns when the socket can take more."""
        if self._lost is not None or self._transport is None:
            raise ConnectionResetError("the connection to the owner process is closed")
        self._transport.writelines(frames)
        await self._writable.wait()
        if self._lost is not None:
            raise self._lost

    async def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
            await self._closed.wait()

    # what the loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        if self._large is not None:
            return memoryview(self._large)[self._have :]
        return memoryview(self._small)[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        if self._lost is not None:
            return
        try:
            if self._large is not None:
                self._have += nbytes
                if self._have == len(self._large):
                    frame, self._large = self._large, None
                    self._take(frame)
            else:
                self._filled += nbytes
                self._cut()
        except ProtocolError as error:
            self._end(error)
            if self._transport is not None:
                self._transport.abort()
            return
        if self._messages:
            self._wake()
            if self._ahead >= _AHEAD and self._reading and self._transport is not None:
                self._reading = False
                self._transport.pause_reading()

    def eof_received(self) -> None:
        self._end(ConnectionResetError("the owner process closed the connection"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(
            exc if isinstance(exc, ConnectionError) else ConnectionResetError("the owner process closed the connection")
        )
        self._closed.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def _cut(self) -> None:
        """Frames out of the small buffer; one that it cannot hold goes on in memory of its own."""
        small, filled, start = self._small, self._filled, 0
        while filled - start >= _HEAD:
            size = int.from_bytes(small[start : start + _HEAD], "big")
            if size > MAX_FRAME:
                raise ProtocolError(f"a frame of {size} bytes is longer than {MAX_FRAME}")
            begin, end = start + _HEAD, start + _HEAD + size
            if end <= filled:
                self._take(bytes(memoryview(small)[begin:end]))
                start = end
                continue
            if _HEAD + size > _SMALL:
                self._large = bytearray(size)
                self._have = filled - begin
                self._large[: self._have] = memoryview(small)[begin:filled]
                start = filled
            break
        if start:
            self._filled = filled - start
            small[: self._filled] = small[start:filled]

    def _take(self, frame: bytes | bytearray) -> None:
        self._messages += decode_owner(frame)
        self._ahead += len(frame)

    def _end(self, error: ConnectionError | ProtocolError) -> None:
        if self._lost is None:
            self._lost = error
        self._writable.set()
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
