"""The loop: durable before visible, one commit a turn, and what happens when the disk is full or broken."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from runtime_kit import ended, job, run, shell, submit, task

from styx.core.effects import Step
from styx.core.engine import Engine
from styx.core.events import AttemptsReported, CancelRequested, Event, JobStaged
from styx.core.states import JobState
from styx.errors import Busy, StaleEpoch, StoreFull, SyncFailed
from styx.protocol.messages import Start
from styx.runtime.clock import VirtualClock
from styx.runtime.shell import Shell
from styx.store.base import Batch
from styx.store.memory import MemoryStore
from styx.testing.agents import FakeAgent


class SlowStore(MemoryStore):
    """Commits wait for `gate`; while `fault` is set they raise it instead."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.gate.set()
        self.reached = asyncio.Event()
        self.fault: Exception | None = None
        self.tried: list[Batch] = []
        self.batches: list[Batch] = []

    async def commit(self, epoch: int, batch: Batch) -> None:
        self.tried.append(batch)
        self.reached.set()
        await self.gate.wait()
        if self.fault is not None:
            raise self.fault
        await super().commit(epoch, batch)
        self.batches.append(batch)

    def hold(self) -> None:
        self.gate.clear()
        self.reached.clear()


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_nothing_is_visible_before_it_is_on_disk() -> None:
    async def main() -> None:
        store = SlowStore()
        async with shell(store) as sh:
            agent = FakeAgent(sh.hub)
            await agent.connect()
            store.hold()
            submitting = asyncio.ensure_future(submit(sh, job("j", task("a"))))
            await store.reached.wait()
            reading = asyncio.ensure_future(sh.loop.settled())
            await turns()
            assert not submitting.done()
            assert not reading.done()
            assert not any(isinstance(message, Start) for message in agent.received)
            assert not agent.held
            store.gate.set()
            serial = await submitting
            await reading
            await ended(sh, serial)
            assert len(agent.started) == 1
            await agent.disconnect()

    run(main())


def test_what_arrives_during_a_commit_goes_into_one() -> None:
    async def main() -> None:
        store = SlowStore()
        async with shell(store) as sh:
            sh.loop._stopwatch = lambda: (
                0.0
            )  # a turn also ends after milliseconds, which a busy machine takes for anything
            store.hold()
            first = asyncio.ensure_future(submit(sh, job("first", task("a"))))
            await store.reached.wait()
            others = [asyncio.ensure_future(submit(sh, job(f"j{n}", task("a")))) for n in range(50)]
            await turns()
            store.gate.set()
            await asyncio.gather(first, *others)
            accepted = [[r for r in batch.records if type(r).__name__ == "JobAccepted"] for batch in store.batches]
            assert [len(some) for some in accepted if some] == [1, 50]

    run(main())


def test_a_turn_is_bounded() -> None:
    async def main() -> None:
        store = SlowStore()
        async with shell(store) as sh:
            store.hold()
            first = asyncio.ensure_future(submit(sh, job("first", task("a"))))
            await store.reached.wait()
            wide = [asyncio.ensure_future(submit(sh, job(f"j{n}", task("a")))) for n in range(800)]
            await turns()
            store.gate.set()
            await asyncio.gather(first, *wide)
            assert max(len(batch.records) for batch in store.batches) < 1_100
            assert len(store.batches) >= 3

    run(main())


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Event]:
    """Every event that the core hears of, in order."""
    events: list[Event] = []
    step = Engine.step

    def watched(self: Engine, event: Event, now: int) -> Step:
        events.append(event)
        return step(self, event, now)

    monkeypatch.setattr(Engine, "step", watched)
    return events


def test_the_core_hears_of_a_long_report_in_portions(told: list[Event]) -> None:
    async def main() -> None:
        async with shell() as sh:
            agent = FakeAgent(sh.hub, cpus=1_500)
            await agent.connect()
            row = await ended(sh, await submit(sh, job("many", task("a", array=1_500))))
            assert row.state == JobState.SUCCEEDED
            await agent.until(lambda: not agent.held)
            await agent.disconnect()
        reports = [event for event in told if isinstance(event, AttemptsReported)]
        assert max(len(report.started) + len(report.ended) for report in reports) <= 200
        assert sum(len(report.ended) for report in reports) == 1_500

    run(main())


def test_who_asks_goes_before_what_is_reported(told: list[Event]) -> None:
    async def main() -> None:
        store = SlowStore()
        async with shell(store) as sh:
            store.hold()
            first = asyncio.ensure_future(submit(sh, job("first", task("a"))))
            await store.reached.wait()
            told.clear()
            for _ in range(100):
                sh.loop.post(AttemptsReported(1))
            asking = [asyncio.ensure_future(submit(sh, job(f"j{n}", task("a")))) for n in range(3)]
            await turns()
            store.gate.set()
            await asyncio.gather(first, *asking)
        kinds = [type(event) for event in told if type(event) in {JobStaged, AttemptsReported}]
        assert kinds[:6] == [JobStaged, AttemptsReported] * 3
        assert kinds.count(AttemptsReported) == 100

    run(main())


def test_a_full_disk_is_waited_for_and_said() -> None:
    async def main() -> None:
        store, clock = SlowStore(), VirtualClock()
        async with shell(store, clock=clock) as sh:
            agent = FakeAgent(sh.hub)
            await agent.connect()
            store.fault = StoreFull("no room")
            held_up = asyncio.ensure_future(submit(sh, job("held up", task("a"))))
            await turns()
            waiting = asyncio.ensure_future(sh.loop.ask(CancelRequested(99)))
            await turns()
            assert sh.committer.full == "no room"
            with pytest.raises(StoreFull):  # it was in the mailbox, or came later: nobody waits for room
                await waiting
            with pytest.raises(StoreFull):
                await submit(sh, job("refused", task("a")))
            assert not held_up.done()
            await sh.loop.settled()  # readers go on
            number = await agent.beat()  # and so do heartbeats
            await agent.until(lambda: any(getattr(m, "number", 0) == number for m in agent.received))
            for _ in range(8):
                clock.advance(5_000)
                await turns()
            held = store.tried[-1]
            assert all(batch is held for batch in store.tried[-4:])  # the same batch, unchanged
            assert not held_up.done()
            store.fault = None
            clock.advance(5_000)
            serial = await held_up
            assert (await ended(sh, serial)).code == 0
            assert sh.committer.full == ""
            await agent.disconnect()

    run(main())


def test_leases_stand_still_while_the_disk_is_full() -> None:
    async def main() -> None:
        store, clock = SlowStore(), VirtualClock()
        async with shell(store, clock=clock) as sh:
            agent = FakeAgent(sh.hub)
            await agent.connect()
            store.fault = StoreFull("no room")
            held_up = asyncio.ensure_future(submit(sh, job("held up", task("a"))))
            await turns()
            await agent.disconnect()
            for _ in range(120):
                clock.advance(5_000)
                await turns(3)
            assert agent.node in sh.hub.leases
            store.fault = None
            clock.advance(5_000)
            serial = await held_up
            await agent.connect()
            assert (await ended(sh, serial)).code == 0
            assert len(agent.started) == 1
            await agent.disconnect()

    run(main())


@pytest.mark.parametrize("fault", [SyncFailed("fsync failed"), StaleEpoch("taken over")])
def test_a_broken_disk_is_fatal(fault: Exception) -> None:
    async def main() -> None:
        store = SlowStore()
        async with shell(store) as sh:
            store.fault = fault
            with pytest.raises(Busy, match="stopped"):
                await submit(sh, job("j", task("a")))
            await asyncio.wait([sh.fatal])
            crash = sh.fatal.exception()
            assert crash is not None
            assert crash.__cause__ is fault
            with pytest.raises(Busy):
                await submit(sh, job("j", task("a")))

    run(main())


def test_a_bug_in_the_core_is_fatal(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with shell() as sh:
            real = type(sh.engine).step

            def broken(engine: object, event: Event, now: int) -> Step:
                if isinstance(event, CancelRequested):
                    raise AssertionError("a bug")
                return real(engine, event, now)  # type: ignore[arg-type]

            monkeypatch.setattr(type(sh.engine), "step", broken)
            with pytest.raises(Busy, match="stopped"):
                await sh.loop.ask(CancelRequested(1))
            await asyncio.wait([sh.fatal])
            assert isinstance(sh.fatal.exception().__cause__, AssertionError)  # type: ignore[union-attr]

    run(main())


def test_a_caller_that_went_away_is_not_heard() -> None:
    async def main() -> None:
        store = SlowStore()
        async with shell(store) as sh:
            store.hold()
            first = asyncio.ensure_future(submit(sh, job("first", task("a"))))
            await store.reached.wait()
            gone = asyncio.ensure_future(submit(sh, job("gone", task("a"))))
            await turns()
            gone.cancel()
            await turns()
            store.gate.set()
            await first
            await sh.loop.settled()
            await turns()
            assert [found.spec.name for found in sh.engine.world.jobs.values()] == ["first"]
            assert not sh.engine.world.staged

    run(main())


def test_too_many_callers_are_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        store = SlowStore()
        async with shell(store) as sh:
            monkeypatch.setattr("styx.runtime.loop.MAX_ASKED", 3)
            store.hold()
            waiting = [asyncio.ensure_future(submit(sh, job(f"j{n}", task("a")))) for n in range(3)]
            await store.reached.wait()
            with pytest.raises(Busy, match="waiting"):
                await submit(sh, job("too many", task("a")))
            store.gate.set()
            await asyncio.gather(*waiting)

    run(main())


def test_deadlines_come_from_one_timer() -> None:
    async def main() -> None:
        clock = VirtualClock()
        async with shell(clock=clock) as sh:
            serial = await submit(sh, job("late", task("a"), deadline=60_000))
            clock.advance(59_000)
            await turns()
            assert serial in sh.engine.world.jobs
            clock.advance(2_000)
            row = await ended(sh, serial)
            assert (row.state, row.code) == ("CANCELLED", 124)

    run(main())


def test_closing_leaves_no_tasks(tmp_path: Path) -> None:
    async def main() -> None:
        sh = await Shell.open(MemoryStore(), tmp_path)
        agent = FakeAgent(sh.hub)
        await agent.connect()
        await submit(sh, job("j", task("a", cpus=64)))
        await sh.close()
        await agent.until(lambda: not agent.connected)
        await agent.disconnect()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(main())
