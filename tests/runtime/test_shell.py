"""The whole shell with a fake agent: from submission to the end, durable before visible, level-triggered."""

from __future__ import annotations

from pathlib import Path

import pytest
from runtime_kit import ended, job, run, shell, submit, task

from styx.core.states import JobState
from styx.errors import StoreError
from styx.runtime.clock import VirtualClock
from styx.runtime.shell import Shell
from styx.store.sqlite import SqliteStore
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


def test_a_shell_that_cannot_open_lets_go_of_the_folder(tmp_path: Path) -> None:
    async def main() -> None:
        (tmp_path / "file").write_text("no folder")
        with pytest.raises(StoreError, match="output"):
            await Shell.open(SqliteStore(tmp_path / "db"), tmp_path / "file" / "output")
        again = await Shell.open(SqliteStore(tmp_path / "db"), tmp_path / "output")
        await again.close()

    run(main())


def test_an_agent_that_left_for_good_leaves_no_lease() -> None:
    async def main() -> None:
        clock = VirtualClock()
        async with shell(clock=clock) as sh:
            agent = FakeAgent(sh.hub)
            await agent.connect()
            node = agent.node
            assert node in sh.hub.leases
            await agent.bye(gone=True)
            await agent.disconnect()
            await sh.loop.settled()
            assert node not in sh.hub.leases
            assert sh.engine.world.nodes[node].state == "GONE"
            await agent.connect()
            assert node in sh.hub.leases
            await agent.disconnect()

    run(main())
