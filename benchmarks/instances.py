"""A thousand machines asked for at once: how long does it take, and does the event loop stall meanwhile?

The whole server runs in this process, over a database on disk, with the fake cloud: each call takes 200 ms. One job wants a machine for
each of its elements. The delay is that of a callback which is due every 5 ms. Then all machines are ended again."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from kit import Figure, Options, main

from styx.compose import ControlPlane
from styx.core.resources import Resources
from styx.core.settings import CoreSettings
from styx.core.spec import JobSpec, TaskSpec
from styx.core.states import NodeState
from styx.providers.fake import FakeCloud, FakeProvider
from styx.runtime.provisioner import Provisioner
from styx.runtime.shell import ShellSettings
from styx.runtime.vault import Vault

COUNT = 1_000
LATENCY = 200  # milliseconds of a call
PATIENCE = 60.0  # seconds


class Delays:
    """The delays of the loop, in milliseconds, from its making on."""

    def __init__(self) -> None:
        self.worst = 0.0
        self._loop = asyncio.get_running_loop()
        self._next()

    def _next(self) -> None:
        self._due = self._loop.time() + 0.005
        self._loop.call_at(self._due, self._called)

    def _called(self) -> None:
        self.worst = max(self.worst, (self._loop.time() - self._due) * 1_000)
        self._next()


async def until(reached: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            if reached():
                return
            await asyncio.sleep(0.02)


async def once(count: int) -> tuple[float, float, float]:
    cloud = FakeCloud(lambda: time.time_ns() // 1_000_000, asyncio.sleep, latency=LATENCY)
    settings = ShellSettings(core=CoreSettings(max_instances=count))
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)

        def put(plane: ControlPlane, vault: Vault) -> None:
            url = "http://styx.invalid"
            Provisioner.open(
                plane.shell, {"fake": FakeProvider(cloud)}, home, vault, plane.bundles.known, public_url=url
            )

        async with ControlPlane.open(home, agent=False, settings=settings, places=put) as plane:
            world = plane.shell.engine.world
            await until(lambda: plane.shell.engine.places.usable)
            await plane.bundles.known()
            task = TaskSpec("t", ("true",), array=count, resources=Resources(90_000), labels=(("provider", "fake"),))
            delays, began = Delays(), time.perf_counter()
            job = await plane.submit_spec(JobSpec("j", (task,)))
            await until(lambda: sum(node.state == NodeState.BOOTING for node in world.nodes.values()) >= count)
            up = time.perf_counter() - began
            await plane.cancel(job.job_id)
            assert plane.shell.provisioner is not None
            await plane.shell.provisioner.down(list(world.by_token.values()))
            await until(lambda: not cloud.alive)
            return up, time.perf_counter() - began - up, delays.worst


def measure(options: Options) -> list[Figure]:
    count = options.of(COUNT)
    rows = [asyncio.run(once(count)) for _ in range(options.rounds)]
    ups, downs, worst = zip(*rows, strict=True)
    return [
        Figure(f"{count:,} machines asked for, each named by the cloud", "s", ups, less=True),
        Figure("all of them ended again", "s", downs, less=True),
        Figure("longest delay of the loop meanwhile", "ms", worst, less=True, target=50.0),
    ]


if __name__ == "__main__":
    main("Does the loop stall when a thousand machines are asked for at once?", measure, rounds=2)
