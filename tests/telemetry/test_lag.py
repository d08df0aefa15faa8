from __future__ import annotations

import asyncio
from typing import Any

from styx.telemetry import Histogram, LagMonitor


class _VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose clock is set by hand; waiting for a timer makes it come due at once."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = 0.0

    def time(self) -> float:
        return self.clock

    def call_at(self, when: float, callback: Any, *args: Any, **options: Any) -> asyncio.TimerHandle:
        self.due = when
        return super().call_at(when, callback, *args, **options)


def test_a_blocked_loop_is_noticed() -> None:
    loop = _VirtualLoop()
    histogram = Histogram()
    monitor = LagMonitor(histogram, interval=0.025)

    async def pass_by(count: int, extra: float) -> None:
        """Let the timer be called `count` times, each `extra` seconds late."""
        for _ in range(count):
            loop.clock = loop.due + extra
            await asyncio.sleep(0)  # the loop finds the timer due,
            await asyncio.sleep(0)  # and has called it

    async def body() -> None:
        monitor.start()
        await pass_by(3, 0.0)
        assert monitor.longest == 0
        await pass_by(1, 0.3)
        await pass_by(2, 0.001)
        monitor.stop()

    try:
        loop.run_until_complete(body())
    finally:
        loop.close()
    assert histogram.count == 6
    assert abs(histogram.largest - 0.3) < 1e-9
    assert abs(monitor.reset() - 0.3) < 1e-9
    assert monitor.longest == 0
