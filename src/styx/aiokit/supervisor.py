"""Named background tasks with an owner.

A background task that dies in silence leaves a program that looks alive and does nothing. So each task belongs to a
Supervisor, and the first crash reaches the owner: through the `on_crash` callback, through `wait`, or at the latest when
`close` raises it. Ending normally and being cancelled are no crashes.

asyncio.TaskGroup cancels the siblings at once and has its owner wait inside the block; a daemon instead wants to be told, and
to bring its parts down in an order of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, TypeVar

__all__ = ["Crash", "Supervisor"]

T = TypeVar("T")


class Crash(Exception):
    """A background task died. `task` is its name; the error is the cause (`__cause__`), and `error`."""

    def __init__(self, task: str, error: BaseException) -> None:
        super().__init__(f"{task} stopped: {type(error).__name__}: {error}")
        self.task = task
        self.error = error
        self.__cause__ = error


class Supervisor:
    """Starts tasks, knows them by name, and ends them. Also a context manager: leaving it closes it."""

    def __init__(self, name: str, *, on_crash: Callable[[Crash], None] | None = None) -> None:
        self.name = name
        self._on_crash = on_crash
        self._tasks: set[asyncio.Task[Any]] = set()
        self._waiters: list[asyncio.Future[None]] = []
        self._told = False
        self.crash: Crash | None = None  # the first one

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self, name: str, body: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run `body` in the background as `SUPERVISOR.NAME`."""
        task = asyncio.get_running_loop().create_task(body, name=f"{self.name}.{name}")
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def wait(self) -> None:
        """Until a task crashes: raises its Crash. Returns only when `close` was called."""
        if self.crash is None:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter
        if self.crash is not None:
            self._told = True
            raise self.crash

    async def close(self) -> None:
        """Cancel what still runs and wait until it has ended. Raises a Crash that nobody was told about."""
        current = asyncio.current_task()
        while remaining := {task for task in self._tasks if task is not current}:
            for task in remaining:
                task.cancel()
            await asyncio.wait(remaining)  # `_ended` was the first done callback of each, so it has run by now
        self._release()
        if self.crash is not None and not self._told:
            self._told = True
            raise self.crash

    async def __aenter__(self) -> Supervisor:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._told = True  # something is being raised already; do not hide it
        await self.close()

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        crash = Crash(task.get_name(), error)
        if self.crash is None:
            self.crash = crash
        if self._on_crash is not None:
            self._told = True
            self._on_crash(crash)
        elif self.crash is not crash:
            # Only the first is raised; the others must not vanish.
            task.get_loop().call_exception_handler({"message": str(crash), "exception": error, "task": task})
        self._release()

    def _release(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
