"""Providers behind a server: what was submitted before they had been looked at is not said to fit nowhere."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from styx.compose import ControlPlane
from styx.core.resources import Resources
from styx.core.spec import JobSpec, TaskSpec
from styx.providers.base import Check
from styx.providers.fake import FakeCloud, FakeProvider
from styx.runtime.provisioner import Provisioner
from styx.runtime.vault import Vault


class Slow(FakeProvider):
    """Its check waits until it is let."""

    def __init__(self, cloud: FakeCloud) -> None:
        super().__init__(cloud)
        self.go = asyncio.Event()

    async def check(self) -> Check:
        await self.go.wait()
        return await super().check()


def test_what_comes_before_the_first_look_waits_for_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        cloud = FakeCloud(lambda: time.time_ns() // 1_000_000, asyncio.sleep)
        slow, booted = Slow(cloud), asyncio.Event()
        cloud.booted = lambda machine, order: booted.set()

        def put(plane: ControlPlane, vault: Vault) -> None:
            known = plane.bundles.known
            Provisioner.open(plane.shell, {"fake": slow}, tmp_path, vault, known, public_url="http://styx.invalid")

        async with ControlPlane.open(tmp_path, places=put, resources=Resources(1_000)) as plane:
            task = TaskSpec("big", ("true",), resources=Resources(4_000), labels=(("provider", "fake"),))
            submitting = asyncio.create_task(plane.submit_spec(JobSpec("j", (task,))))
            await asyncio.sleep(0)
            await plane.shell.loop.settled()
            assert not submitting.done()
            slow.go.set()
            job = await submitting
            await booted.wait()
            assert (await plane.job(job.job_id)).status == "RUNNING"

    async def limited() -> None:
        async with asyncio.timeout(60):
            await scenario()

    asyncio.run(limited())
