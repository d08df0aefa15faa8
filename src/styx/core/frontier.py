"""The least demands that found no place in one pass of placement.

What asks for at least as much as one of them, and for the same labels, finds none either: wherever the larger one could start,
the smaller one could have. So a pass answers for a hundred shapes by looking at the nodes for a few. Only a shape with a node
reserved for it may start where a smaller one may not.

Each demand is kept with the change of a node up to which it was asked for, so that what is covered needs to hear only of the
nodes that changed since: it is as if it had been told no by all others itself.

Kept to a few demands, so that shapes of which none is smaller than the other (more CPUs, less memory) do not cost more to
compare than to look up.
"""

from __future__ import annotations

from styx.core.queues import Shape
from styx.core.resources import Resources

__all__ = ["Frontier"]

_KEPT = 8  # demands, for each set of labels


class Frontier:
    """Starts empty at each pass; classes come from the highest down, so what was refused to a higher one is refused to a lower."""

    __slots__ = ("_least",)

    def __init__(self) -> None:
        self._least: dict[tuple[tuple[str, str], ...], list[tuple[Resources, int]]] = {}

    def add(self, shape: Shape) -> None:
        """This one found no place, though every node was asked as it was at the change `shape.watermark`."""
        demand = shape.resources
        least = self._least.get(shape.labels)
        if least is None:
            self._least[shape.labels] = [(demand, shape.watermark)]
            return
        kept = [other for other in least if not demand.fits(other[0])]
        if len(kept) < _KEPT:
            kept.append((demand, shape.watermark))
        self._least[shape.labels] = kept

    def asked(self, shape: Shape) -> int:
        """The change of a node up to which one was asked for that wants no more than this shape, -1: there was none."""
        least = self._least.get(shape.labels)
        if least is not None:
            demand = shape.resources
            for other, change in least:
                if other.fits(demand):
                    return change
        return -1

    def covers(self, shape: Shape) -> bool:
        """Whether it asks for as much as one that found no place."""
        return self.asked(shape) >= 0
