"""Time, as one port: what the time is, and calling back later.

Two clocks are needed. *Now* is epoch milliseconds, for people and for records; it is anchored once, at the start, to the
later of the wall clock and the last time found on disk, and from there it is driven by the boot clock, so that it never
goes backwards, whatever is done to the wall clock. *Elapsed* is the boot clock itself: leases are counted on it because
it runs on through a suspend.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Protocol

__all__ = ["BootClock", "Clock", "Handle", "VirtualClock"]


class Handle(Protocol):
    """A call that was asked for and can be called off."""

    def cancel(self) -> None: ...


class Clock(Protocol):
    def now(self) -> int:
        """Milliseconds since the epoch; never less than at an earlier call."""
        ...

    def elapsed(self) -> int:
        """Milliseconds on a clock that runs through suspend; only differences mean anything."""
        ...

    def call_later(self, delay: int, callback: Callable[[], None]) -> Handle:
        """Call back in `delay` milliseconds, on the event loop."""
        ...


def _boot() -> int:
    """Milliseconds since boot, suspended time included where the system counts it."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    if clock is None:  # macOS and Windows: their monotonic clocks do for an embedded plane
        return time.monotonic_ns() // 1_000_000
    return time.clock_gettime_ns(clock) // 1_000_000


class BootClock:
    """The machine's clock. `last_at` is the latest time on disk, in milliseconds since the epoch."""

    def __init__(self, last_at: int = 0) -> None:
        self._offset = max(time.time_ns() // 1_000_000, last_at) - _boot()

    def now(self) -> int:
        return self._offset + _boot()

    def elapsed(self) -> int:
        return _boot()

    def call_later(self, delay: int, callback: Callable[[], None]) -> Handle:
        return asyncio.get_running_loop().call_later(max(delay, 0) / 1_000, callback)


class _Call:
    __slots__ = ("callback", "live")

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback = callback
        self.live = True

    def cancel(self) -> None:
        self.live = False


class VirtualClock:
    """A clock for tests: it stands still until `advance`, which calls back whatever has come due, in order of time."""

    def __init__(self, now: int = 1_700_000_000_000) -> None:
        self._now = now
        self._calls: list[tuple[int, int, _Call]] = []
        self._serial = 0

    def now(self) -> int:
        return self._now

    def elapsed(self) -> int:
        return self._now

    def call_later(self, delay: int, callback: Callable[[], None]) -> Handle:
        self._serial += 1
        call = _Call(callback)
        heappush(self._calls, (self._now + max(delay, 0), self._serial, call))
        return call

    def advance(self, milliseconds: int) -> None:
        """Let that much time pass. Calls that were asked for on the way are made too, when they come due in it."""
        end = self._now + milliseconds
        while self._calls and self._calls[0][0] <= end:
            due, _, call = heappop(self._calls)
            self._now = max(self._now, due)
            if call.live:
                call.callback()
        self._now = end

    def jump(self, milliseconds: int) -> None:
        """Let time pass at one stroke, as a stalled process sees it: what came due is called only afterwards."""
        self._now += milliseconds
        self.advance(0)
