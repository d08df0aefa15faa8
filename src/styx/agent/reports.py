"""What must reach the server exactly once, in order: the starts and ends of attempts.

Every Report has a number within the agent's session and is kept until an Ack covers it; after a reconnect those that are
not covered are sent again, and the server drops the numbers that it has. So each is dealt with once, however often the
link breaks.

Two things keep the traffic small. An attempt that ends within STARTED_AFTER of its start is never reported as started: its
end says how long it ran. And while some reports wait for their Ack, further facts gather for up to GATHER before they go; an
idle link gets them at once.
"""

from __future__ import annotations

from collections import deque

import msgspec

from styx.core.events import AttemptEnding
from styx.protocol.messages import Report

__all__ = ["Reports"]

STARTED_AFTER = 20  # milliseconds
GATHER = 5  # milliseconds
IN_FLIGHT = 2  # reports without an Ack before others gather
LARGEST = 500  # endings in one report; with results of 4 KiB each that stays well below a frame


class Reports:
    """All times are milliseconds of one clock that runs through suspend."""

    __slots__ = ("_ended", "_fresh", "_kept", "_noted", "_number", "_started", "_waiting_since")

    def __init__(self) -> None:
        self._number = 0
        self._kept: deque[tuple[int, Report]] = deque()  # (when it was made, report), by number
        self._fresh: dict[int, int] = {}  # attempt -> when it started; by time, since the delay is the same for all
        self._started: list[int] = []
        self._ended: list[AttemptEnding] = []
        self._noted: list[int] = []  # when each of `_ended` was noted
        self._waiting_since: int | None = None

    @property
    def owed(self) -> bool:
        """Whether anything is not yet known to be on the server's disk."""
        return bool(self._kept or self._ended or self._started or self._fresh)

    def started(self, attempt: int, now: int) -> None:
        self._fresh[attempt] = now

    def ended(self, ending: AttemptEnding, now: int) -> None:
        self._fresh.pop(ending.attempt, None)
        self._ended.append(ending)
        self._noted.append(now)
        if self._waiting_since is None:
            self._waiting_since = now

    def forget(self, attempt: int) -> None:
        """The server does not want to hear that it started."""
        self._fresh.pop(attempt, None)

    def due(self, now: int) -> list[Report]:
        """The reports to send now, over a link that is up."""
        self._age(now)
        since = self._waiting_since
        if since is None:
            return []
        if len(self._kept) >= IN_FLIGHT and len(self._ended) < LARGEST and now - since < GATHER:
            return []
        made = self._make(now)
        self._kept.extend((now, report) for report in made)
        return made

    def acknowledged(self, number: int) -> None:
        """Every report up to `number` is on the server's disk. Another session's numbers never come here."""
        kept = self._kept
        while kept and kept[0][1].number <= number:
            kept.popleft()
        self._number = max(self._number, number)

    def again(self, now: int) -> list[Report]:
        """What the server has not acknowledged, in order, for a new link; how long ago things were is brought up to date."""
        self._kept = deque((now, _older(report, now - made)) for made, report in self._kept)
        return [report for _, report in self._kept]

    def clear(self) -> None:
        """They were about attempts of another incarnation of the database. Numbers go on."""
        self._kept.clear()
        self._fresh.clear()
        self._started.clear()
        self._ended.clear()
        self._noted.clear()
        self._waiting_since = None

    def wake_at(self) -> int | None:
        """When `due` may have something, if nothing else happens."""
        times = []
        if self._fresh:
            times.append(next(iter(self._fresh.values())) + STARTED_AFTER)
        if self._waiting_since is not None:
            times.append(self._waiting_since + GATHER)
        return min(times, default=None)

    def _age(self, now: int) -> None:
        """Starts that are old enough become worth reporting."""
        fresh = self._fresh
        while fresh:
            attempt, at = next(iter(fresh.items()))
            if now - at < STARTED_AFTER:
                return
            del fresh[attempt]
            self._started.append(attempt)
            if self._waiting_since is None:
                self._waiting_since = at + STARTED_AFTER

    def _make(self, now: int) -> list[Report]:
        endings = [
            ending if noted == now else msgspec.structs.replace(ending, ago=ending.ago + now - noted)
            for ending, noted in zip(self._ended, self._noted, strict=True)
        ]
        made: list[Report] = []
        started = tuple(self._started)
        for first in range(0, len(endings) or 1, LARGEST):
            self._number += 1
            made.append(Report(self._number, started, tuple(endings[first : first + LARGEST])))
            started = ()
        self._started.clear()
        self._ended.clear()
        self._noted.clear()
        self._waiting_since = None
        return made


def _older(report: Report, by: int) -> Report:
    if by <= 0 or not report.ended:
        return report
    endings = tuple(msgspec.structs.replace(ending, ago=ending.ago + by) for ending in report.ended)
    return Report(report.number, report.started, endings)
