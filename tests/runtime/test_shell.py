"""The whole shell with a fake agent: from submission to the end, durable before visible, level-triggered."""

from __future__ import annotations

from runtime_kit import ended, job, run, shell, submit, task

from styx.core.states import JobState
from styx.testing.agents import Act, FakeAgent


def test_a_job_runs_through() -> None:
    async def main() -> None:
        async with shell() as sh:
            agent = FakeAgent(sh.hub, cpus=2)
            await agent.connect()
            serial = await submit(sh, job("j", task("a"), task("b", needs=["a"], array=5), task("c", needs=["b"])))
            row = await ended(sh, serial)
            assert (row.state, row.code, row.counts[6]) == (JobState.SUCCEEDED, 0, 7)
            assert len(agent.started) == 7
            await agent.until(lambda: not agent.held)
            await agent.disconnect()

    run(main())


def test_exit_codes_and_output_arrive() -> None:
    async def main() -> None:
        async with shell() as sh:
            agent = FakeAgent(sh.hub, script=lambda spec, run: Act(code=7, stdout=b"out\n", stderr=b"err\n"))
            await agent.connect()
            serial = await submit(sh, job("j", task("a")))
            row = await ended(sh, serial)
            assert (row.state, row.code) == (JobState.FAILED, 7)
            (attempt,) = agent.started
            assert [piece.data async for piece in sh.output.follow(attempt, 1, length=4)] == [b"out\n", b""]
            assert [piece.data async for piece in sh.output.follow(attempt, 2, length=4)] == [b"err\n", b""]
            await agent.until(lambda: not any(agent.output.values()))
            await agent.disconnect()

    run(main())
