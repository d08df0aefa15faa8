"""The waits between attempts at something that failed: exponential, capped, with jitter.

The jitter is added after the cap. Jitter under the cap would vanish once the cap is reached, and everybody who had waited
that long would come back at the same moment; that is when a server that comes up again can bear it least.
"""

from __future__ import annotations

import random
from collections.abc import Callable

__all__ = ["Backoff"]


class Backoff:
    """`initial`, `initial * factor`, ... up to `limit` (seconds, or whatever unit the caller counts in), each with up to
    `jitter` of itself on top. `draw` gives a number in [0, 1); tests pass their own."""

    __slots__ = ("_draw", "_factor", "_initial", "_jitter", "_limit", "_wait", "failures")

    def __init__(
        self,
        initial: float = 0.5,
        limit: float = 30.0,
        *,
        factor: float = 2.0,
        jitter: float = 0.5,
        draw: Callable[[], float] = random.random,
    ) -> None:
        if not (0 < initial <= limit and factor >= 1 and jitter >= 0):
            raise ValueError("a backoff needs 0 < initial <= limit, factor >= 1 and jitter >= 0")
        self._initial = initial
        self._limit = limit
        self._factor = factor
        self._jitter = jitter
        self._draw = draw
        self._wait = initial
        self.failures = 0  # waits given out since the last success

    def next(self) -> float:
        """How long to wait now."""
        base = self._wait
        self._wait = min(base * self._factor, self._limit)
        self.failures += 1
        return base + base * self._jitter * self._draw()

    def reset(self) -> None:
        """It worked: begin anew."""
        self._wait = self._initial
        self.failures = 0
