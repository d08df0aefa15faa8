"""What a handler works with while one event is stepped: the world to read, and the lists to fill."""

from __future__ import annotations

from collections import deque
from heapq import heappush

from styx.core.apply import APPLY
from styx.core.effects import Effect
from styx.core.places import Places
from styx.core.records import Record
from styx.core.settings import CoreSettings
from styx.core.world import World

__all__ = ["Later", "Turn"]

Later = tuple[str, int, int, int]
"""Wide work to go on with in a later step: (what, job or node, position, choice)."""


class Turn:
    """One step under way. Handlers read `world`, decide, and say so by `record` and `effect`."""

    __slots__ = ("effects", "now", "places", "records", "settings", "unfinished", "world")

    def __init__(
        self, world: World, now: int, settings: CoreSettings, unfinished: deque[Later], places: Places
    ) -> None:
        self.world = world
        self.now = now
        self.settings = settings
        self.unfinished = unfinished
        self.places = places
        self.records: list[Record] = []
        self.effects: list[Effect] = []

    def record(self, record: Record) -> None:
        """State a fact: it is written into the world at once, and goes into the batch."""
        self.records.append(record)
        APPLY[type(record)](self.world, record)

    def effect(self, effect: Effect) -> None:
        self.effects.append(effect)

    def later(self, what: str, subject: int, position: int = 0, choice: int = 0) -> None:
        self.unfinished.append((what, subject, position, choice))

    def timer(self, due: int, kind: int, job: int = 0, task: int = 0, index: int = 0) -> None:
        """Ask for a TimerFired at `due`. Timers are hints: who is woken looks at the world to see what is due."""
        heappush(self.world.timers, (due, kind, job, task, index))
