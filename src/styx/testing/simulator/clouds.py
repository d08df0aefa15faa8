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
from styx.core.offers import Spot
from styx.core.resources import Resources
from styx.core.settings import CoreSettings
from styx.core.spec import JobSpec, TaskSpec
from styx.core.states import NodeState
from styx.errors import Busy, StoreError, Unreachable
from styx.protocol.messages import Run, Spec
from styx.providers.base import Machine, Order
from styx.providers.fake import FakeCloud, FakeProvider
from styx.runtime.link import LinkSettings
from styx.runtime.provisioner import Provisioner
from styx.runtime.shell import Shell, ShellSettings
from styx.runtime.transport import Transport
from styx.runtime.vault import Vault
from styx.store.base import Batch
from styx.testing.agents import Act, FakeAgent
from styx.testing.simulator.disk import Disk, Segments
from styx.testing.simulator.process import task_factory
from styx.testing.simulator.server import Server, Verbs
from styx.testing.simulator.timeloop import EPOCH, Stuck, TimeLoop

__all__ = ["CloudReport", "CloudRun"]

MINUTE = 60.0
TROUBLE = 30 * MINUTE  # virtual seconds in which things go wrong
CALM = 600 * MINUTE  # and within which all must then be put right
_LAUNCH = ("lost", "lost", "dropped", "throttled", "capacity", "quota", "unreachable", "denied")
_OTHER = ("lost", "dropped", "throttled", "denied")
_LISTING = ("partial", "stale", "lost", "throttled")
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


class _Machine:
    """A machine that boots, and the agent on it, which dials again for as long as the machine lives."""

    def __init__(self, run: CloudRun, machine: Machine, order: Order) -> None:
        self._run = run
        self.alive = True
        offer = order.offer
        self.agent = FakeAgent(run, name=order.token, labels=(("pool", order.token),), script=run.acts)
        self.agent.id = order.token
        self.agent.capacity = offer.resources
        self.agent._admission.resize(Resources(1_000, 64 << 30), offer.resources)
        self.ref = machine.ref
        self.task = run.outside(self._live())

    async def _live(self) -> None:
        chance = self._run.chance
        await asyncio.sleep(chance.uniform(5, 90))
        while self.alive:
            if self._run.joined.setdefault(self.agent.id, self.ref) != self.ref:
                return  # its join token has let in another machine's agent
            if not self.agent.connected:
                try:
                    async with asyncio.timeout(20):
                        await self.agent.connect()
                except (ConnectionError, TimeoutError):
                    await self.agent.disconnect()
            else:
                await self.agent.beat()
            await asyncio.sleep(chance.uniform(15, 25))
            for attempt in self.agent.running:
                if chance.random() < self._run.ends:
                    await self.agent.finish(attempt, code=0 if chance.random() < 0.95 else 1)

    async def die(self) -> None:
        self.alive = False
        await self.agent.disconnect()


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
        self.machines: dict[str, _Machine] = {}
        self.joined: dict[str, str] = {}  # token -> the machine whose agent joined by it
        self._calm = False
        self._rate = self.chance.choice((0.0, 0.05, 0.2, 0.4))  # of calls that fail
        self._deadly = self.chance.choice((0.0, 0.0, 0.002, 0.01))  # of points at which the server is killed
        self._ends_of_links: list[Transport] = []
        latency, settles = self.chance.choice((50, 200, 3_000)), self.chance.choice((0, 5_000, 60_000))
        careless = self.chance.random() < 0.5
        self.cloud = FakeCloud(self._now, asyncio.sleep, latency=latency, settles=settles, idempotent=not careless)
        self.cloud.faults.choose = self._fault
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
        trouble = self.loop.create_task(self._trouble())
        for _ in range(self.chance.randint(1, 4)):
            await asyncio.sleep(self.chance.uniform(0, TROUBLE / 4))
            await self._submit()
        await trouble
        self._note("faults end")
        self._calm = True
        self.cloud.faults.no_capacity.clear()
        self.cloud.faults.no_quota.clear()
        self.cloud.faults.never_boots.clear()
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
        chance = self.chance
        tasks = []
        for at in range(chance.randint(1, 3)):
            spot = chance.choice((Spot.NO, Spot.NO, Spot.PREFER, Spot.YES))
            labels = (("spot", "true"),) if spot else ()
            if chance.random() < 0.2:
                labels = (*labels, ("zone", "fake-1b"))
            cpus = chance.choice((1, 2, 4, 8, 30))
            tasks.append(
                TaskSpec(
                    f"t{at}",
                    ("true",),
                    array=chance.choice((0, 0, 3, 12)),
                    resources=Resources(cpus * 1_000, (1 << 30) * chance.choice((0, 1, 2))),
                    labels=tuple(sorted(labels)),
                    spot=spot,
                    retries=2,
                    max_lost=50,
                    exclusive=chance.random() < 0.3,
                )
            )
        budget = chance.choice((0, 0, 0, 200_000))
        spec = JobSpec("j", tuple(tasks), budget=budget)
        self._note(f"submit {[(task.array or 1, task.resources.cpus // 1_000, task.spot.name) for task in tasks]}")
        while True:
            try:
                await self._server.call(_submission(spec))
            except (Unreachable, Busy, StoreError):
                await asyncio.sleep(5)
            else:
                return

    async def _trouble(self) -> None:
        chance, faults = self.chance, self.cloud.faults
        until = self.loop.time() + TROUBLE
        while self.loop.time() < until:
            await asyncio.sleep(chance.expovariate(1 / 90))
            what = chance.choice(("capacity", "quota", "preempt", "kill", "mute", "better", "cut", "stop"))
            zone = chance.choice(("fake-1a", "fake-1b", "fake-2a"))
            if what == "capacity":
                faults.no_capacity.add((zone, chance.choice(("", "small", "medium"))))
            elif what == "quota":
                faults.no_quota.add(zone[:-1])
            elif what == "mute":
                faults.never_boots.add(zone)
            elif what == "better":
                faults.no_capacity.clear()
                faults.no_quota.clear()
                faults.never_boots.clear()
            elif what == "preempt":
                spots = sorted(ref for ref, order in self.cloud.alive.items() if order.offer.spot)
                if spots:
                    self.cloud.take(chance.choice(spots), "taken back")
            elif what == "cut" and self.machines:
                machine = self.machines[chance.choice(sorted(self.machines))]
                await machine.agent.disconnect()
            elif what == "kill" and self._deadly:
                self._kill("at any moment")
            elif what == "stop" and self._deadly:
                await self._server.stop()
            else:
                continue
            self._note(what)

    def _kill(self, where: str) -> None:
        if self._server.up and not self._calm:
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
        if not self._calm and self.chance.random() < self._deadly:
            self._kill(where)

    def _fault(self, call: str) -> str | None:
        if self._calm or self.chance.random() >= self._rate:
            return None
        fault = self.chance.choice({"launch": _LAUNCH, "terminate": _OTHER, "listing": _LISTING}[call])
        self._note(f"{call}: {fault}")
        return fault

    # -- what happens -------------------------------------------------------------------------------------------

    async def connect(self, transport: Transport) -> None:
        """An agent dials."""
        self._ends_of_links.append(transport)
        self._server.accept(transport)

    def acts(self, spec: Spec, run: Run) -> Act:
        return Act(hold=True)

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
        self.machines[machine.ref] = _Machine(self, machine, order)

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
