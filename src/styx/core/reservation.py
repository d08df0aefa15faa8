"""Reservations, so that a large task does not starve under a stream of small ones.

A shape whose head has found no place for `reserve_after` reserves one node that could hold it: the one that lacks the least.
From then on others get there only what is left when the reserved demand is kept aside from the capacity (`fit.stands_aside`),
so the node drains until the head fits. A reservation binds its own class and those below; classes stay strict.

It ends when a task of the shape is placed, there or elsewhere, when nothing of the shape waits any more, or when the node can
no longer be used. A shape has at most one, and so has a node; a pass makes at most one, and at most a quarter of the nodes (but
always one) is reserved, since in a crowded cluster everything waits long.
"""

from __future__ import annotations

from styx.core.ahead import recall_waiting
from styx.core.fit import mismatch, missing, usable
from styx.core.queues import Shape
from styx.core.records import NodeReserved
from styx.core.timers import RESERVE
from styx.core.turn import Turn
from styx.core.world import Node, World

_SHARE = 4  # at most one node in so many is reserved
_TRY_AGAIN = 10  # a shape that found no node to reserve tries again after this part of `reserve_after`

__all__ = ["found_no_place", "give_up", "give_up_moot", "told_already"]


def found_no_place(turn: Turn, shape: Shape, may_reserve: bool) -> bool:
    """The head of the shape stays without a place in this pass. Its wait begins, or is long enough for a reservation.
    Returns whether the pass may still reserve another node."""
    if not shape.since:
        shape.since = turn.now
    queues = turn.world.queues
    if shape.alarm > turn.now or shape.key in queues.reserved:
        return may_reserve
    after = turn.settings.reserve_after
    due = shape.since + after
    if due <= turn.now:
        if not may_reserve or len(queues.reserved) >= max(1, len(turn.world.nodes) // _SHARE):
            return may_reserve
        may_reserve = False
        if _reserve(turn, shape):
            return False
        due = turn.now + max(1, after // _TRY_AGAIN)
    shape.alarm = due
    turn.timer(due, RESERVE, shape.key)
    return may_reserve


def told_already(turn: Turn, shape: Shape, may_reserve: bool) -> bool:
    """Whether `found_no_place` would change nothing, for a shape in which something waits: it waits already, and its time to
    reserve a node has not come, or this pass may reserve none."""
    if not shape.since or shape.key in turn.world.queues.reserved:
        return shape.since > 0
    return shape.alarm > turn.now or (not may_reserve and shape.since + turn.settings.reserve_after <= turn.now)


def _reserve(turn: Turn, shape: Shape) -> bool:
    node = _soonest(turn.world, shape)
    if node is None:
        return False
    turn.world.queues.reserved[shape.key] = node.id
    turn.record(NodeReserved(node.id, shape.key))
    recall_waiting(turn, node)
    return True


def give_up(turn: Turn, shape: Shape) -> None:
    """The shape's reservation, if it has one, is needed no longer."""
    identifier = turn.world.queues.reserved.pop(shape.key, None)
    if identifier is not None and turn.world.nodes[identifier].reserved == shape.key:
        turn.record(NodeReserved(identifier, -1))


def give_up_moot(turn: Turn) -> None:
    """End the reservations whose shape waits no longer or whose node cannot serve it any more."""
    world = turn.world
    queues = world.queues
    for key, identifier in list(queues.reserved.items()):
        shape, node = queues.shapes[key], world.nodes[identifier]
        if (
            not queues.waiting(shape)
            or not usable(node)
            or node.reserved != key
            or mismatch(node, shape.resources, shape.labels) is not None
        ):
            give_up(turn, shape)
            queues.retire(shape)


def _soonest(world: World, shape: Shape) -> Node | None:
    """The usable, unreserved node that could hold the shape and lacks the least of it now. Nobody knows how long tasks run,
    so what is lacking stands for the time until it is free."""
    best: tuple[int, int] | None = None
    demand = shape.resources
    cpus, at_least = demand.cpus, not demand.accelerators
    for node in world.nodes.values():
        if node.reserved >= 0 or node.capacity.cpus < cpus:
            continue
        free = node.admission.free
        if best is not None and at_least and cpus - free.cpus > best[0]:
            continue  # what it lacks weighs at least that much
        if not usable(node) or mismatch(node, demand, shape.labels) is not None:
            continue
        rank = missing(demand, free).weight, node.id
        if best is None or rank < best:
            best = rank
    return None if best is None else world.nodes[best[1]]
