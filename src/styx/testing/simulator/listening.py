"""How long the server has listened, which is all the silence that it may hold against an agent.

While the server is down, stalled or suspended it hears nobody, so that time counts for no lease.
"""

from __future__ import annotations

__all__ = ["Listening"]


class Listening:
    """Milliseconds. `heard` marks a sign of life; `silence` is how long the server has listened since without another."""

    def __init__(self) -> None:
        self._total = 0
        self._since: int | None = None
        self._heard: dict[str, int] = {}
        self.pauses = 0  # each may cost a tick or two

    def begin(self, now: int) -> None:
        if self._since is None:
            self._since = now

    def pause(self, now: int) -> None:
        if self._since is not None:
            self._total += now - self._since
            self._since = None
            self.pauses += 1

    def restarted(self, now: int) -> None:
        """A new server counts every lease from its own start."""
        self.begin(now)
        total = self.total(now)
        self._heard = dict.fromkeys(self._heard, total)

    def total(self, now: int) -> int:
        return self._total + (now - self._since if self._since is not None else 0)

    def heard(self, machine: str, now: int) -> None:
        self._heard[machine] = self.total(now)

    def silence(self, machine: str, now: int) -> int:
        return self.total(now) - self._heard.get(machine, 0)
