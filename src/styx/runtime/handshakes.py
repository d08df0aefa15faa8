"""A limit on handshakes a second, so that a thousand agents that come back at once do not starve those already in."""

from __future__ import annotations

__all__ = ["Handshakes"]


class Handshakes:
    """A token bucket: `rate` a second, and at most `burst` at once. Times are milliseconds on any steady clock."""

    def __init__(self, rate: float = 200.0, burst: int = 200) -> None:
        self._rate = rate
        self._burst = float(burst)
        self._left = float(burst)
        self._at: int | None = None

    def admit(self, at: int) -> int:
        """0 when this one may go on, else after how many milliseconds it may try again."""
        if self._at is not None:
            self._left = min(self._burst, self._left + (at - self._at) * self._rate / 1_000)
        self._at = at
        if self._left >= 1:
            self._left -= 1
            return 0
        return 1 + int((1 - self._left) * 1_000 / self._rate)
