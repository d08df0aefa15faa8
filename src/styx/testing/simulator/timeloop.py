"""An event loop in virtual time: instead of waiting, it jumps to the moment of the next timer.

It is asyncio's own loop over a selector that never waits. Nothing may do real I/O on it, and what is sent to a thread runs on the
loop itself after a virtual delay, so one run is a function of what was put into it.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["EPOCH", "Stuck", "TimeLoop"]

EPOCH = 1_700_000_000_000  # what the wall clock says at the start, in milliseconds


class Stuck(Exception):
    """Nothing is ready and nothing is scheduled: whoever is waited for will never come."""


class _Selector(selectors.BaseSelector):
    """Knows the loop's own wake-up pipe and nothing else; "waiting" moves the clock."""

    def __init__(self) -> None:
        self._keys: dict[Any, selectors.SelectorKey] = {}
        self.now = 0.0

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        key = selectors.SelectorKey(fileobj, fileobj if isinstance(fileobj, int) else fileobj.fileno(), events, data)
        self._keys[fileobj] = key
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys.pop(fileobj)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Stuck("nothing is ready and nothing is scheduled")
        if timeout > 0:
            self.now += timeout
        return []

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys[fileobj]

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._keys


class TimeLoop(asyncio.SelectorEventLoop):
    """`work` gives the seconds that a call in a thread takes."""

    def __init__(self, work: Callable[[], float] = lambda: 0.0) -> None:
        self._virtual = _Selector()
        self._work = work
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now

    def now(self) -> int:
        """Milliseconds since the start."""
        return round(self._virtual.now * 1_000)

    def jump(self, milliseconds: int) -> None:
        """Time passes at one stroke, as it does for everybody on a machine that was suspended."""
        self._virtual.now += milliseconds / 1_000

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:  # type: ignore[override]
        return self.create_task(self._call(func, args))

    async def _call(self, func: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        await asyncio.sleep(self._work())
        return func(*args)
