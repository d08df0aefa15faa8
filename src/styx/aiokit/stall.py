"""A limit on each of many short waits in a row, such as the frames of a connection.

`asyncio.timeout` makes and throws away a timer for each wait. Here one timer goes by itself, once every `limit`, and looks whether the
wait under way has lasted that long already; so a wait ends after between one and two limits, and an ordinary one costs two assignments.

    with Stall(30.0) as sending:
        async for frame in frames:
            sending.begins()
            await transport.send(frame)
            sending.ends()
"""

from __future__ import annotations

import asyncio
from types import TracebackType

__all__ = ["Stall"]


class Stall:
    """TimeoutError leaves the block when one wait took more than `limit` seconds (and less than twice that)."""

    __slots__ = ("_began", "_cancelling", "_fired", "_limit", "_loop", "_task", "_timer")

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._began: float | None = None  # when the wait under way began
        self._fired = False
        self._cancelling = 0
        self._task: asyncio.Task[object] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def begins(self) -> None:
        self._began = self._loop.time()

    def ends(self) -> None:
        self._began = None

    def __enter__(self) -> Stall:
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        if self._task is None:
            raise RuntimeError("a Stall guards the waits of a task")
        self._cancelling = self._task.cancelling()
        self._timer = self._loop.call_later(self._limit, self._look)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if not self._fired or self._task is None:
            return
        if self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def _look(self) -> None:
        began, task = self._began, self._task
        if began is not None and task is not None and self._loop.time() - began >= self._limit:
            self._fired = True
            task.cancel()
            return
        self._timer = self._loop.call_later(self._limit, self._look)
