"""A server with a real adapter, over HTTP, against a cloud that fails: one job on machines that are brought up for it, while the server
is cut off at any moment and started again, and then the question whether a machine is left.

The shell, the provisioner and the SDK are the shipping ones, in real time with short waits; only the machines' agents are made up.
A run has a database and so a mark of its own, which lets many go on side by side against one cloud.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from styx.core.resources import Resources
from styx.core.settings import CoreSettings
from styx.core.spec import JobSpec, TaskSpec
from styx.core.states import NodeState
from styx.errors import StyxError
from styx.protocol.messages import Run, Spec
from styx.providers.base import CLUSTER_TAG, TOKEN_TAG, Provider
from styx.runtime.plane import Plane
from styx.runtime.provisioner import Provisioner
from styx.runtime.shell import Shell, ShellSettings
from styx.runtime.transport import Transport
from styx.runtime.vault import Vault
from styx.store.memory import MemoryStore
from styx.testing.agents import Act, FakeAgent

__all__ = ["Alive", "PlacesRun"]

SETTINGS = CoreSettings(
    max_instances=4,
    idle_timeout=100,
    frugal_timeout=50,
    boot_limit=3_000,
    silent_limit=2_000,
    give_up=2_000,
    ask_again=20,
    settle=150,
    orphan_age=300,
    tend_every=20,
    list_every=300,
    list_soon=100,
    list_idle=500,
    charge_every=200,
)
Alive = Callable[[], Awaitable[dict[str, dict[str, str]]]]
"""The machines that really exist: their tags, by ref."""


class PlacesRun:
    """`make` gives a provider as a new process would; `trouble` breaks something in the cloud, drawn from the dice it is given."""

    def __init__(
        self,
        seed: int,
        name: str,
        make: Callable[[], Provider],
        alive: Alive,
        trouble: Callable[[random.Random], None],
    ) -> None:
        self.seed = seed
        self.dice = random.Random(seed)
        self._name = name
        self._make = make
        self._alive = alive
        self._trouble = trouble
        self._store = MemoryStore()
        self._vault = Vault()
        self._shell: Shell | None = None
        self._agents: dict[str, FakeAgent] = {}
        self.cluster = ""

    async def run(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            self._folder = Path(folder)
            await self._start()
            helpers = [asyncio.create_task(self._boot()), asyncio.create_task(self._break())]
            try:
                await self._job()
                helpers[1].cancel()
                await self._until_nothing_is_left()
            finally:
                for helper in helpers:
                    helper.cancel()
                await asyncio.gather(*helpers, return_exceptions=True)
                for agent in self._agents.values():
                    await agent.disconnect()
                await self._cut()

    async def connect(self, transport: Transport) -> None:
        """An agent dials whatever server there is."""
        shell = self._shell
        if shell is None:
            await transport.close()
        else:
            await shell.hub.connect(transport)

    async def _start(self) -> None:
        shell = await Shell.open(
            self._store, self._folder / "output", settings=ShellSettings(core=SETTINGS), vault=self._vault
        )
        self.cluster = shell.incarnation
        provider = self._make()
        Provisioner.open(
            shell, {self._name: provider}, self._folder, self._vault, _archives, public_url="http://styx.invalid"
        )
        self._shell = shell

    async def _cut(self) -> None:
        """As kill -9 leaves it: nothing that was under way goes on, and nobody is told."""
        shell, self._shell = self._shell, None
        if shell is None:
            return
        tasks = list(shell.supervisor._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if shell._tick is not None:
            shell._tick.cancel()
        shell.lag.stop()
        for agent in self._agents.values():
            await agent.disconnect()
        if shell.provisioner is not None:
            await shell.provisioner.close()
        await shell.output.close()

    async def _job(self) -> None:
        dice = self.dice
        tasks = tuple(
            TaskSpec(
                f"t{at}",
                ("true",),
                resources=Resources(2_000),
                array=dice.choice((0, 3)),
                labels=(("provider", self._name),),
                max_lost=100,
            )
            for at in range(dice.randint(1, 2))
        )
        identifier = ""
        while not identifier:
            with suppress(StyxError):
                if self._shell is not None:
                    identifier = (await Plane(self._shell).submit_spec(JobSpec("j", tasks))).job_id
            await asyncio.sleep(0.05)
        while True:
            with suppress(StyxError):
                if self._shell is not None and (await Plane(self._shell).job(identifier)).ended_at:
                    return
            await asyncio.sleep(0.05)

    async def _break(self) -> None:
        """Faults, and a server that is cut off, until the job has ended."""
        dice = self.dice
        for _ in range(dice.randint(1, 8)):
            await asyncio.sleep(dice.uniform(0, 0.3))
            self._trouble(dice)
            if dice.random() < 0.4:
                await self._cut()
                await asyncio.sleep(dice.uniform(0, 0.2))
                await self._start()

    async def _boot(self) -> None:
        """Machines of this run that exist bring their agents; those that are gone take them along."""
        while True:
            there = await self._mine()
            for ref, token in there.items():
                agent = self._agents.get(ref)
                if agent is None:
                    agent = self._agents[ref] = self._agent(token)
                if not agent.connected and self._shell is not None:
                    try:
                        async with asyncio.timeout(1):
                            await agent.connect()
                    except (ConnectionError, TimeoutError):
                        await agent.disconnect()
            for ref in [ref for ref in self._agents if ref not in there]:
                await self._agents.pop(ref).disconnect()
            await asyncio.sleep(0.1)

    def _agent(self, token: str) -> FakeAgent:
        agent = FakeAgent(self, name=token, cpus=2, labels=(("pool", token),), script=_quick)
        agent.id = token
        return agent

    async def _mine(self) -> dict[str, str]:
        return {
            ref: tags.get(TOKEN_TAG, "")
            for ref, tags in (await self._alive()).items()
            if tags.get(CLUSTER_TAG) == self.cluster
        }

    async def _until_nothing_is_left(self) -> None:
        async with asyncio.timeout(300):
            while True:
                left = await self._mine()
                shell = self._shell
                if not left and shell is not None and not _believed(shell):
                    return
                await asyncio.sleep(0.1)


def _quick(spec: Spec, run: Run) -> Act:
    return Act()


def _believed(shell: Shell) -> list[str]:
    nodes = shell.engine.world.nodes.values()
    return [node.name for node in nodes if node.instance is not None and node.state != NodeState.GONE]


async def _archives() -> tuple[tuple[str, str, str], ...]:
    return (("cp311", "x86_64", "0" * 64),)
