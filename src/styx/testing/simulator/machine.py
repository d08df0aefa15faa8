"""A machine: its agent process with the shipping session and runner, its owner process, and its programs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from random import Random

from styx.agent.link import LocalLink
from styx.agent.output import OutputWindow
from styx.agent.ports import OwnerPort, ServerPort
from styx.agent.results import DropResults, WriteResults
from styx.agent.runner import AgentRunner
from styx.agent.session import Profile, Session
from styx.aiokit.backoff import Backoff
from styx.core.resources import Resources
from styx.errors import StyxError
from styx.testing.simulator.network import Network
from styx.testing.simulator.owner import Owner
from styx.testing.simulator.process import Process
from styx.testing.simulator.program import Program, Witness
from styx.testing.simulator.server import Server
from styx.testing.simulator.timeloop import TimeLoop

__all__ = ["Machine"]


class Machine:
    """`window` is how many bytes of output the agent may owe. `wrong` hears of what must not happen."""

    def __init__(
        self,
        name: str,
        capacity: Resources,
        labels: tuple[tuple[str, str], ...],
        window: int,
        *,
        loop: TimeLoop,
        network: Network,
        server: Server,
        witness: Witness,
        chance: Random,
        wrong: Callable[[str], None],
    ) -> None:
        self.name = name
        self.capacity = capacity
        self.labels = labels
        self.owner: Owner | None = None
        self.process: Process | None = None
        self.session: Session | None = None
        self.folders: dict[str, dict[str, bytes]] = {}  # $STYX_RESULTS folders on its disk
        self._window = window
        self._loop = loop
        self._network = network
        self._server = server
        self._witness = witness
        self._chance = chance
        self._wrong = wrong
        self._runner: AgentRunner | None = None
        self._boot = 1
        self._sessions = 0
        self._owners = 0
        self._connections = 0
        self._dials = 0
        self._orphans: list[tuple[Owner, Program]] = []

    @property
    def up(self) -> bool:
        """Its agent runs."""
        return self.process is not None and self.process.alive

    @property
    def knows_it_is_cut_off(self) -> bool:
        """Its agent has noticed that its lease is over, and is in touch with the owner."""
        connection = self.owner.connection if self.owner is not None else None
        in_touch = connection is not None and connection.configured and not connection.broken
        return self.up and in_touch and self.session is not None and self.session.cut_off

    @property
    def history(self) -> tuple[int, ...]:
        """Differs once anything has begun anew: the agent, the owner, or a connection of theirs."""
        return self._boot, self._sessions, self._owners, self._connections, self._dials

    @property
    def draining(self) -> bool:
        return self.session is not None and self.session.draining

    @property
    def at_rest(self) -> bool:
        """Nothing is held, nothing is owed."""
        held = self.owner is not None and self.owner.alive and bool(self.owner.held)
        return not held and (self.session is None or not self.session.owed)

    def trusts_its_lease(self, now: int) -> bool:
        """Whether the agent thinks that the server has not given its attempts to others."""
        if self.session is None:
            return False
        end = self.session.pulse.lease_end  # what it says in public it may say late, at its next tick
        return end is not None and now < end

    def start(self) -> None:
        """Start the agent, unless it runs."""
        if self.up:
            return
        self._sessions += 1
        self.session = Session(
            Profile(
                f"agent-{self.name}",
                self.name,
                f"host-{self.name}",
                f"boot-{self._boot}",
                f"{self.name}-session-{self._sessions}",
                "sim",
                self.capacity,
                self.labels,
            ),
            window=OutputWindow(self._window),
        )
        self._runner = runner = AgentRunner(
            self.session,
            self._open_owner,
            self._dial,
            clock=self._loop.now,
            backoff=lambda: Backoff(0.2, 10.0, jitter=1.0, draw=self._chance.random),
            files=self._apply,
        )
        self.process = Process(f"agent of {self.name}", self._loop, self._wrong)
        self.process.start(self._run(runner, self.process))

    def crash(self) -> None:
        """The agent program is killed; the owner and its programs stay."""
        if self.process is not None:
            self.process.kill()
        if self.owner is not None and self.owner.connection is not None:
            self.owner.connection.snap()
            self.owner.connection = None

    def kill_owner(self) -> None:
        """The owner is killed. Its programs go on until there is another owner, which ends them."""
        if self.owner is not None and self.owner.alive:
            self._orphans += [(self.owner, program) for program in self.owner.die()]

    def reboot(self) -> None:
        """The power goes: nothing that ran is left, and all connections are half open."""
        if self.process is not None:
            self.process.on_kill.clear()  # nobody says goodbye
            for wire in self._network.of(self.name):
                wire.agent.deaf = True
                wire.agent.over()
        self.crash()
        self.kill_owner()
        self._end_orphans()
        self._boot += 1
        self.folders.clear()

    def snap_owner(self) -> None:
        """The connection between agent and owner breaks."""
        if self.owner is not None and self.owner.connection is not None:
            self.owner.connection.snap()

    def drain(self) -> None:
        if self.up and self._runner is not None:
            self._runner.drain("the machine is wanted for something else")

    async def _run(self, runner: AgentRunner, process: Process) -> None:
        try:
            await runner.run()
        except StyxError as error:
            self._wrong(f"the agent of {self.name} gave up: {error}")
        process.kill()

    async def _open_owner(self) -> OwnerPort:
        await asyncio.sleep(0.002)
        if self.owner is None or not self.owner.alive:
            await asyncio.sleep(0.05)
            self._end_orphans()
            self._owners += 1
            self.owner = Owner(self._loop, self.name, f"owner-{self._owners}", self._witness, self._wrong)
        self._connections += 1
        return self.owner.connect()

    def _end_orphans(self) -> None:
        orphans, self._orphans = self._orphans, []
        for owner, program in orphans:
            if program.state == 1:
                owner.kill_program(program)

    async def _dial(self) -> ServerPort:
        assert self.process is not None
        self._dials += 1
        wire = await self._network.dial(self.name, self.process, self._server.process)
        self._server.accept(wire.server)
        return LocalLink(wire.agent)

    def _apply(self, orders: Iterable[WriteResults | DropResults]) -> None:
        for order in orders:
            if isinstance(order, DropResults):
                self.folders.pop(order.folder, None)
            else:
                self.folders.setdefault(order.folder, {}).update(order.files)
