"""The disk has become full, and the store lives on room put aside: nothing new is taken in, what runs comes to its end."""

from __future__ import annotations

import asyncio

import pytest
from runtime_kit import ended, job, run, shell, submit, task

from styx.core.states import JobState
from styx.errors import StoreFull
from styx.runtime.clock import VirtualClock
from styx.runtime.upkeep import Upkeep
from styx.store.base import Batch
from styx.store.memory import MemoryStore
from styx.testing.agents import Act, FakeAgent


class NearlyFull(MemoryStore):
    """`fill`: the next commit finds the disk full, and goes through on the reserve; `regain` succeeds once there is `room`."""

    def __init__(self) -> None:
        super().__init__()
        self.full = False
        self.room = False
        self.looked = 0

    async def commit(self, epoch: int, batch: Batch) -> None:
        if self.full:
            self.low = "the disk is full"
        await super().commit(epoch, batch)

    async def regain(self) -> bool:
        self.looked += 1
        if self.room:
            self.full, self.low = False, ""
        return not self.low


async def turns(count: int = 30) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_new_work_is_refused_and_what_runs_comes_to_its_end() -> None:
    async def main() -> None:
        store, clock = NearlyFull(), VirtualClock()
        async with shell(store, clock=clock) as sh:
            agent = FakeAgent(sh.hub, script=lambda spec, run: Act(hold=True))
            await agent.connect()
            first = await submit(sh, job("first", task("a")))
            await agent.until(lambda: agent.running)
            store.full = True
            # The caller whose batch met the full disk gets a true answer: its job is on disk.
            second = await submit(sh, job("second", task("a")))
            assert await store.job(second) is not None
            for _ in range(3):
                with pytest.raises(StoreFull, match="the disk is full"):
                    await submit(sh, job("third", task("a")))
            assert (await Upkeep(sh, "").health()).status == "full"
            await agent.finish(agent.running[0])
            assert (await ended(sh, first)).state is JobState.SUCCEEDED
            await agent.connect()  # who comes back is let in
            assert agent.node
            clock.advance(sh.hub.leases.interval)
            await turns()
            assert store.looked == 1
            with pytest.raises(StoreFull):
                await submit(sh, job("third", task("a")))
            store.room = True
            clock.advance(sh.hub.leases.interval)
            await turns()
            assert (await Upkeep(sh, "").health()).status == "healthy"
            await submit(sh, job("third", task("a")))
            assert len(sh.engine.world.jobs) == 2
            await agent.disconnect()

    run(main())


def test_a_server_that_starts_on_its_reserve_takes_nothing_new() -> None:
    async def main() -> None:
        store = NearlyFull()
        store.low = "the disk is full"
        async with shell(store) as sh:
            with pytest.raises(StoreFull):
                await submit(sh, job("j", task("a")))

    run(main())
