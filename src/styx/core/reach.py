"""What the nodes that changed may be good for, measured once in a pass of placement for all shapes that ask.

Every shape must hear of every node that changed since it looked last. To ask each of a thousand nodes for each of a hundred
shapes would cost more than to place what fits. So the first shape that asks has the nodes measured, and each further one compares
one number a node: the CPUs that it wants with those for which a look at the node is worthwhile.

It may promise too much (memory, labels), which costs a look in vain. It never promises too little: room only shrinks within a
pass, and what may be sent ahead behind a task that this pass has placed would have fitted in its stead. Only the end of a
reservation, or its beginning, makes a node change within a pass; such nodes are few and are measured when asked for.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate, compress, count, islice, repeat
from operator import le

from styx.core.fit import usable
from styx.core.settings import CoreSettings
from styx.core.world import Node, World

__all__ = ["Reach"]

_LATE = 8  # nodes that changed within the pass and are measured before one is taken to be worth a look


class Reach:
    """Rows of nodes, the one that changed last first, as deep as somebody has asked. Begins with a pass and ends with it."""

    __slots__ = (
        "_ages",
        "_ahead_ms",
        "_changed",
        "_deep",
        "_highs",
        "_least_cpus",
        "_lows",
        "_most_ahead",
        "_nodes",
        "_queues",
        "_rooms",
        "_row",
        "_start",
        "_tops",
    )

    def __init__(self, world: World, settings: CoreSettings) -> None:
        self._queues = world.queues
        self._nodes = world.nodes
        self._ahead_ms = settings.ahead_ms
        self._least_cpus = max(1, world.queues.least_cpus)
        self._start = self._queues.changes
        self._deep = self._start + 1  # every change from this number on has its row
        self._row: dict[int, int] = {}  # node -> its row
        self._changed: list[int] = []  # row -> the node
        self._ages: list[int] = []  # the number of its change, negative, so that it grows along the rows
        self._rooms: list[int] = []  # the most CPUs that may start there at once
        self._lows: list[int] = []  # the least and the most that may be sent ahead to it
        self._highs: list[int] = []
        self._most_ahead = -1  # of all rows
        self._tops: list[int] = []  # the most CPUs that any row down to this one is good for

    @property
    def measured(self) -> int:
        """How many nodes were measured so far."""
        return len(self._changed)

    def none_for(self, cpus: int, seen: int) -> bool:
        """Whether no node that changed after the change numbered `seen` is worth a look for so many CPUs."""
        rows = self._rows(seen)
        if rows and self._tops[rows - 1] >= cpus:
            return False
        if self._queues.changes == self._start:
            return True
        late = self._late(seen)
        return len(late) <= _LATE and not any(_good_for(self._measure(node), cpus) for node in late)

    def nodes_for(self, cpus: int, seen: int) -> tuple[list[int], list[int]]:
        """The nodes that changed after the change numbered `seen` and are worth a look for so many CPUs, in the order of their
        changes: where they may start at once, and where they may only be sent ahead."""
        rows = self._rows(seen)
        starting: list[int] = []
        behind: list[int] = []
        if rows and self._tops[rows - 1] >= cpus:
            changed, rooms = self._changed[:rows], self._rooms
            starting = list(compress(changed, map(le, repeat(cpus), rooms)))
            starting.reverse()
            if self._most_ahead >= cpus:
                behind = [
                    node
                    for node, low, high, room in zip(changed, self._lows, self._highs, rooms, strict=False)
                    if low <= cpus <= high and room < cpus and self._may_follow(node, cpus)
                ]
                behind.reverse()
        if self._queues.changes != self._start:
            late = dict.fromkeys(reversed(self._late(seen)))
            starting = [node for node in starting if node not in late]
            behind = [node for node in behind if node not in late]
            starting += [node for node in late if _good_for(self._measure(node), cpus)]
        return starting, behind

    def _may_follow(self, identifier: int, cpus: int) -> bool:
        """Whether so many CPUs may be sent ahead to the node, given who waits or runs there. Measured only for who asks: few do."""
        admission = self._nodes[identifier].admission
        if admission.waiting:
            return next(reversed(admission.waiting.values())).cpus == cpus
        _, sure, _ = admission.ending()
        return cpus <= sure.cpus

    def placed(self, node: Node) -> None:
        """The node has less room than when it was measured."""
        row = self._row.get(node.id)
        if row is not None:
            admission = node.admission
            self._rooms[row] = -1 if admission.waiting else admission.free.cpus

    def _rows(self, seen: int) -> int:
        """How many rows changed after the change numbered `seen`; they are added as far as they are missing."""
        if seen + 1 < self._deep:
            self._deepen(seen)
        return bisect_left(self._ages, -seen)

    def _deepen(self, seen: int) -> None:
        """Add rows down to the change after `seen`; and at least as many as there are, so that a hundred shapes that ask for
        a little more each do not go over all of them a hundred times."""
        first, deep = len(self._changed), self._deep
        enough, self._deep = 2 * first, 0
        for identifier, number in reversed(self._queues.changed.items()):
            if number >= deep:
                continue
            if number <= seen and len(self._changed) >= enough:
                self._deep = number + 1
                break
            self._changed.append(identifier)
            self._ages.append(-number)
        added = self._changed[first:]
        if not added:
            return
        self._row.update(zip(added, count(first), strict=False))
        rooms, lows, highs = zip(*[self._measure(node) for node in added], strict=True)
        self._rooms += rooms
        self._lows += lows
        self._highs += highs
        self._most_ahead = max(self._most_ahead, *highs)
        before = self._tops[-1] if first else -1
        self._tops += islice(accumulate(map(max, rooms, highs), max, initial=before), 1, None)

    def _late(self, seen: int) -> list[int]:
        """What changed within this pass and after `seen`, the last first."""
        after = max(seen, self._start)
        late = []
        for identifier, number in reversed(self._queues.changed.items()):
            if number <= after:
                break
            late.append(identifier)
        return late

    def _measure(self, identifier: int) -> tuple[int, int, int]:
        """The most CPUs that may start on the node at once, and the least and most that may be sent ahead to it; -1: nothing."""
        node = self._nodes[identifier]
        if not usable(node):
            return -1, 0, -1
        admission = node.admission
        if admission.waiting:  # nothing overtakes what waits there, and only its like may stand behind it
            tail = next(reversed(admission.waiting.values())).cpus
            return -1, tail, tail
        room = admission.free.cpus
        if not node.pace:
            return room, 0, -1
        held = len(admission.admitted) + room // self._least_cpus  # at most, when the pass has filled it
        return room, 0, node.capacity.cpus if node.pace <= held * self._ahead_ms else -1


def _good_for(measure: tuple[int, int, int], cpus: int) -> bool:
    room, low, high = measure
    return cpus <= room or low <= cpus <= high
