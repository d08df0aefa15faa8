"""What carries frames between the hub and an agent: a tiny port, and one that stays within the process.

The websocket handler of the API wraps its socket as a Transport; an embedded agent gets one end of a `pipe`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Protocol

__all__ = ["PipeEnd", "Transport", "pipe"]

_WINDOW = 64  # frames that may be on their way in a pipe


class Transport(Protocol):
    """Frames in order, whole, both ways. When the other side is gone, iteration ends and `send` raises ConnectionError."""

    async def send(self, frame: bytes) -> None:
        """Returns when the transport can take more."""
        ...

    async def close(self) -> None:
        """May be called more than once."""
        ...

    def __aiter__(self) -> AsyncIterator[bytes]: ...


class _Lane:
    """One direction of a pipe."""

    def __init__(self) -> None:
        self.frames: deque[bytes] = deque()
        self.closed = False
        self.readable = asyncio.Event()
        self.writable = asyncio.Event()
        self.writable.set()

    def close(self) -> None:
        self.closed = True
        self.readable.set()
        self.writable.set()


class PipeEnd:
    """One end of an in-process link."""

    def __init__(self, sending: _Lane, receiving: _Lane) -> None:
        self._sending = sending
        self._receiving = receiving

    async def send(self, frame: bytes) -> None:
        lane = self._sending
        while len(lane.frames) >= _WINDOW and not lane.closed:
            lane.writable.clear()
            await lane.writable.wait()
        if lane.closed:
            raise ConnectionResetError("the other side has closed the link")
        lane.frames.append(frame)
        lane.readable.set()

    async def close(self) -> None:
        self._sending.close()
        self._receiving.close()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        lane = self._receiving
        while True:
            while lane.frames:
                frame = lane.frames.popleft()
                lane.writable.set()
                yield frame
            if lane.closed:
                return
            lane.readable.clear()
            await lane.readable.wait()


def pipe() -> tuple[PipeEnd, PipeEnd]:
    """The two ends of an in-process link: (server's, agent's). What was sent before a close still arrives."""
    up, down = _Lane(), _Lane()
    return PipeEnd(down, up), PipeEnd(up, down)
