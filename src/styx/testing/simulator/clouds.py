"""One run with a cloud: machines that are brought up for drawn work, under every fault, with a server that is killed at any point.

    report = CloudRun(seed).run()
    assert report.violation == "", report.script

The shipping shell and provisioner run in virtual time against the fake cloud, and machines that boot bring agents that speak the real
protocol. While it goes on, two things must never happen: a machine ended by us whose agent is connected and at work, unless somebody
asked for it, and two machines for one intent (where the cloud knows idempotency tokens; where not, the second is to go). After the faults have ended, all work must end, and then no machine may be left: not
in the cloud, whatever the server believes, and not in its belief either. What was charged must be what the cloud would bill.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import copy_context
from pathlib import Path
from random import Random
from typing import Any

import msgspec

from styx.core.apply import BrokenInvariant
from styx.core.effects import PlaceEffect, Step
from styx.core.engine import Engine
from styx.core.events import Event
from styx.core.invariants import check
from styx.core.records import InstanceIntended
from styx.core.settings import CoreSettings
from styx.core.spec import JobSpec
from styx.core.states import NodeState
from styx.errors import Busy, StoreError, Unreachable
from styx.providers.base import Machine, Order
from styx.providers.fake import FakeCloud, FakeProvider
from styx.runtime.link import LinkSettings
from styx.runtime.provisioner import Provisioner
from styx.runtime.shell import Shell, ShellSettings
from styx.runtime.transport import Transport
from styx.runtime.vault import Vault
from styx.store.base import Batch
from styx.testing.simulator.cloud_weather import Weather
from styx.testing.simulator.cloud_work import CloudMachine, draw_job
from styx.testing.simulator.disk import Disk, Segments
from styx.testing.simulator.process import task_factory
from styx.testing.simulator.server import Server, Verbs
from styx.testing.simulator.timeloop import EPOCH, Stuck, TimeLoop

__all__ = ["CloudReport", "CloudRun"]

MINUTE = 60.0
TROUBLE = 30 * MINUTE  # virtual seconds in which things go wrong
CALM = 600 * MINUTE  # and within which all must then be put right
SETTINGS = CoreSettings(
    max_instances=6,
    idle_timeout=180_000,
    tend_every=20_000,
    boot_limit=300_000,
    silent_limit=300_000,
    give_up=300_000,
    charge_every=120_000,
)


class CloudReport(msgspec.Struct, frozen=True):
    """How a run went. `violation` says what did not hold, and is empty when everything did."""

    seed: int
    violation: str
    script: str
    launched: int
    kills: int
    calls: int


class CloudRun:
    """Everything is drawn from the seed. Also the Acceptor that the agents dial."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.chance = Random(seed)
        self.loop = TimeLoop()
        self.loop.set_task_factory(task_factory)
        self._outside = copy_context()
        self.ends = self.chance.choice((0.02, 0.2, 0.5))
        self.kills = 0
        self.notes: list[str] = []
        self.violation = ""
        self.machines: dict[str, CloudMachine] = {}
        self.joined: dict[str, str] = {}  # token -> the machine whose agent joined by it
        self._weather = Weather(self.chance, self._note)
        self._ends_of_links: list[Transport] = []
        latency, settles = self.chance.choice((50, 200, 3_000)), self.chance.choice((0, 5_000, 60_000))
        careless = self.chance.random() < 0.5
        self.cloud = FakeCloud(self._now, asyncio.sleep, latency=latency, settles=settles, idempotent=not careless)
        self.cloud.faults.choose = self._weather.fault
        self.cloud.booted = self._booted
        self.cloud.ended = self._ended
        self.cloud.asked_to_end = self._asked_to_end
        self._vault = Vault()
        self._tokens: dict[str, str] = {}
        disk = Disk(self.chance, self._point, self._durable)
        disk.slow = 0.01
        self._server = Server(
            self.loop,
            self.chance,
            ShellSettings(core=SETTINGS, links=LinkSettings(heartbeat=20_000, suspect=60_000, lost=120_000)),
            disk=disk,
            segments=Segments(disk),
            stepped=self._stepped,
            point=self._point,
            ready=self._ready,
            wrong=self._wrong,
        )

    def run(self) -> CloudReport:
        quiet = logging.getLogger("styx")
        level = quiet.level
        quiet.setLevel(logging.CRITICAL)
        try:
            self.loop.run_until_complete(self._all())
        except Stuck as error:
            self._wrong(str(error))
        finally:
            quiet.setLevel(level)
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            self.loop.run_until_complete(asyncio.sleep(0))
            self.loop.close()
        script = "\n".join(self.notes)
        return CloudReport(self.seed, self.violation, script, self.cloud.launched, self.kills, self.cloud.calls)

    async def _all(self) -> None:
        self._server.start()
        guard = self.loop.create_task(self._keep_up())
        trouble = self.loop.create_task(
            self._weather.storm(TROUBLE, self.cloud, self.machines, self._kill, self._server.stop)
        )
        for _ in range(self.chance.randint(1, 4)):
            await asyncio.sleep(self.chance.uniform(0, TROUBLE / 4))
            await self._submit()
        await trouble
        self._weather.clear(self.cloud)
        until = self.loop.time() + CALM
        while self.loop.time() < until and not self.violation:
            await asyncio.sleep(MINUTE)
            if self._settled():
                break
        self._judge()
        guard.cancel()
        for machine in self.machines.values():
            await machine.die()
        self._server.kill()

    def outside(self, body: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something that is no part of the server, though it may have begun in a call of its."""
        return self.loop.create_task(body, context=self._outside.copy())

    # -- what is done -------------------------------------------------------------------------------------------

    async def _submit(self) -> None:
        spec = draw_job(self.chance)
        said = [(task.array or 1, task.resources.cpus // 1_000, task.spot.name) for task in spec.tasks]
        self._note(f"submit {said}")
        while True:
            try:
                await self._server.call(_submission(spec))
            except (Unreachable, Busy, StoreError):
                await asyncio.sleep(5)
            else:
                return

    def _kill(self, where: str) -> None:
        if self._server.up and not self._weather.calm:
            self.kills += 1
            self._note(f"the server is killed {where}")
            self._server.kill()
            self._close_links()

    def _close_links(self) -> None:
        ends, self._ends_of_links = self._ends_of_links, []
        for end in ends:
            self.outside(end.close())

    async def _keep_up(self) -> None:
        """Whoever looks after the server starts it again."""
        while True:
            await asyncio.sleep(self.chance.uniform(1, 20))
            if not self._server.up:
                self._close_links()
                self._server.start()

    def _point(self, where: str) -> None:
        if self._weather.strikes():
            self._kill(where)

    # -- what happens -------------------------------------------------------------------------------------------

    async def connect(self, transport: Transport) -> None:
        """An agent dials."""
        self._ends_of_links.append(transport)
        self._server.accept(transport)

    def _ready(self) -> None:
        shell = self._server.shell
        assert shell is not None
        provider = FakeProvider(self.cloud)
        Provisioner.open(shell, {"fake": provider}, Path(), self._vault, _archives, public_url="http://styx")
        perform = shell.dispatch.places

        def watched(effect: PlaceEffect) -> None:
            self._point("between two calls")
            if self._server.up or shell is self._server.shell:
                perform(effect)

        shell.dispatch.places = watched

    def _booted(self, machine: Machine, order: Order) -> None:
        known = self._tokens.setdefault(order.token, machine.ref)
        if known != machine.ref and known in self.machines and self.cloud.idempotent:
            self._wrong(f"{machine.ref} is brought up for the intent of {known}")
        booted = CloudMachine(machine.ref, order, self, self.chance, self.joined, self.ends)
        booted.task = self.outside(booted.live())
        self.machines[machine.ref] = booted

    def _ended(self, machine: Machine) -> None:
        running = self.machines.pop(machine.ref, None)
        if running is not None:
            self.outside(running.die())

    def _asked_to_end(self, ref: str) -> None:
        """A machine may be ended by us only when nothing runs on it that the server has heard of lately."""
        machine = self.machines.get(ref)
        shell = self._server.shell
        if machine is None or shell is None or not machine.agent.connected:
            return
        node = shell.engine.world.nodes.get(machine.agent.node)
        if node is not None and node.connected and node.held:
            self._wrong(f"{ref} is ended while {len(node.held)} attempts are under way on it and its agent is here")

    def _stepped(self, engine: Engine, event: Event, step: Step) -> None:
        if not step.records:
            return
        try:
            check(engine.world)
        except BrokenInvariant as error:
            self._wrong(f"after {type(event).__name__}: {error}")
        if not any(type(record) is InstanceIntended for record in step.records):
            return  # one that the cloud called ended may come back for a moment, which makes one more than were ordered
        there = [n for n in engine.world.nodes.values() if n.instance is not None and n.state != NodeState.GONE]
        if len(there) > SETTINGS.max_instances:
            self._wrong(f"{len(there)} machines, {SETTINGS.max_instances} are allowed")

    def _durable(self, batch: Batch) -> None:
        return

    # -- what must be so in the end -----------------------------------------------------------------------------

    def _settled(self) -> bool:
        shell = self._server.shell
        if shell is None or not self._server.up:
            return False
        world = shell.engine.world
        return not world.jobs and not self.cloud.alive and not _believed(shell)

    def _judge(self) -> None:
        if self.violation:
            return
        shell = self._server.shell
        if shell is None:
            self._wrong("the server is not up in calm weather")
            return
        world = shell.engine.world
        for job in world.jobs.values():
            states = {task.spec.name: bytes(task.states).hex() for task in job.tasks}
            self._wrong(f"job {job.serial} has not ended: {states}; told: {shell.engine.places.told}")
        for ref, order in self.cloud.alive.items():
            self._wrong(f"{ref} of {order.token} is leaked")
        for name in _believed(shell):
            self._wrong(f"{name} is gone, and the server still believes in it")

    def _wrong(self, what: str) -> None:
        if not self.violation:
            self.violation = what
            self._note(f"VIOLATION: {what}")

    def _note(self, what: str) -> None:
        self.notes.append(f"{self.loop.time():9.1f} s  {what}")

    def _now(self) -> int:
        return EPOCH + self.loop.now()


def _believed(shell: Shell) -> list[str]:
    return [
        f"{node.name} ({node.state})"
        for node in shell.engine.world.nodes.values()
        if node.instance is not None and node.state != NodeState.GONE
    ]


def _submission(spec: JobSpec) -> Callable[[Verbs], Awaitable[Any]]:
    return lambda verbs: verbs.submissions.submit(spec)


async def _archives() -> tuple[tuple[str, str, str], ...]:
    return (("cp311", "x86_64", "0" * 64),)
