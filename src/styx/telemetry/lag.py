"""How late the event loop is: it asks to be called back in `interval` and looks how much longer it took.

Whatever blocks the loop for longer than `interval` is seen at least up to that much short of its length, whoever did it. Costs one
timer; 40 calls a second are about 0.1 % of a core.
"""

from __future__ import annotations

import asyncio

from styx.telemetry.metrics import Histogram

__all__ = ["LagMonitor"]


class LagMonitor:
    """Observes into `histogram`, in seconds. `longest` is the largest delay since `start` or the last `reset`."""

    def __init__(self, histogram: Histogram, interval: float = 0.025) -> None:
        self._histogram = histogram
        self._interval = interval
        self._loop: asyncio.AbstractEventLoop | None = None
        self._handle: asyncio.TimerHandle | None = None
        self._due = 0.0
        self.longest = 0.0

    def start(self) -> None:
        """Begin, on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._ask(self._loop)

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def reset(self) -> float:
        """The longest delay since the last reset."""
        longest, self.longest = self.longest, 0.0
        return longest

    def _ask(self, loop: asyncio.AbstractEventLoop) -> None:
        self._due = loop.time() + self._interval
        self._handle = loop.call_at(self._due, self._called, loop)

    def _called(self, loop: asyncio.AbstractEventLoop) -> None:
        late = max(0.0, loop.time() - self._due)
        self._histogram.observe(late)
        self.longest = max(self.longest, late)
        self._ask(loop)
