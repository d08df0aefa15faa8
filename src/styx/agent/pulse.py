"""Heartbeats, the lease they keep, and the silence that betrays a dead link.

The lease is counted from *sending* the last heartbeat that was acknowledged; the server counts its own, of the same length,
from receiving it. So the agent's ends first, without either of them knowing the other's clock. The Hello counts as the
first heartbeat and the Welcome as its acknowledgement.

A link whose other end vanished without a word stays open for minutes. When SILENCE heartbeats in a row go unanswered the link
is given up and dialled again, which costs little if the server was only slow.
"""

from __future__ import annotations

from collections import deque

__all__ = ["Pulse"]

SILENCE = 3


class Pulse:
    """Milliseconds of one clock that runs through suspend."""

    __slots__ = ("_beat_at", "_number", "_period", "_unanswered", "cut_off", "lease", "lease_end")

    def __init__(self) -> None:
        self._period = 0
        self._number = 0
        self._beat_at: int | None = None  # None while no link is up
        self._unanswered: deque[tuple[int, int]] = deque()  # (number, sent at)
        self.lease = 0
        self.lease_end: int | None = None  # None before the first Welcome, and once it is over
        self.cut_off = False

    def welcomed(self, greeted_at: int, now: int, period: int, lease: int) -> None:
        self._period = max(1, period)
        self._beat_at = now
        self.lease = lease
        self.lease_end = greeted_at + lease
        self.cut_off = False

    def disconnected(self) -> None:
        self._beat_at = None
        self._unanswered.clear()

    def due(self, now: int) -> bool:
        return self._beat_at is not None and now >= self._beat_at

    def beat(self, now: int) -> int:
        """A heartbeat is sent now; returns its number."""
        self._number += 1
        self._unanswered.append((self._number, now))
        self._beat_at = now + self._period
        return self._number

    def answered(self, number: int, now: int) -> None:
        unanswered = self._unanswered
        while unanswered and unanswered[0][0] <= number:
            _, sent = unanswered.popleft()
            if sent + self.lease > now:
                self.lease_end = sent + self.lease
                self.cut_off = False

    def silent(self, now: int) -> bool:
        """The other end of the link has not answered for too long."""
        return self._beat_at is not None and bool(self._unanswered) and now >= self._gives_up_at()

    def over(self, now: int) -> bool:
        """The lease is over, whether or not that was noticed already: this process may have been stopped meanwhile."""
        return self.cut_off or (self.lease_end is not None and now >= self.lease_end)

    def lapsed(self, now: int) -> bool:
        """True once, when the lease is over."""
        if self.lease_end is None or now < self.lease_end:
            return False
        self.lease_end = None
        self.cut_off = True
        return True

    def wake_at(self) -> int | None:
        times = [time for time in (self._beat_at, self.lease_end) if time is not None]
        if self._beat_at is not None and self._unanswered:
            times.append(self._gives_up_at())
        return min(times, default=None)

    def _gives_up_at(self) -> int:
        return self._unanswered[0][1] + SILENCE * self._period
