"""A server that stops, or dies, and starts again on the same folder: nothing is lost, nothing runs twice."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

from runtime_kit import job, run, task

from styx.compose import ControlPlane
from styx.core.settings import CoreSettings
from styx.protocol.messages import Files
from styx.runtime.clock import VirtualClock
from styx.runtime.link import LinkSettings
from styx.runtime.shell import ShellSettings
from styx.testing.agents import Act, FakeAgent

HOLD = Act(hold=True)


async def turns(count: int = 30) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_what_was_accepted_goes_on_after_a_restart(tmp_path: Path) -> None:
    async def main() -> None:
        spec = job("j", task("a", array=3), task("b", needs=["a"]))
        async with ControlPlane.open(tmp_path, agent=False) as plane:
            agent = FakeAgent(plane.shell.hub, cpus=2, script=lambda spec, run: HOLD)
            await agent.connect()
            made = await plane.submit_spec(spec, key="k")
            await agent.until(lambda: len(agent.running) == 2)
            await agent.finish(agent.running[0])
            await agent.until(lambda: len(agent.running) == 2)
            incarnation = plane.shell.incarnation
            await agent.disconnect()
        first_two = list(agent.running)
        await agent.finish(first_two[0])  # while the server is down
        async with ControlPlane.open(tmp_path, agent=False) as plane:
            assert plane.shell.incarnation == incarnation
            assert (await plane.submit_spec(spec, key="k")).job_id == made.job_id
            why = await plane.why(f"{made.job_id}/a")
            assert why.code in {"node-suspect", "running"}, why
            agent.script = lambda spec, run: Act()
            agent._hub = plane.shell.hub
            await agent.connect()
            await agent.until(lambda: len(agent.running) == 1)
            await agent.finish(agent.running[0])
            result = await plane.wait(made.job_id)
            assert result.counts == {"SUCCEEDED": 4}
            assert len(agent.started) == 4
            assert max(Counter(agent.started).values()) == 1
            types = [event.type async for event in plane.events(job=made.job_id, after=0)]
            assert types[0] == "job.accepted"
            assert types.count("attempt.ended") == 4
            await agent.disconnect()

    run(main())


def test_output_and_reports_that_were_not_acknowledged_come_again(tmp_path: Path) -> None:
    async def main() -> None:
        async with ControlPlane.open(tmp_path, agent=False) as plane:
            agent = FakeAgent(plane.shell.hub, script=lambda spec, run: Act(hold=True, stdout=b"before "))
            await agent.connect()
            made = await plane.submit_spec(job("j", task("a")))
            await agent.until(lambda: agent.running and not any(agent.output.values()))
            await agent.disconnect()
        (attempt,) = agent.running
        await agent.finish(attempt, act=Act(stdout=b"after"))
        async with ControlPlane.open(tmp_path, agent=False) as plane:
            agent._hub = plane.shell.hub
            await agent.connect()
            await plane.wait(made.job_id)
            got = b"".join([chunk.data async for chunk in plane.logs(made.job_id) if chunk.stream == "stdout"])
            assert got == b"before after"
            await agent.until(lambda: not agent.held and not any(agent.output.values()))
            await agent.disconnect()

    run(main())


def test_results_of_before_a_restart_reach_those_that_need_them(tmp_path: Path) -> None:
    async def main() -> None:
        async with ControlPlane.open(tmp_path, agent=False) as plane:

            def script(spec: Any, run: Any) -> Act:
                return Act(result=b"r") if spec.name == "a" else HOLD

            agent = FakeAgent(plane.shell.hub, cpus=1, script=script)
            await agent.connect()
            made = await plane.submit_spec(job("j", task("a"), task("hold"), task("b", needs=["a", "hold"])))
            await agent.until(lambda: len(agent.started) == 2)
            await agent.disconnect()
        async with ControlPlane.open(tmp_path, agent=False) as plane:
            agent._hub = plane.shell.hub
            await agent.connect()
            await agent.finish(agent.running[0])
            await agent.until(lambda: len(agent.started) == 3)
            (files,) = [message for message in agent.received if isinstance(message, Files)]
            assert files.files == (("a", b"r"),)
            await agent.finish(agent.running[0])
            assert (await plane.wait(made.job_id)).ok
            await agent.disconnect()

    run(main())


def test_an_agent_that_does_not_come_back_is_lost_a_whole_lease_after_the_restart(tmp_path: Path) -> None:
    async def main() -> None:
        settings = ShellSettings(core=CoreSettings(), links=LinkSettings(heartbeat=1_000, suspect=4_000, lost=20_000))
        clock = VirtualClock()
        async with ControlPlane.open(tmp_path, agent=False, clock=clock, settings=settings) as plane:
            gone = FakeAgent(plane.shell.hub, name="gone", script=lambda spec, run: HOLD)
            await gone.connect()
            made = await plane.submit_spec(job("j", task("a")))
            await gone.until(lambda: gone.running)
            await gone.disconnect()
        clock = VirtualClock(clock.now() + 3_600_000)  # down for an hour, which is nobody's fault
        async with ControlPlane.open(tmp_path, agent=False, clock=clock, settings=settings) as plane:
            other = FakeAgent(plane.shell.hub, name="other")
            await other.connect()
            for _ in range(19):
                clock.advance(1_000)
                await other.beat()
                await turns()
            assert other.started == []
            for _ in range(3):
                clock.advance(1_000)
                await other.beat()
                await turns()
            result = await plane.wait(made.job_id)
            assert (result.status, len(other.started)) == ("SUCCEEDED", 1)
            await other.disconnect()

    run(main())


def test_many_restarts_in_the_middle_of_an_array(tmp_path: Path) -> None:
    """Stopped at different moments again and again: each element ends once."""

    async def main() -> None:
        made = None
        agent: FakeAgent | None = None
        for patience in (1, 3, 5, 8, 13, 21, 34, 55):
            async with ControlPlane.open(tmp_path, agent=False) as plane:
                if agent is None:
                    agent = FakeAgent(plane.shell.hub, cpus=3)
                agent._hub = plane.shell.hub
                await agent.connect()
                if made is None:
                    made = await plane.submit_spec(job("j", task("a", array=400), task("b", needs=["a"])))
                await turns(patience)
                await agent.disconnect()
        async with ControlPlane.open(tmp_path, agent=False) as plane:
            assert agent is not None
            assert made is not None
            agent._hub = plane.shell.hub
            await agent.connect()
            result = await plane.wait(made.job_id)
            assert result.counts == {"SUCCEEDED": 401}
            assert len(agent.started) == len(set(agent.started)) == 401
            await agent.until(lambda: not agent.held)
            await agent.disconnect()

    run(main(), 60)
