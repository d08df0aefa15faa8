"""The work of a run with a cloud, as it is drawn, and the machines that it is done on."""

from __future__ import annotations

import asyncio
from random import Random

from styx.core.offers import Spot
from styx.core.resources import Resources
from styx.core.spec import JobSpec, TaskSpec
from styx.protocol.messages import Run, Spec
from styx.providers.base import Order
from styx.testing.agents import Acceptor, Act, FakeAgent

__all__ = ["CloudMachine", "draw_job"]


def draw_job(chance: Random) -> JobSpec:
    """One to three tasks, some of them arrays, some on spot machines, some exclusive; now and then with a small budget."""
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
    return JobSpec("j", tuple(tasks), budget=chance.choice((0, 0, 0, 200_000)))


class CloudMachine:
    """A machine that boots, and the agent on it, which dials again for as long as the machine lives. `joined` says which machine's agent
    each token let in; `ends` is the chance that an attempt ends between two looks at it."""

    def __init__(
        self, ref: str, order: Order, acceptor: Acceptor, chance: Random, joined: dict[str, str], ends: float
    ) -> None:
        self.ref = ref
        self.alive = True
        self.task: asyncio.Task[None] | None = None  # in which it lives
        self._chance = chance
        self._joined = joined
        self._ends = ends
        self.agent = FakeAgent(acceptor, name=order.token, labels=(("pool", order.token),), script=_hold)
        self.agent.id = order.token
        self.agent.capacity = order.offer.resources
        self.agent._admission.resize(Resources(1_000, 64 << 30), order.offer.resources)

    async def live(self) -> None:
        """Boot, and work until the end of the machine."""
        await asyncio.sleep(self._chance.uniform(5, 90))
        while self.alive:
            if self._joined.setdefault(self.agent.id, self.ref) != self.ref:
                return  # its join token has let in another machine's agent
            if not self.agent.connected:
                try:
                    async with asyncio.timeout(20):
                        await self.agent.connect()
                except (ConnectionError, TimeoutError):
                    await self.agent.disconnect()
            else:
                await self.agent.beat()
            await asyncio.sleep(self._chance.uniform(15, 25))
            for attempt in self.agent.running:
                if self._chance.random() < self._ends:
                    await self.agent.finish(attempt, code=0 if self._chance.random() < 0.95 else 1)

    async def die(self) -> None:
        self.alive = False
        await self.agent.disconnect()


def _hold(spec: Spec, run: Run) -> Act:
    """Programs run until they are told to end."""
    return Act(hold=True)
