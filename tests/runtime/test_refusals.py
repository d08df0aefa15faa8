"""A refusal is cheap: it leaves nothing for the collector, whose passes would stall the loop just when it is busiest."""

from __future__ import annotations

import asyncio
import gc

from styx.compose import ControlPlane
from styx.core.settings import CoreSettings
from styx.core.spec import JobSpec, TaskSpec
from styx.errors import Busy
from styx.runtime.shell import ShellSettings


def test_a_refused_submission_leaves_no_cycle() -> None:
    async def main() -> int:
        settings = ShellSettings(core=CoreSettings(max_live=1))
        spec = JobSpec("much", (TaskSpec("much", ("true",), array=40),))
        async with ControlPlane.open(agent=False, settings=settings) as plane:

            async def refused(times: int) -> None:
                for _ in range(times):
                    try:
                        await plane.submit_spec(spec)
                    except Busy:
                        continue
                    raise AssertionError("it was accepted")

            await refused(1)
            gc.collect()
            gc.disable()
            try:
                await refused(20)
                return gc.collect()
            finally:
                gc.enable()

    assert asyncio.run(main()) < 20
