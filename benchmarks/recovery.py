"""How long until a server that was killed has its world back, by how many tasks were live?

The store on disk is filled through the ordinary commits, then opened anew: what is measured goes from nothing to a shell that serves,
as the daemon opens it (without the start of Python). Different tasks, 100,000 to a job, none of which has run, and as many
as one array in which half has ended."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

from kit import Figure, Options, main

from styx.core.resources import Resources
from styx.core.spec import JobSpec, TaskSpec
from styx.runtime.plane import Plane
from styx.runtime.shell import Shell
from styx.store.sqlite import SqliteStore

JOB = 100_000
COUNTS = {10_000: 0.5, 100_000: 2.0, 1_000_000: 15.0}


async def _recover(count: int) -> float:
    with tempfile.TemporaryDirectory() as place:
        home = Path(place)
        shell = await Shell.open(SqliteStore(home), home / "output")
        plane = Plane(shell)
        for first in range(0, count, JOB):
            last = min(first + JOB, count)
            tasks = tuple(
                TaskSpec(f"t{number}", ("echo", str(number)), resources=Resources()) for number in range(first, last)
            )
            await plane.submit_spec(JobSpec("bulk", tasks))
        await shell.close()
        del shell, plane
        begin = time.perf_counter()
        shell = await Shell.open(SqliteStore(home), home / "output")
        took = time.perf_counter() - begin
        assert shell.engine.world.live == count
        await shell.close()
        return took


def measure(options: Options) -> list[Figure]:
    figures = []
    for full, target in COUNTS.items():
        count = options.of(full)
        taken = [asyncio.run(_recover(count)) for _ in range(options.rounds)]
        figures.append(
            Figure(
                f"{count:,} live tasks", "s", taken, less=True, target=target * count / full,
                curve=("recovered from disk", "different tasks", count),
            )
        )  # fmt: skip
    return figures


if __name__ == "__main__":
    main("How long does recovery take?", measure, rounds=1)
