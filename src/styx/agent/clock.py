"""The clocks of an agent: neither goes back, and both run while the machine is suspended."""

from __future__ import annotations

import time
from pathlib import Path

__all__ = ["boottime", "uptime"]


def boottime() -> int:
    """Milliseconds on a clock that never goes back and, where there is one, runs through suspend."""
    return time.clock_gettime_ns(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)) // 1_000_000


def uptime() -> float:
    """Seconds since the machine was started, as a shell can read them too; raises OSError where there is no such file."""
    return float(Path("/proc/uptime").read_text("ascii").split()[0])
