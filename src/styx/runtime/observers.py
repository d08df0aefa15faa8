"""Who hears of a turn once it is on disk: the event stream first, then those who count and those who follow."""

from __future__ import annotations

from collections.abc import Sequence

from styx.core.records import Record
from styx.runtime.feeds import Feeds
from styx.runtime.figures import Figures
from styx.runtime.watch import Watch

__all__ = ["Observers"]


class Observers:
    """The Publisher of the loop."""

    def __init__(self, watch: Watch, feeds: Feeds, figures: Figures) -> None:
        self._watch = watch
        self._feeds = feeds
        self._figures = figures

    def encode(self, records: Sequence[Record], at: int) -> tuple[bytes, int, int]:
        return self._watch.encode(records, at)

    def publish(self, payload: bytes, first: int, last: int, at: int, records: Sequence[Record]) -> None:
        self._watch.publish(payload, first, last, at, records)
        self._feeds.note(records)
        self._figures.note(records, at)
