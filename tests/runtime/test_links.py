"""The hub and its links, at the level of the protocol: what survives cuts, restarts, duplicates and nonsense."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from runtime_kit import ended, job, run, shell, submit, task

from styx.core.states import JobState
from styx.protocol.codec import decode_server, encode
from styx.protocol.messages import (
    Ack,
    Bye,
    Files,
    Forget,
    Heartbeat,
    Hello,
    Output,
    Recall,
    Refused,
    Report,
    Start,
    Stop,
)
from styx.runtime.clock import VirtualClock
from styx.runtime.link import LinkSettings
from styx.runtime.shell import ShellSettings
from styx.runtime.transport import pipe
from styx.store.base import Batch
from styx.store.memory import MemoryStore
from styx.testing.agents import Act, FakeAgent

HOLD = Act(hold=True)


def holding(spec: Any, run: Any) -> Act:
    return HOLD


async def turns(count: int = 30) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def of(agent: FakeAgent, kind: type) -> list[Any]:
    return [message for message in agent.received if isinstance(message, kind)]


def test_one_start_names_the_spec_once_and_all_its_runs() -> None:
    async def main() -> None:
        async with shell() as sh:
            agent = FakeAgent(sh.hub, cpus=4, script=holding, host="here")
            await agent.connect()
            spec = job("j", task("a", array=4, env=(("K", "v"),)), host="here", cwd="/somewhere")
            await submit(sh, spec)
            await agent.until(lambda: len(agent.running) == 4)
            (start,) = of(agent, Start)
            assert [run.index for run in start.runs] == [0, 1, 2, 3]
            assert (start.spec.name, start.spec.array, start.spec.env) == ("a", 4, (("K", "v"),))
            assert start.spec.workdir == "/somewhere"
            await agent.disconnect()

    run(main())


def test_the_callers_folder_is_not_looked_for_on_another_host() -> None:
    async def main() -> None:
        async with shell() as sh:
            agent = FakeAgent(sh.hub, host="there")
            await agent.connect()
            serial = await submit(sh, job("j", task("a"), task("b", workdir="/given"), host="here", cwd="/somewhere"))
            await ended(sh, serial)
            assert {start.spec.name: start.spec.workdir for start in of(agent, Start)} == {"a": "", "b": "/given"}
            await agent.disconnect()

    run(main())


def test_results_are_sent_before_the_start_that_needs_them_and_once() -> None:
    async def main() -> None:
        async with shell() as sh:

            def script(spec: Any, run: Any) -> Act:
                return Act(result=b"r%d" % run.index if spec.name == "many" else b"")

            agent = FakeAgent(sh.hub, script=script)
            await agent.connect()
            spec = job("j", task("many", array=3), task("plain"), task("after", needs=["many", "plain"], array=5))
            await ended(sh, await submit(sh, spec))
            kinds = [
                type(m)
                for m in agent.received
                if isinstance(m, Files) or (isinstance(m, Start) and m.spec.name == "after")
            ]
            assert kinds[0] is Files
            assert kinds.count(Files) == 1
            (files,) = of(agent, Files)
            assert dict(files.files) == {"many.0": b"r0", "many.1": b"r1", "many.2": b"r2"}
            await agent.disconnect()

    run(main())


def test_a_short_cut_reruns_nothing_and_loses_nothing() -> None:
    async def main() -> None:
        clock = VirtualClock()
        async with shell(clock=clock) as sh:
            agent = FakeAgent(sh.hub, script=holding)
            other = FakeAgent(sh.hub, name="other", script=holding)
            await agent.connect()
            serial = await submit(sh, job("j", task("a")))
            await agent.until(lambda: agent.running)
            (attempt,) = agent.running
            await other.connect()
            await agent.disconnect()
            clock.advance(200_000)
            await turns()
            await agent.finish(attempt, 3)  # while it is away
            await agent.connect()
            assert (await ended(sh, serial)).code == 3
            assert agent.started == [attempt]
            assert other.started == []
            await agent.until(lambda: not agent.held)
            await agent.disconnect()
            await other.disconnect()

    run(main())


def test_a_cut_longer_than_the_lease_reruns_once_and_drops_the_late_answer() -> None:
    async def main() -> None:
        clock = VirtualClock()
        async with shell(clock=clock) as sh:
            agent = FakeAgent(sh.hub, script=holding)
            other = FakeAgent(sh.hub, name="other", script=holding)
            await agent.connect()
            serial = await submit(sh, job("j", task("a")))
            await agent.until(lambda: agent.running)
            (attempt,) = agent.running
            await other.connect()
            await agent.disconnect()
            for _ in range(62):
                clock.advance(5_000)
                await other.beat()
                await turns()
            await other.until(lambda: other.running)
            await agent.finish(attempt, 3)  # too late
            await agent.connect()
            await agent.until(lambda: not agent.held)
            assert any(attempt in forget.attempts for forget in of(agent, Forget))
            assert serial in sh.engine.world.jobs
            (second,) = other.running
            await other.finish(second, 0)
            row = await ended(sh, serial)
            assert (row.state, row.code) == (JobState.SUCCEEDED, 0)
            await agent.disconnect()
            await other.disconnect()

    run(main())


def test_silence_closes_the_link_and_a_hello_makes_it_good_again() -> None:
    async def main() -> None:
        clock = VirtualClock()
        async with shell(clock=clock) as sh:
            agent = FakeAgent(sh.hub, script=holding)
            await agent.connect()
            for _ in range(10):
                clock.advance(4_000)
                await agent.beat()
                await turns()
            assert agent.connected
            clock.advance(46_000)
            await agent.until(lambda: not agent.connected)
            await turns()
            assert not sh.engine.world.nodes[agent.node].connected
            await agent.connect()
            assert sh.engine.world.nodes[agent.node].connected
            await agent.disconnect()

    run(main())


def test_a_second_connection_replaces_the_first() -> None:
    async def main() -> None:
        async with shell() as sh:
            agent = FakeAgent(sh.hub)
            twin = FakeAgent(sh.hub, script=holding)
            twin.id = agent.id
            await agent.connect()
            await twin.connect()
            await agent.until(lambda: not agent.connected)
            await turns()
            assert len(sh.engine.world.nodes) == 1
            assert sh.engine.world.nodes[twin.node].connected
            serial = await submit(sh, job("j", task("a")))
            await twin.until(lambda: twin.running)
            assert agent.started == []
            await twin.finish(twin.running[0])
            await ended(sh, serial)
            await agent.disconnect()
            await twin.disconnect()

    run(main())


def test_a_restarted_agent_keeps_its_programs_a_rebooted_one_does_not() -> None:
    async def main() -> None:
        async with shell() as sh:
            agent = FakeAgent(sh.hub, script=holding)
            await agent.connect()
            serial = await submit(sh, job("j", task("a")))
            await agent.until(lambda: agent.running)
            await agent.restart()
            await turns()
            assert len(agent.started) == 1
            await agent.reboot()
            await agent.until(lambda: agent.running)
            assert len(agent.started) == 2
            await agent.finish(agent.running[0], 5)
            assert (await ended(sh, serial)).code == 5
            row = await sh.store.attempts(serial, 0)
            assert [r.outcome.name if r.outcome is not None else "" for r in row] == ["LOST", "EXITED"]
            await agent.disconnect()

    run(main())


class Raw:
    """A peer that says exactly what the test tells it to."""

    def __init__(self, hub: Any) -> None:
        server, self.link = pipe()
        self.serving = asyncio.ensure_future(hub.connect(server))
        self.frames = aiter(self.link)

    async def say(self, *messages: Any) -> None:
        await self.link.send(encode(messages))

    async def hear(self, kind: type) -> Any:
        """The next message of a kind; None when the link ends before."""
        async for frame in self.frames:
            for message in decode_server(frame):
                if isinstance(message, kind):
                    return message
        return None

    async def close(self) -> None:
        await self.link.close()
        await self.serving


def hello(model: FakeAgent, /, **changes: Any) -> Hello:
    made = Hello(
        model.id, "raw", "host", "boot", "session-1", 1, 1, "test", model.capacity, (), "", (), False
    )  # fmt: skip
    return msgspec.structs.replace(made, **changes)


def test_a_report_counts_once_however_often_it_is_sent() -> None:
    async def main() -> None:
        async with shell() as sh:
            raw, model = Raw(sh.hub), FakeAgent(sh.hub)
            await raw.say(hello(model))
            serial = await submit(sh, job("j", task("a", retries=5)))
            start = await raw.hear(Start)
            attempt = start.runs[0].attempt
            ending = msgspec.convert((attempt, 0, 1), type=_ending())
            await raw.say(Report(1, (attempt,), ()), Report(2, (), (ending,)))
            assert (await raw.hear(Ack)).number >= 1
            await raw.say(Report(2, (), (ending,)), Report(1, (attempt,), ()))
            await raw.close()
            again = Raw(sh.hub)  # the same session comes back and repeats what it is not sure of
            await again.say(hello(model))
            welcome = await again.hear(_welcome())
            assert welcome.acked == 2
            await again.say(Report(2, (), (ending,)))
            await turns()
            rows = await sh.store.attempts(serial, 0)
            assert [(row.number, row.outcome is not None) for row in rows if row.ended_at] == [(1, True)]
            await again.close()

    run(main())


def _ending() -> Any:
    from styx.core.events import AttemptEnding

    return AttemptEnding


def _welcome() -> Any:
    from styx.protocol.messages import Welcome

    return Welcome


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (lambda model: hello(model, oldest=9, newest=12), "protocol"),
        (lambda model: hello(model, agent=""), "id"),
        (lambda model: Heartbeat(1), "hello"),
    ],
)
def test_who_cannot_be_let_in_is_told_why(said: Any, reason: str) -> None:
    async def main() -> None:
        async with shell() as sh:
            raw = Raw(sh.hub)
            await raw.say(said(FakeAgent(sh.hub)))
            refused = await raw.hear(Refused)
            assert reason in refused.reason
            assert refused.retry == 0
            await raw.serving
            assert not sh.engine.world.nodes

    run(main())


@pytest.mark.parametrize("frame", [b"", b"\xff\xff", b"\x91\x93\xa5hello\x01\x02", bytes(1_000)])
def test_nonsense_ends_the_link_and_nothing_else(frame: bytes) -> None:
    async def main() -> None:
        async with shell() as sh:
            raw = Raw(sh.hub)
            await raw.link.send(frame)
            assert await raw.hear(Refused) is not None
            await raw.serving
            model = FakeAgent(sh.hub)
            inside = Raw(sh.hub)
            await inside.say(hello(model))
            await inside.hear(_welcome())
            await inside.link.send(frame)
            refused = await inside.hear(Refused)
            assert refused.retry > 0  # its programs need it
            await inside.serving
            assert not sh.fatal.done()

    run(main())


def test_a_crowd_is_let_in_slowly() -> None:
    async def main() -> None:
        clock = VirtualClock()
        settings = ShellSettings(links=LinkSettings(handshakes=2))
        async with shell(clock=clock, settings=settings) as sh:
            crowd = [FakeAgent(sh.hub, name=f"a{n}") for n in range(4)]
            refused = 0
            for agent in crowd:
                try:
                    await agent.connect()
                except ConnectionError:
                    assert of(agent, Refused)[0].retry > 0
                    refused += 1
            assert refused == 2
            clock.advance(1_000)
            for agent in crowd:
                if not agent.connected:
                    await agent.connect()
            for agent in crowd:
                await agent.disconnect()

    run(main())


def test_a_link_whose_outbox_overflows_is_closed_and_the_next_hello_puts_it_right() -> None:
    async def main() -> None:
        async with shell(settings=ShellSettings(links=LinkSettings(outbox=4_000))) as sh:
            agent = FakeAgent(sh.hub, cpus=4, script=holding)
            await agent.connect()
            first = await submit(sh, job("first", task("a")))
            await agent.until(lambda: agent.running)
            sh.hub.send(agent.node, Stop((1,)), 5_000)  # as if as much had waited
            await agent.until(lambda: not agent.connected)
            # Orders of any size go over a link that is read, since only small references wait.
            spec = job("second", *(task(f"t{n}", env=(("FILLER", "x" * 30_000),)) for n in range(3)))
            second = await submit(sh, spec)
            await agent.connect()
            await agent.until(lambda: len(agent.running) == 4)
            for attempt in agent.running:
                await agent.finish(attempt)
            assert (await ended(sh, first)).code == 0
            assert (await ended(sh, second)).code == 0
            assert len(agent.started) == 4
            await agent.disconnect()

    run(main())


def test_a_drained_agent_gets_nothing_new() -> None:
    async def main() -> None:
        async with shell() as sh:
            agent = FakeAgent(sh.hub, script=holding)
            await agent.connect()
            first = await submit(sh, job("first", task("a")))
            await agent.until(lambda: agent.running)
            await agent.bye()
            second = await submit(sh, job("second", task("a")))
            await agent.finish(agent.running[0])
            await ended(sh, first)
            await agent.bye(gone=True)
            await agent.disconnect()
            await turns()
            assert sh.engine.world.jobs[second].counts[1] == 1  # still READY
            assert len(agent.started) == 1

    run(main())


def test_recalled_attempts_go_elsewhere() -> None:
    async def main() -> None:
        clock = VirtualClock()
        async with shell(clock=clock) as sh:
            slow = FakeAgent(sh.hub, name="slow", script=holding)
            await slow.connect()
            serial = await submit(sh, job("j", task("warm", array=3)))
            for _ in range(3):
                await slow.until(lambda: slow.running)
                clock.advance(1)
                await slow.finish(slow.running[0])
                await turns()
            await ended(sh, serial)
            serial = await submit(sh, job("j", task("a", array=6)))
            await slow.until(lambda: slow.running)
            sent_ahead = len(slow.waiting)
            quick = FakeAgent(sh.hub, name="quick", cpus=6)
            await quick.connect()
            for _ in range(10):
                clock.advance(300)
                await turns()
            if sent_ahead:
                assert of(slow, Recall)
            assert len(quick.started) == 5
            await slow.finish(slow.running[0])
            assert (await ended(sh, serial)).code == 0
            await slow.disconnect()
            await quick.disconnect()

    run(main())


def test_output_of_others_is_dropped_and_a_hole_is_refused() -> None:
    async def main() -> None:
        async with shell() as sh:
            owner = FakeAgent(sh.hub, name="owner", script=holding)
            thief = FakeAgent(sh.hub, name="thief")
            await owner.connect()
            await submit(sh, job("j", task("a")))
            await owner.until(lambda: owner.running)
            (attempt,) = owner.running
            await thief.connect()
            thief.output[attempt, 1] = bytearray(b"forged")
            await thief._send(Output(attempt, 1, 0, b"forged"))
            await thief.until(lambda: not thief.output[attempt, 1])  # acknowledged, so that it does not keep it
            assert await sh.output.length(attempt, 1) == 0
            await owner._send(Output(attempt, 1, 10, b"behind a hole"))
            await owner.until(lambda: not owner.connected)
            assert "missing" in of(owner, Refused)[0].reason or "known" in of(owner, Refused)[0].reason
            await owner.disconnect()
            await thief.disconnect()

    run(main())


def test_goodbye_at_the_end() -> None:
    async def main() -> None:
        agent: FakeAgent
        async with shell() as sh:
            agent = FakeAgent(sh.hub)
            await agent.connect()
        await agent.until(lambda: not agent.connected)
        assert of(agent, Bye)
        await agent.disconnect()

    run(main())


class Gated(MemoryStore):
    """Commits wait for the gate."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.gate.set()

    async def commit(self, epoch: int, batch: Batch) -> None:
        await self.gate.wait()
        await super().commit(epoch, batch)


def test_a_hello_is_a_sign_of_life_before_it_is_on_disk() -> None:
    async def main() -> None:
        clock, store = VirtualClock(), Gated()
        async with shell(store, clock=clock) as sh:
            agent = FakeAgent(sh.hub)
            await agent.connect()
            node = agent.node
            await agent.disconnect()
            clock.advance(290_000)
            store.gate.clear()
            await agent.connect(welcome=False)
            while sh.hub.leases.silence(node, clock.elapsed()):  # noqa: ASYNC110
                await asyncio.sleep(0)
            clock.advance(20_000)
            store.gate.set()
            await agent.until(lambda: agent.node)
            assert not sh.engine.world.nodes[node].lost
            await agent.disconnect()

    run(main())
