"""Letting agents in: the first message, whether both sides understand each other, and not too many at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from styx.core.resources import Resources
from styx.core.units import MAX_ACCELERATORS, MAX_CPUS
from styx.errors import ProtocolError
from styx.protocol.codec import decode_agent
from styx.protocol.messages import OLDEST, VERSION, Hello, Refused

__all__ = ["Handshakes", "read_hello", "unfit"]

_MOST_BYTES = 1 << 62  # of memory or disk; what a task may ask for is far less

_LONGEST = 60_000  # milliseconds that anybody is told to wait
HELLO_LIMIT = 10.0  # seconds for an agent to say who it is


class Handshakes:
    """A token bucket: `rate` a second, and at most `burst` at once, so that a thousand agents that come back together do not
    starve those already in. Times are milliseconds on any steady clock.

    Who is refused is given a time of his own, one after the other, and not the time when the next token will be there: ten thousand
    that are told the same moment come back at that moment, and all but one of them for nothing."""

    def __init__(self, rate: float = 200.0, burst: int = 200) -> None:
        self._rate = rate
        self._burst = float(burst)
        self._left = float(burst)
        self._at: int | None = None
        self._promised = 0.0  # the time that the last one who was refused was given

    def admit(self, at: int) -> int:
        """0 when this one may go on, else after how many milliseconds it may try again."""
        if self._at is not None:
            self._left = min(self._burst, self._left + (at - self._at) * self._rate / 1_000)
        self._at = at
        if self._left >= 1:
            self._left -= 1
            return 0
        each = 1_000 / self._rate
        self._promised = max(self._promised + each, at + (1 - self._left) * each)
        return 1 + min(_LONGEST, int(self._promised - at))


async def read_hello(frames: AsyncIterator[bytes]) -> tuple[Hello, list[Any]]:
    """The hello, and what came with it in one frame. Raises ProtocolError, TimeoutError, ConnectionError."""
    async with asyncio.timeout(HELLO_LIMIT):
        async for frame in frames:
            messages = decode_agent(frame)
            if not messages:
                continue
            hello = messages[0]
            if not isinstance(hello, Hello):
                raise ProtocolError("the first message of an agent must be its hello")
            return hello, messages[1:]
    raise ConnectionResetError("the agent left before it said hello")


def unfit(hello: Hello) -> Refused | None:
    """Why this agent can never be let in, if so."""
    if hello.newest < OLDEST or hello.oldest > VERSION:
        return Refused(
            f"the agent speaks protocol {hello.oldest} to {hello.newest}, this server {OLDEST} to {VERSION}: "
            "install the same release of Styx on both"
        )
    if not hello.agent or not hello.session:
        return Refused("an agent must give its id and its session")
    if not _sound(hello.capacity):
        return Refused("an agent's capacity is counted in whole numbers, each kind of accelerator once, in order")
    return None


def _sound(capacity: Resources) -> bool:
    """Whether one can reckon with it."""
    kinds = [kind for kind, _ in capacity.accelerators]
    return (
        0 <= capacity.cpus <= MAX_CPUS * 1_000
        and 0 <= capacity.memory <= _MOST_BYTES
        and 0 <= capacity.disk <= _MOST_BYTES
        and kinds == sorted(set(kinds))
        and all(0 < count <= MAX_ACCELERATORS for _, count in capacity.accelerators)
    )
