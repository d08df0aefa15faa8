"""What waits to be sent over one connection.

It is bounded by what the session lets itself owe: output by its window, the rest by what is held. Heartbeats go before
everything else that waits, so that a link busy with output does not look dead.
"""

from __future__ import annotations

import asyncio
from typing import Generic, TypeVar

from styx.protocol.messages import Heartbeat, Output

__all__ = ["Outbox"]

_BATCH = 256 << 10  # bytes of output in one batch: what fits into a core's cache is copied at a third of the price

M = TypeVar("M")


class Outbox(Generic[M]):
    """What waits to be sent over one connection."""

    def __init__(self) -> None:
        self._urgent: list[M] = []
        self._messages: list[M] = []
        self._ready = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def put(self, messages: list[M]) -> None:
        for message in messages:
            (self._urgent if type(message) is Heartbeat else self._messages).append(message)
        self._ready.set()
        self._idle.clear()

    def clear(self) -> None:
        self._urgent.clear()
        self._messages.clear()
        self._ready.clear()
        self._idle.set()

    async def take(self) -> list[M]:
        """What has gathered, liveness first, up to a bound; waits until there is something."""
        while not self._messages and not self._urgent:
            self._ready.clear()
            self._idle.set()
            await self._ready.wait()
        batch, self._urgent = self._urgent, []
        size = taken = 0
        for message in self._messages:
            taken += 1
            if isinstance(message, Output):
                size += len(message.data)
                if size >= _BATCH:
                    break
        batch += self._messages[:taken]
        del self._messages[:taken]
        return batch

    async def sent(self) -> None:
        """Until nothing waits."""
        await self._idle.wait()
