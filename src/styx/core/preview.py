"""What the next pass of placement would place first, found without changing anything.

It asks the same predicates in the same order as `placement`, but looks at every node: the plain statement of what the
incremental search amounts to. `why` answers from it, and the tests hold the two against each other.
"""

from __future__ import annotations

from styx.core.ahead import AheadRoom
from styx.core.fit import fits_now
from styx.core.frontier import Frontier
from styx.core.queues import Line, Shape
from styx.core.settings import CoreSettings
from styx.core.world import Node, World

__all__ = ["first_placed", "in_order"]


def in_order(world: World) -> list[tuple[int, int, Line]]:
    """The head of each shape in the order in which placement comes to them: (job key, position, line)."""
    queues = world.queues
    result: list[tuple[int, int, Line]] = []
    for priority in sorted(queues.active, reverse=True):
        heads = []
        for shape in queues.active[priority].values():
            line = queues.top(shape)
            if line is not None:
                heads.append((line.key, line.peek(), shape.key, line))
        result += [(key, position, line) for key, position, _, line in sorted(heads)]
    return result


def first_placed(world: World, now: int, settings: CoreSettings) -> tuple[Line, Node, bool] | None:
    """The line whose next element would be placed first, a node that would take it, and whether it would be sent ahead;
    None when nothing that waits finds a place. What would be sent ahead may take until the next end on that node:
    placement looks at a node for that once it has changed."""
    shapes = world.queues.shapes
    stuck: list[Shape] = []
    frontier = Frontier()
    for _, _, line in in_order(world):
        for node in world.nodes.values():
            if fits_now(node, line.shape, shapes):
                return line, node, False
        if line.shape.key not in world.queues.reserved and frontier.covers(line.shape):
            continue
        for node in world.nodes.values():
            if AheadRoom(world, now, settings, node).allows(line.shape, stuck):
                return line, node, True
        stuck.append(line.shape)
        frontier.add(line.shape)
    return None
