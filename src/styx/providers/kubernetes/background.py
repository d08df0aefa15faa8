"""What goes on by itself: tasks that nobody waits for, whose failure is written down, and calls that are made until they have worked."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from styx.providers.base import Context, Refused, Unsure
from styx.telemetry.log import get

__all__ = ["Background", "insist"]

log = get("kubernetes")


class Background:
    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, name: str, body: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(body, name=f"kubernetes {name}")
        self._tasks.add(task)
        task.add_done_callback(self._over)
        return task

    def _over(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.crash(f"{task.get_name()} failed", error)

    async def close(self) -> None:
        """End all of it."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def insist(what: str, act: Callable[[], Awaitable[object]], context: Context) -> None:
    """Until it has worked."""
    said = ""
    while True:
        try:
            await act()
        except (Refused, Unsure) as error:
            if error.message != said:
                log.warning(f"{what}: trying on", reason=error.message)
            said = error.message
            await context.sleep(max(2.0, error.retry_after if isinstance(error, Refused) else 0.0))
        else:
            return
