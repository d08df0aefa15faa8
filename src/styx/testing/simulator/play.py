"""One run: the cluster of a plan, what is done to it, and whether everything held.

    report = Simulator(seed).run()
    assert report.violation == "", report.script

The shipping shell (engine, loop, committer, hub, links, leases, dispatch, collector, output) and the shipping agent (session, runner)
run in one event loop in virtual time. After the plan's window all faults end, everybody comes back, and all accepted work must
come to its end.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from random import Random
from typing import Any

import msgspec

from styx.core.apply import BrokenInvariant
from styx.core.effects import Step
from styx.core.engine import Engine
from styx.core.events import AgentLost, AgentSuspected, Event, PlacementDue
from styx.core.invariants import check
from styx.core.records import NodeLost, Record
from styx.runtime.shell import ShellSettings
from styx.store.base import Batch
from styx.testing.simulator.books import Books
from styx.testing.simulator.deeds import Deeds
from styx.testing.simulator.disk import Disk, Segments
from styx.testing.simulator.holding import (
    balanced,
    durable_first,
    lost_alone,
    nobody_waits_for_nothing,
    same_when_rebuilt,
    started_in_time,
)
from styx.testing.simulator.ledger import Ledger
from styx.testing.simulator.listening import Listening
from styx.testing.simulator.machine import Machine
from styx.testing.simulator.network import Network
from styx.testing.simulator.plan import Plan, draw
from styx.testing.simulator.process import task_factory
from styx.testing.simulator.running import Running
from styx.testing.simulator.server import Server
from styx.testing.simulator.timeloop import Stuck, TimeLoop

__all__ = ["Report", "Simulator"]

SPINNING = 3_000  # steps at one moment
REBUILT = 0.03  # share of the commits after which the world is rebuilt from the store and compared


class Report(msgspec.Struct, frozen=True):
    """How a run went. `violation` says what did not hold, and is empty when everything did. `digest` is of all durable records."""

    seed: int
    violation: str
    script: str
    digest: str
    attempts: int
    commits: int
    lasted: int  # virtual milliseconds


class Violation(Exception):
    """Something did not hold."""


class Simulator:
    """A run of `seed`, or of a plan that was made from one by leaving things out."""

    def __init__(self, seed: int = 0, *, plan: Plan | None = None) -> None:
        self.plan = draw(seed) if plan is None else plan
        chance = Random(~self.plan.seed)
        self._chance = chance
        self._loop = TimeLoop(lambda: chance.random() * 0.002)
        self._loop.set_task_factory(task_factory)
        self._loop.set_exception_handler(self._unhandled)
        self._script: list[tuple[int, str, tuple[Any, ...]]] = []
        self._records: list[Record] = []
        self._over: asyncio.Future[None]
        self._commits = 0
        self._steps = 0  # at one moment
        self._stepped_at = 0
        self._listening = Listening()
        self.books = Books()
        self._ledger = Ledger(self.books, self._wrong, self._note, self._expect_stopped)
        running = Running(
            self.books,
            self._wrong,
            self._note,
            self._files,
            lambda name: self.machines[name].capacity,
            lambda name: self.machines[name].knows_it_is_cut_off,
        )
        self.network = Network(self._loop, chance, on_sent=self._sent, on_heard=self._heard)
        self.network.slow = self.plan.slow_network
        self.disk = Disk(chance, self._point, self._durable)
        self.disk.slow = self.plan.slow_disk
        self.segments = Segments(self.disk)
        self.server = Server(
            self._loop,
            chance,
            ShellSettings(core=self.plan.core, links=self.plan.links),
            disk=self.disk,
            segments=self.segments,
            stepped=self._stepped,
            point=self._point,
            ready=self._ready,
            wrong=self._wrong,
        )
        self.machines = {
            place.name: Machine(
                place.name,
                place.capacity,
                place.labels,
                place.window,
                loop=self._loop,
                network=self.network,
                server=self.server,
                witness=running,
                chance=chance,
                wrong=self._wrong,
            )
            for place in self.plan.places
        }
        self._deeds = Deeds(
            self._loop,
            chance,
            self.server,
            self.machines,
            self.network,
            self.disk,
            self._listening,
            last_look=self._compare_rebuilt,
            note=self._note,
            wrong=self._wrong,
        )

    def run(self) -> Report:
        """Let it happen. Never raises because of what was found: that is in the report."""
        logger = logging.getLogger("styx")
        level = logger.level
        logger.setLevel(logging.CRITICAL + 1)
        violation = ""
        try:
            asyncio.set_event_loop(self._loop)
            self._loop.run_until_complete(self._play())
        except Violation as found:
            violation = str(found)
        except Stuck:
            violation = "everybody waits, and nothing will ever happen"
        finally:
            logger.setLevel(level)
            self._end()
        return Report(
            self.plan.seed,
            violation,
            self._told(violation),
            hashlib.sha256(repr(self._records).encode()).hexdigest() if self.digesting else "",
            len(self.books.attempts),
            self._commits,
            self._loop.now(),
        )

    patience = 3_600_000
    """Milliseconds after the last fault in which everything must have ended."""

    digesting = False
    """Whether the report is to carry a digest, which costs as much as the run."""

    def _end(self) -> None:
        """Let go of everything; nothing that happens from now on counts."""
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.set_exception_handler(lambda loop, context: None)
        self._loop.call_later(0.001, self._loop.stop)
        self._loop.run_forever()
        asyncio.set_event_loop(None)
        self._loop.close()

    async def _play(self) -> None:
        self._over = self._loop.create_future()
        self.server.start()
        for machine in self.machines.values():
            machine.start()
        for item in self.plan.items:
            self._loop.call_later(item.at / 1_000, self._deeds.begin, item)
        everything = self._loop.create_task(self._to_the_end())
        await asyncio.wait([everything, self._over], return_when=asyncio.FIRST_COMPLETED)
        if self._over.done():
            self._over.result()
        everything.result()

    async def _to_the_end(self) -> None:
        last = max((item.at + item.lasts for item in self.plan.items), default=0)
        await asyncio.sleep(max(last, self.plan.window) / 1_000)
        await self._heal()
        for _ in range(self.patience // 1_000):
            if self._at_rest():
                await asyncio.sleep(0.5)  # what is on its way arrives
                if self._at_rest():
                    await self._audit()
                    return
            await asyncio.sleep(1 if self._loop.now() < last + 200_000 else 20)
        self._wrong(f"long after the last fault not everything has ended: {self._unrest()}")

    _committing = False

    def _point(self, where: str) -> None:
        if where == "before a commit":
            self._committing = True
        self._deeds.point(where)

    def _ready(self) -> None:
        """The server has opened its store, and listens from now on."""
        self._note("the server is up")
        self._listening.restarted(self._loop.now())
        shell = self.server.shell
        assert shell is not None
        tick = shell.hub.leases.tick

        def watched(at: int, *, paused: bool = False) -> list[AgentSuspected | AgentLost]:
            happened = tick(at, paused=paused)
            for event in happened:
                if type(event) is AgentLost:
                    self._lost(event.node)
            return happened

        setattr(shell.hub.leases, "tick", watched)  # noqa: B010

    async def _heal(self) -> None:
        """All faults are over, and everybody comes back."""
        self._note("all faults are over")
        self._deeds.start_server()
        for machine in self.machines.values():
            if machine.draining:
                machine.crash()
            machine.start()

    # -- what must hold ---------------------------------------------------------------------------------------------

    def _stepped(self, engine: Engine, event: Event, step: Step) -> None:
        """After each step of the core. The world is small, and looked at whole; large ones are looked at now and then."""
        world = engine.world
        now = self._loop.now()
        self._steps = self._steps + 1 if now == self._stepped_at else 0
        self._stepped_at = now
        if self._steps > SPINNING:
            self._wrong(f"the core spins: {self._steps} steps at one moment, the last for {event}")
        if world.live > 40 and self._chance.random() * world.live > 20:
            return
        try:
            check(world)
        except BrokenInvariant as error:
            self._wrong(f"after {type(event).__name__}: {error}")
        if type(event) is AgentLost and any(type(record) is NodeLost for record in step.records):
            lost_alone(engine, event.node, self._wrong)
        if type(event) is PlacementDue and not engine.placement_due and not engine.unfinished:
            nobody_waits_for_nothing(engine, self._wrong)

    def _durable(self, batch: Batch) -> None:
        """A batch is on disk."""
        self._commits += 1
        self._committing = False
        self._records += batch.records
        self._ledger.durable(batch.records)
        if self._chance.random() < REBUILT:
            self._compare_rebuilt()

    def _compare_rebuilt(self) -> None:
        shell = self.server.shell
        if shell is None or self._committing or shell.engine.world.staged or shell.engine.unfinished:
            return
        same_when_rebuilt(shell, self.disk, self.plan.core, self._wrong)

    def _lost(self, node: int) -> None:
        """The server says that a lease is over: it must have listened for as long, and the agent must know."""
        shell = self.server.shell
        assert shell is not None
        name = self.books.machines[node]
        now = self._loop.now()
        leases = shell.hub.leases
        self._note("the lease of %s is over", name)
        silence = self._listening.silence(name, now)
        slack = 2 * leases.interval * (self._listening.pauses + 1) + 50
        if silence < leases.lost - slack:
            self._wrong(f"{name} is declared lost after a silence of {silence} ms, its lease is {leases.lost} ms")
        machine = self.machines[name]
        if machine.up and machine.session is not None and machine.trusts_its_lease(now):
            self._wrong(f"{name} is declared lost, and still trusts its lease")

    def _expect_stopped(self, name: str, attempts: list[int]) -> None:
        """What runs on a machine that is back, and is nobody's, is to be stopped; unless the machine is in trouble again."""
        before = self.machines[name].history
        self._loop.call_later(15, self._stopped, name, attempts, before, self._listening.pauses)

    def _stopped(self, name: str, attempts: list[int], before: tuple[int, ...], pauses: int) -> None:
        machine = self.machines[name]
        in_touch = machine.up and name not in self.network.cut and not self.disk.full
        if in_touch and machine.history == before and self._listening.pauses == pauses:
            left = [attempt for attempt in attempts if attempt in self.books.running]
            if left:
                self._wrong(f"attempts {left} still run on {name}, though they have ended in the books")

    def _heard(self, machine: str) -> None:
        self._listening.heard(machine, self._loop.now())

    def _sent(self, machine: str, frame: bytes) -> None:
        durable_first(machine, frame, self.disk, self.books, self._wrong)

    # -- the end ----------------------------------------------------------------------------------------------------

    def _at_rest(self) -> bool:
        return not self._unrest()

    def _unrest(self) -> str:
        """What is still going on."""
        shell = self.server.shell
        if shell is None or not self.server.up:
            return "the server is not up"
        world = shell.engine.world
        if self._committing:
            return "a commit is under way"
        if world.jobs or world.staged:
            left = {serial: [bytes(task.states) for task in job.tasks] for serial, job in world.jobs.items()}
            return f"jobs {left}, staged {list(world.staged)}"
        if not all(caller.done() for caller in self._deeds.callers):
            return f"callers {[str(caller) for caller in self._deeds.callers if not caller.done()]}"
        busy = [name for name, machine in self.machines.items() if not machine.at_rest]
        return f"machines {busy}" if busy else ""

    async def _audit(self) -> None:
        """Everything has ended: the books must balance, and the output must be what was printed."""
        for caller in self._deeds.callers:
            caller.result()
        self._compare_rebuilt()
        shell = self.server.shell
        assert shell is not None
        await balanced(self.books, shell.output, self._wrong)
        name, limit = self.plan.starving
        if name:
            started_in_time(self.books, name, limit, self._wrong)

    # -- telling ----------------------------------------------------------------------------------------------------

    def _files(self, machine: str, folder: str) -> dict[str, bytes]:
        return self.machines[machine].folders.get(folder, {})

    def _note(self, line: str, *values: Any) -> None:
        self._script.append((self._loop.now(), line, values))

    def _wrong(self, what: str) -> None:
        """A violation; the run ends with the first one."""
        if not self._over.done():
            self._note("VIOLATION: %s", what)
            self._over.set_exception(Violation(what))

    def _unhandled(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if not isinstance(error, asyncio.CancelledError):
            self._wrong(f"an error that nobody handled: {context.get('message')}: {error!r}")

    def _told(self, violation: str) -> str:
        if not violation:
            return ""
        plan = self.plan
        places = ", ".join(f"{p.name} ({p.capacity.cpus / 1_000:g} cpus {dict(p.labels)})" for p in plan.places)
        lines = [f"seed {plan.seed}: {places}", f"{plan.core}", f"{plan.links}"]
        lines += [
            f"{number:4} {at / 1_000:10.3f} s  {line % values if values else line}"
            for number, (at, line, values) in enumerate(self._script, 1)
        ]
        return "\n".join(lines)
