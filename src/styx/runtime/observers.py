"""Who hears of a turn once it is on disk: the event stream first, then those who count and those who follow."""

from __future__ import annotations

from collections.abc import Sequence

from styx.core.records import JobAccepted, Record
from styx.runtime.feeds import Feeds
from styx.runtime.figures import Figures
from styx.runtime.watch import Watch

__all__ = ["Observers"]


class Observers:
    """The Publisher of the loop."""

    REMEMBERED = 10_000

    def __init__(self, watch: Watch, feeds: Feeds, figures: Figures) -> None:
        self._watch = watch
        self._feeds = feeds
        self._figures = figures
        self._origins: dict[int, int] = {}

    def origin(self, job: int) -> int:
        """An event id before which nothing is about this job: readers of its events need not look further back. 0 when it was
        accepted too long ago to be remembered."""
        return self._origins.get(job, 0)

    def encode(self, records: Sequence[Record], at: int) -> tuple[bytes, int, int]:
        return self._watch.encode(records, at)

    def publish(self, payload: bytes, first: int, last: int, at: int, records: Sequence[Record]) -> None:
        self._watch.publish(payload, first, last, at, records)
        self._feeds.note(records)
        self._figures.note(records, at)
        if first:
            for record in records:
                if type(record) is JobAccepted:
                    self._origins[record.job] = first - 1
            while len(self._origins) > self.REMEMBERED:
                del self._origins[next(iter(self._origins))]
