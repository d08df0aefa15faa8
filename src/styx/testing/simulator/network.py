"""The network between agents and the server: connections that delay, break, stay half open, and are cut off.

A connection behaves as TCP does: frames arrive whole and in order, or the connection ends. So loss is a connection that breaks
with frames on their way, reordering happens between connections only, and what arrives twice was sent twice. A machine that is
cut off keeps its connections: what is sent waits, and arrives when the cut is over, unless one side has given up by then.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from random import Random

from styx.errors import Unreachable
from styx.testing.simulator.process import Process
from styx.testing.simulator.timeloop import TimeLoop

__all__ = ["End", "Network", "Wire"]

WINDOW = 64  # frames that may be on their way
DIAL_LIMIT = 10.0  # seconds until a dial into nowhere is given up


class End:
    """One end of a connection, as a Transport. `heard` is told of each frame that its process reads."""

    def __init__(self, wire: Wire, process: Process, heard: Callable[[bytes], None] | None = None) -> None:
        self.wire = wire
        self.process = process
        self.peer: End
        self.open = True  # this side neither closed it nor knows that it is over
        self.deaf = False  # whatever is sent to this end is lost, and this end is not told
        self._heard = heard
        self._flying: deque[bytes | None] = deque()  # on the way to this end; None is the end of the connection
        self._held = 0  # of these, due but kept back by a cut
        self._arrived: deque[bytes] = deque()
        self._last = 0.0
        self._stir = asyncio.Event()

    async def send(self, frame: bytes) -> None:
        if not self.process.alive:
            raise ConnectionResetError("this process is dead")
        while self.open and len(self.peer._flying) >= WINDOW:
            self._stir.clear()
            await self._stir.wait()
        if not self.open:
            raise ConnectionResetError("the connection is closed")
        self.wire.sent(self, frame)
        self.peer.fly(frame)

    async def close(self) -> None:
        self.shut()

    def shut(self) -> None:
        """This side is done with it; the other side hears of that."""
        if self.open:
            self.open = False
            self._stir.set()
            self.peer.fly(None)

    def over(self) -> None:
        """This end learns that the connection is gone."""
        if self.open:
            self.open = False
            self._stir.set()

    def fly(self, frame: bytes | None) -> None:
        """Something is on its way to this end."""
        if self.deaf or not self.process.alive:
            return
        network = self.wire.network
        self._flying.append(frame)
        self._last = max(self._last, network.loop.time() + network.delay())
        network.loop.call_at(self._last, self._due)

    def _due(self) -> None:
        if self.wire.machine in self.wire.network.cut:
            self._held += 1
        else:
            self.process.call(self._arrive)

    def heal(self) -> None:
        """The cut is over: what was kept back arrives."""
        held, self._held = self._held, 0
        for _ in range(held):
            self.process.call(self._arrive)

    def _arrive(self) -> None:
        if not self._flying:
            return
        frame = self._flying.popleft()
        self.peer._stir.set()
        if not self.open:
            return
        if frame is None:
            self.over()
        else:
            self._arrived.append(frame)
            self._stir.set()

    def lose(self, chance: Random) -> None:
        """Some of what is on its way to this end will not arrive: a suffix of it."""
        kept = chance.randint(0, len(self._flying))
        while len(self._flying) > kept:
            self._flying.pop()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            while self._arrived:
                frame = self._arrived.popleft()
                if self._heard is not None:
                    self._heard(frame)
                yield frame
            if not self.open:
                return
            self._stir.clear()
            await self._stir.wait()


class Wire:
    """One connection of one machine."""

    def __init__(self, network: Network, machine: str, server: Process, agent: Process) -> None:
        self.network = network
        self.machine = machine
        self.server = End(self, server, lambda frame: network.on_heard(machine))
        self.agent = End(self, agent)
        self.server.peer, self.agent.peer = self.agent, self.server
        for end in (self.server, self.agent):
            end.process.on_kill.append(end.shut)

    def sent(self, end: End, frame: bytes) -> None:
        if end is self.server:
            self.network.on_sent(self.machine, frame)

    def reset(self, chance: Random, how: str) -> None:
        """Break it. `how`: "both" ends are told, or only the "agent" or the "server", and the other is left half open; or "none"."""
        for end, told in ((self.server, "server"), (self.agent, "agent")):
            end.lose(chance)
            end.deaf = True
            if how in {"both", told}:
                end.process.call(end.over)

    @property
    def done(self) -> bool:
        return not self.server.open and not self.agent.open


class Network:
    """`slow` is the longest delay of a frame in seconds. `on_sent` sees every frame of the server, `on_heard` is told when the server
    has read one."""

    def __init__(
        self,
        loop: TimeLoop,
        chance: Random,
        *,
        on_sent: Callable[[str, bytes], None],
        on_heard: Callable[[str], None],
    ) -> None:
        self.loop = loop
        self.chance = chance
        self.slow = 0.005
        self.cut: dict[str, int] = {}  # machine -> how many cuts are open
        self.wires: list[Wire] = []
        self.on_sent = on_sent
        self.on_heard = on_heard

    def delay(self) -> float:
        return 0.0002 + self.slow * self.chance.random()

    async def dial(self, machine: str, agent: Process, server: Process | None) -> Wire:
        """A new connection. Raises Unreachable."""
        await asyncio.sleep(2 * self.delay())
        if machine in self.cut:
            await asyncio.sleep(DIAL_LIMIT)
            raise Unreachable("no answer")
        if server is None or not server.alive:
            raise Unreachable("connection refused")
        self.wires = [wire for wire in self.wires if not wire.done]
        wire = Wire(self, machine, server, agent)
        self.wires.append(wire)
        return wire

    def of(self, machine: str) -> list[Wire]:
        return [wire for wire in self.wires if wire.machine == machine and not wire.done]

    def sever(self, machine: str) -> None:
        self.cut[machine] = self.cut.get(machine, 0) + 1

    def heal(self, machine: str) -> None:
        left = self.cut.get(machine, 0) - 1
        if left > 0:
            self.cut[machine] = left
        elif machine in self.cut:
            del self.cut[machine]
            for wire in self.of(machine):
                wire.server.heal()
                wire.agent.heal()
