"""What the tests of the runtime share: a shell over a store in memory, and jobs for it."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from styx.core import ids
from styx.core.effects import Accepted
from styx.core.events import JobStaged, JobSubmitted
from styx.core.graph import check
from styx.core.resources import Resources
from styx.core.spec import JobSpec, TaskSpec
from styx.runtime.clock import Clock
from styx.runtime.shell import Shell, ShellSettings
from styx.store.base import Store
from styx.store.memory import MemoryStore


def run(main: Coroutine[Any, Any, Any], seconds: float = 20) -> Any:
    """Run a test's coroutine; one that hangs fails."""

    async def limited() -> Any:
        async with asyncio.timeout(seconds):
            return await main

    return asyncio.run(limited())


def task(name: str, *, cpus: float = 1, **options: Any) -> TaskSpec:
    options.setdefault("command", ("true",))
    options.setdefault("resources", Resources(int(cpus * 1_000)))
    if "needs" in options:
        options["needs"] = tuple(options["needs"])
    return TaskSpec(name, **options)


def job(name: str, *tasks: TaskSpec, **options: Any) -> JobSpec:
    return JobSpec(name, tasks, **options)


@asynccontextmanager
async def shell(
    store: Store | None = None, *, clock: Clock | None = None, settings: ShellSettings | None = None
) -> AsyncIterator[Shell]:
    with tempfile.TemporaryDirectory() as folder:
        opened = await Shell.open(
            store or MemoryStore(), Path(folder), clock=clock, settings=settings or ShellSettings()
        )
        try:
            yield opened
        finally:
            await opened.close()


async def submit(shell: Shell, spec: JobSpec, *, key: str = "") -> int:
    """Submit by the core's own events; returns the job's serial."""
    needs, problems = check(spec)
    assert not problems, problems
    header = msgspec.structs.replace(spec, tasks=())
    submit.entropy += 1  # type: ignore[attr-defined]
    identifier = ids.job_id(shell.clock.now(), submit.entropy)  # type: ignore[attr-defined]
    answer = await shell.loop.ask(
        JobStaged(0, 0, spec.tasks, tuple(needs)), lambda serial: JobSubmitted(serial, identifier, header, key)
    )
    assert isinstance(answer, Accepted), answer
    return answer.job


submit.entropy = 0  # type: ignore[attr-defined]


async def ended(shell: Shell, serial: int) -> Any:
    """The JobRow of a job once it has ended."""
    waiter = shell.watch.ended(serial)
    await shell.loop.settled()
    if serial in shell.engine.world.jobs:
        await waiter
    waiter.cancel()
    return await shell.store.job(serial)
