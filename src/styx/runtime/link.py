"""One agent's connection: what it says goes to the core, and what is to be said to it waits in its outbox.

A link is dumb on purpose. Everything that must survive its end is level-triggered (orders, at the next Hello) or numbered
(reports, until their Ack), so a link may be closed at any moment, by anybody, and nothing is lost.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from styx.protocol.messages import Heartbeat, Hello
from styx.runtime.outbox import Outbox
from styx.runtime.transport import Transport

__all__ = ["Link", "OutputSink"]

SEND_LIMIT = 30.0  # seconds for one frame; a peer that takes longer is gone, and its link is half open


class OutputSink(Protocol):
    """Where the output of attempts goes (`runtime.collector`)."""

    async def write(self, link: Link, attempt: int, stream: int, offset: int, data: bytes) -> None: ...


class Link:
    __slots__ = (
        "_transport",
        "agent",
        "beat",
        "draining",
        "ended",
        "files",
        "host",
        "node",
        "outbox",
        "owned",
        "seen",
        "session",
        "welcomed",
    )

    def __init__(self, hello: Hello, transport: Transport, *, outbox_limit: int = 64 << 20) -> None:
        self._transport = transport
        self.agent = hello.agent
        self.session = hello.session
        self.host = hello.host
        self.node = 0  # known once the core has heard of the agent
        self.seen = 0  # the last Report number that went to the core
        self.outbox = Outbox(outbox_limit)
        self.beat = Heartbeat(0)  # the latest figures
        self.owned: dict[int, bool] = {}  # ended attempts whose output may, or may not, come from here
        self.files: dict[tuple[int, int], tuple[int, ...]] = {}  # (job, task) -> which results it was sent
        self.draining = hello.draining
        self.welcomed: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.ended = ""

    def end(self, reason: str) -> None:
        """Close it; what waits in the outbox still goes out. Whoever reads and writes it notices by themselves."""
        if not self.ended:
            self.ended = reason
            self.outbox.close()
            if not self.welcomed.done():
                self.welcomed.set_result(False)

    async def write(self) -> None:
        """Send what gathers in the outbox until it closes, then close the transport."""
        try:
            async for frame in self.outbox.frames():
                async with asyncio.timeout(SEND_LIMIT):
                    await self._transport.send(frame)
        except (ConnectionError, TimeoutError) as error:
            self.end(f"the link broke: {error}")
        finally:
            await self._transport.close()
