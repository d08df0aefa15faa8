"""One agent's connection: what it says goes to the core, and what is to be said to it waits in its outbox.

A link is dumb on purpose. Everything that must survive its end is level-triggered (orders, at the next Hello) or numbered
(reports, until their Ack), so a link may be closed at any moment, by anybody, and nothing is lost.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator

import msgspec

from styx.aiokit.stall import Stall
from styx.errors import ProtocolError
from styx.protocol.messages import Heartbeat, Hello, Output
from styx.runtime.outbox import Outbox
from styx.runtime.transport import Transport

__all__ = ["Link", "LinkSettings"]

INTAKE_LIMIT = 64 << 20  # bytes of output put aside for one link; an agent's window is far smaller
_PINS = 8  # times its own size in memory is the most that a view may keep; less of its frame is copied
SEND_LIMIT = 30.0  # seconds for one frame; a peer that takes longer is gone, and its link is half open


class LinkSettings(msgspec.Struct, frozen=True):
    """Durations in milliseconds; `handshakes` a second."""

    heartbeat: int = 10_000
    suspect: int = 45_000
    lost: int = 300_000
    handshakes: float = 250.0  # so that ten thousand agents are back within a minute
    outbox: int = 64 << 20  # bytes that may wait for one agent
    release: str = ""  # this server's version


class Link:
    __slots__ = (
        "_arrived",
        "_intake",
        "_intake_size",
        "_transport",
        "agent",
        "beat",
        "draining",
        "ended",
        "files",
        "gone",
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
        self._intake: deque[Output] = deque()
        self._intake_size = 0
        self._arrived = asyncio.Event()
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
        self.gone = False  # it said that it leaves for good
        self.welcomed: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.ended = ""

    def end(self, reason: str) -> None:
        """Close it; what waits in the outbox still goes out. Whoever reads and writes it notices by themselves."""
        if not self.ended:
            self.ended = reason
            self.outbox.close()
            if not self.welcomed.done():
                self.welcomed.set_result(False)

    def put_aside(self, message: Output) -> None:
        """Keep output for `intake`, so that whoever reads the link need not wait for the disk. Raises ProtocolError when
        the agent sends more than any window allows."""
        data = message.data
        if isinstance(data, memoryview) and _PINS * len(data) < memoryview(data.obj).nbytes:
            message = Output(message.attempt, message.stream, message.offset, bytes(data))
        self._intake_size += len(data)
        if self._intake_size > INTAKE_LIMIT:
            raise ProtocolError("the agent sends output without waiting for its acknowledgement")
        self._intake.append(message)
        self._arrived.set()

    async def intake(self) -> AsyncIterator[Output]:
        """What was put aside, in order, for as long as the link lives."""
        while True:
            while self._intake:
                message = self._intake.popleft()
                self._intake_size -= len(message.data)
                yield message
            self._arrived.clear()
            await self._arrived.wait()

    async def write(self) -> None:
        """Send what gathers in the outbox until it closes, then close the transport."""
        try:
            with Stall(SEND_LIMIT) as sending:
                async for frame in self.outbox.frames():
                    sending.begins()
                    await self._transport.send(frame)
                    sending.ends()
        except (ConnectionError, TimeoutError) as error:
            self.end(f"the link broke: {error}")
        finally:
            await self._transport.close()
