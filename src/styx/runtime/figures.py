"""Figures of the running server: how much came in and ended, how fast, and how late the event loop is.

Counting happens where the records pass by anyway; rates are kept by the second. The lag of the loop is measured by a callback
that asks to be called in 50 ms and looks at how late it was.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterable

from styx.core.records import AttemptEnded, JobAccepted, Record, SpansEnded

__all__ = ["Figures", "Lag"]

RATE_OVER = 10  # seconds


class Figures:
    """`submitted` and `ended` count elements since the start; elements of before a restart may be among those that end."""

    def __init__(self, started: int) -> None:
        self.started = started  # epoch milliseconds
        self.submitted = 0
        self.ended = 0
        self._seconds: deque[list[int]] = deque()  # [second, elements that ended in it]

    def note(self, records: Iterable[Record], at: int) -> None:
        """Take notice of records that were committed at `at`."""
        ended = 0
        for record in records:
            if type(record) is AttemptEnded:
                ended += record.state.ended
            elif type(record) is SpansEnded:
                ended += sum(count for _, _, count in record.spans)
            elif type(record) is JobAccepted:
                self.submitted += record.elements
        if ended:
            self.ended += ended
            second = at // 1_000
            if self._seconds and self._seconds[-1][0] == second:
                self._seconds[-1][1] += ended
            else:
                self._seconds.append([second, ended])
                self._trim(second)

    def rate(self, at: int) -> float:
        """Elements that ended a second, over the last 10 s."""
        self._trim(at // 1_000)
        span = min(RATE_OVER, max(1.0, (at - self.started) / 1_000))
        return sum(count for _, count in self._seconds) / span

    def _trim(self, second: int) -> None:
        while self._seconds and self._seconds[0][0] <= second - RATE_OVER:
            self._seconds.popleft()


class Lag:
    """How many milliseconds late the event loop calls back, over the last few minutes."""

    INTERVAL = 0.05

    def __init__(self) -> None:
        self._samples: deque[float] = deque(maxlen=6_000)
        self._handle: asyncio.TimerHandle | None = None
        self._due = 0.0

    def start(self) -> None:
        self._due = time.perf_counter() + self.INTERVAL
        self._handle = asyncio.get_running_loop().call_later(self.INTERVAL, self._sample)

    def close(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    @property
    def longest(self) -> float:
        return max(self._samples, default=0.0)

    def percentile(self, share: float) -> float:
        ordered = sorted(self._samples)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0

    def _sample(self) -> None:
        self._samples.append(max(0.0, (time.perf_counter() - self._due) * 1_000))
        self.start()
