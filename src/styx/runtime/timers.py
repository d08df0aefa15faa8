"""One timer for all of the core's deadlines: it is set to the earliest one and posts TimerFired.

The core keeps its own heap and names only the next moment (`Engine.wake_at`), so however many backoffs and timeouts there
are, the event loop carries a single timer. It is set anew after each turn, and only when the moment has moved.
"""

from __future__ import annotations

from collections.abc import Callable

from styx.runtime.clock import Clock, Handle

__all__ = ["Timer"]


class Timer:
    def __init__(self, clock: Clock, fire: Callable[[], None]) -> None:
        self._clock = clock
        self._fire = fire
        self._at: int | None = None
        self._handle: Handle | None = None

    def set(self, at: int | None) -> None:
        """Fire at this time (epoch milliseconds); None calls the timer off."""
        if at == self._at:
            return
        self.close()
        if at is not None:
            self._at = at
            self._handle = self._clock.call_later(at - self._clock.now(), self._due)

    def close(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._handle = None
        self._at = None

    def _due(self) -> None:
        at, self._at, self._handle = self._at, None, None
        if at is not None and at > self._clock.now():
            self.set(at)  # the event loop rounds, and its clock stands still in a suspend: not yet
        else:
            self._fire()
