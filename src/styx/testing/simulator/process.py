"""Processes inside one event loop: what belongs together, dies together and stalls together.

A task belongs to the process whose task started it. `kill` ends a process as SIGKILL would: its tasks run no further, its
timers never fire, its connections are closed by the kernel, and what it had on its way to the disk or the network stays as it is.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable, Coroutine
from contextvars import ContextVar, copy_context
from random import Random
from typing import Any, TypeVar

from styx.runtime.clock import Handle
from styx.testing.simulator.timeloop import EPOCH, TimeLoop

__all__ = ["Process", "ProcessClock", "current", "task_factory"]

T = TypeVar("T")

_process: ContextVar[Process | None] = ContextVar("process", default=None)


def current() -> Process | None:
    """The process that the running task belongs to."""
    return _process.get()


def task_factory(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> Any:
    """Makes every task a part of its process."""
    context = options.get("context")
    process = _process.get() if context is None else context.get(_process)
    task: asyncio.Task[Any] = asyncio.Task(coro, loop=loop, **options)
    if process is not None:
        process.tasks.append(task)
    return task


class Process:
    """`wrong` hears of errors that leave the tasks it was started with."""

    def __init__(self, name: str, loop: TimeLoop, wrong: Callable[[str], None]) -> None:
        self.name = name
        self.loop = loop
        self._wrong = wrong
        self.alive = True
        self.stalled = False
        self.tasks: list[asyncio.Task[Any]] = []
        self.on_kill: list[Callable[[], None]] = []
        self._deferred: list[Callable[[], None]] = []
        self._context = copy_context()
        self._context.run(_process.set, self)

    def start(self, body: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = self.loop.create_task(body, context=self._context.copy())
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        if self.alive and not task.cancelled() and (error := task.exception()) is not None:
            self._wrong(f"the {self.name} has a bug: {error!r} at {_place(error)}")

    def kill(self) -> None:
        if not self.alive:
            return
        self.alive = False
        self._deferred.clear()
        for hook in self.on_kill:
            hook()
        for task in self.tasks:
            if not task.done():
                task.cancel()

    def call(self, callback: Callable[[], None]) -> None:
        """Something from outside reaches the process: at once, after its stall, or never."""
        if not self.alive:
            return
        if self.stalled:
            self._deferred.append(callback)
        else:
            callback()

    def resume(self, chance: Random) -> None:
        """The stall is over: what came meanwhile is found in any order."""
        self.stalled = False
        deferred, self._deferred = self._deferred, []
        chance.shuffle(deferred)
        for callback in deferred:
            callback()


class ProcessClock:
    """The Clock of a process."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._loop = process.loop

    def now(self) -> int:
        return EPOCH + self._loop.now()

    def elapsed(self) -> int:
        return self._loop.now()

    def call_later(self, delay: int, callback: Callable[[], None]) -> Handle:
        call = _Call(self._process, callback)
        call.timer = self._loop.call_later(max(delay, 0) / 1_000, call.due)
        return call


class _Call:
    __slots__ = ("callback", "live", "process", "timer")

    def __init__(self, process: Process, callback: Callable[[], None]) -> None:
        self.process = process
        self.callback = callback
        self.live = True
        self.timer: asyncio.TimerHandle

    def due(self) -> None:
        self.process.call(self.fire)

    def fire(self) -> None:
        if self.live:
            self.callback()

    def cancel(self) -> None:
        self.live = False
        self.timer.cancel()


def _place(error: BaseException) -> str:
    """The last lines of code that an error went through."""
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    return " < ".join(
        f"{frame.name} ({frame.filename.rpartition('/')[2]}:{frame.lineno})" for frame in reversed(frames)
    )
