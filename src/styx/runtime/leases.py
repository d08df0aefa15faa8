"""Leases: how long silence is forgiven, counted from the last sign of life received.

The agent counts from sending its last acknowledged heartbeat and we from receiving it, so its lease ends before ours and
a program is never run twice because we were impatient. The clock is one that runs through suspend. A server that did not
listen for a while cannot blame the agents: `tick` notices by the gap since the tick before that the process was stalled,
and shifts every lease by what was lost.

Pure: times come in, events come out.
"""

from __future__ import annotations

from styx.core.events import AgentLost, AgentSuspected

__all__ = ["Leases"]


class Leases:
    """`suspect` and `lost` are milliseconds of silence; `tick` is how often `tick()` is to be called."""

    def __init__(self, *, suspect: int = 45_000, lost: int = 300_000, tick: int = 1_000) -> None:
        if not 0 < suspect < lost:
            raise ValueError(f"a lease must become suspect ({suspect} ms) before it is lost ({lost} ms)")
        self.suspect = suspect
        self.lost = lost
        self.interval = tick
        self._heard: dict[int, int] = {}
        self._suspects: set[int] = set()
        self._ticked: int | None = None

    def __contains__(self, node: int) -> bool:
        return node in self._heard

    def beat(self, node: int, at: int) -> None:
        """A sign of life. A lease that was not there begins; a suspect one is suspect no more."""
        self._begin(at)
        self._heard[node] = at
        self._suspects.discard(node)

    def watch(self, node: int, at: int) -> None:
        """Begin a lease for a node that has not been heard of since this server started: it is suspect already."""
        self._begin(at)
        self._heard[node] = at
        self._suspects.add(node)

    def suspected(self, node: int) -> None:
        """Somebody else has already said that this node is suspect, such as its link when it closed."""
        if node in self._heard:
            self._suspects.add(node)

    def drop(self, node: int) -> None:
        self._heard.pop(node, None)
        self._suspects.discard(node)

    def silence(self, node: int, at: int) -> int:
        """Milliseconds since the last sign of life; -1 when there is no lease."""
        heard = self._heard.get(node)
        return -1 if heard is None else at - heard

    def tick(self, at: int, *, paused: bool = False) -> list[AgentSuspected | AgentLost]:
        """What has become of the leases by `at`. Each event comes once; a lost lease is gone. A `paused` tick lets no time
        pass: agents that are away could not come back if they wanted."""
        gap = 0 if self._ticked is None else at - self._ticked
        self._ticked = at
        if paused:
            self._extend(gap, at)
            return []
        if gap > 2 * self.interval:  # a tick that is late by less is the event loop's ordinary jitter
            self._extend(gap - self.interval, at)
        happened: list[AgentSuspected | AgentLost] = []
        for node, heard in list(self._heard.items()):
            silence = at - heard
            if silence >= self.lost:
                self.drop(node)
                happened.append(AgentLost(node))
            elif silence >= self.suspect and node not in self._suspects:
                self._suspects.add(node)
                happened.append(AgentSuspected(node))
        return happened

    def _begin(self, at: int) -> None:
        if self._ticked is None:  # a process may be stalled before its first tick too
            self._ticked = at

    def _extend(self, by: int, at: int) -> None:
        for node, heard in self._heard.items():
            self._heard[node] = min(at, heard + by)
