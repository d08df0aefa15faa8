"""Whether a program should wait a moment for the link, or write ahead of it onto the disk.

What goes to the disk is written and read once more, and who writes ahead takes the CPU from those that carry its output away. So while
the agent takes at least what a disk would, a program whose output has piled up waits, as it does on any pipe that is read more
slowly than it is written. But a program must not be held up by a server that is away, or by a thin line: when less than that was taken
for a quarter of a second, the disk takes what comes (`spool`), until the agent is fast again.
"""

from __future__ import annotations

__all__ = ["Flow"]

SPAN = 250_000_000  # nanoseconds
_LEAST = 4 << 20  # bytes in a span: 16 MiB/s


class Flow:
    """Of one owner, on all its pipes together."""

    __slots__ = ("_good", "_since", "_taken")

    def __init__(self) -> None:
        self._good = True
        self._since = 0
        self._taken = 0

    @property
    def deadline(self) -> int:
        """When `good` may change for the worse."""
        return self._since + SPAN

    def good(self, now: int) -> bool:
        """Whether it is worth waiting."""
        if now >= self._since + SPAN:
            self._good = self._taken * SPAN >= _LEAST * (now - self._since)
            self._since, self._taken = now, 0
        return self._good

    def begin(self, now: int) -> bool:
        """Whether it is worth waiting for the first that would: how it was when nobody waited says little."""
        if self._good and now >= self._since + SPAN:
            self._since, self._taken = now, 0
        return self._good

    def took(self, size: int, now: int) -> None:
        """The agent has let go of so many bytes."""
        self._taken += size
        self.good(now)
