"""How the suite comes to a plane: one that is named by whoever derives, with an agent; and short ways to say what it is to do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TypeVar

from styx.core.spec import JobSpec, TaskSpec
from styx.protocol.verbs import Verbs

__all__ = ["Scenes", "a_moment_later", "job", "sh", "until_started"]

T = TypeVar("T")

LIMIT = 60.0  # seconds; a test that takes as long hangs


def sh(name: str, line: str, *needs: str, array: int = 0, retries: int = 0) -> TaskSpec:
    """A task that is a line for the shell."""
    return TaskSpec(name, (line,), shell=True, needs=needs, array=array, retries=retries)


def job(*tasks: TaskSpec, name: str = "job") -> JobSpec:
    return JobSpec(name, tasks)


async def until_started(plane: Verbs, job_id: str) -> None:
    """Until a program of the job runs."""
    async for event in plane.events(job=job_id, after=0):
        if event.type == "attempt.started":
            return


async def a_moment_later(plane: Verbs) -> None:
    """Until the plane's clock, which counts milliseconds, shows another time."""
    now = (await plane.health()).uptime
    while (await plane.health()).uptime <= now:  # noqa: ASYNC110 - a clock gives no event
        await asyncio.sleep(0)


class Scenes:
    on_disk = True  # whether it keeps its records in a database

    def plane(self, folder: Path) -> AbstractAsyncContextManager[Verbs]:
        """One with an agent of at least two CPUs, which may come up a moment later."""
        raise NotImplementedError

    def _run(self, folder: Path, body: Callable[[Verbs], Awaitable[T]]) -> T:
        async def main() -> T:
            async with asyncio.timeout(LIMIT), self.plane(folder) as plane:
                return await body(plane)

        return asyncio.run(main())
