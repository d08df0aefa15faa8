"""Bringing machines up for what waits and finds no place: level, not edge. Each pass looks at all that waits and at all that is
there or coming, and orders what is lacking; what was ordered before counts, so a pass that comes again orders nothing twice.

- What a node could hold that costs nothing extra (an agent that somebody started, a runner) waits for that node.
- Machines that are on their way, and room on those that are up, are set against what waits, in order of class and age.
- For the rest the cheapest offers are taken (`ranking`), without those that were refused lately, within `max_instances`, the hourly
  cap, and the budget of the job.
- A machine that is up and would have worked through its queue before another could boot needs no help.

Why nothing is brought up for a shape is told in `Places.told`, in the words that `why` shows.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from styx.core.budget import affords, lasts, money
from styx.core.capacity import has_own_place
from styx.core.effects import LaunchInstance
from styx.core.fit import mismatch
from styx.core.offers import Offer
from styx.core.queues import Line, Shape
from styx.core.ranking import best, how_many, ranked
from styx.core.records import InstanceIntended
from styx.core.refusals import refused
from styx.core.resources import Resources
from styx.core.states import NodeState, TaskState
from styx.core.tending import keep_tending
from styx.core.turn import Turn
from styx.core.wording import time_text
from styx.core.world import Node, Task, World

__all__ = ["scale"]

_LOOKED_AT = 500  # tasks that one pass looks at
_INDEX_MASK = 0xFFFFFFFF
_COMING = (NodeState.REQUESTED, NodeState.BOOTING)


class _Supply(msgspec.Struct):
    """A machine that is there or coming, and what of it is not spoken for."""

    node: Node
    room: Resources


def scale(turn: Turn) -> None:
    """Order the machines that are lacking."""
    world, places = turn.world, turn.places
    places.told.clear()
    supply = [
        _Supply(node, _room(node))
        for node in world.nodes.values()
        if node.instance is not None and (node.state in _COMING or (node.state == NodeState.UP and node.connected))
    ]
    ordered = False
    for looked, (task, shape, count) in enumerate(_waiting(world)):
        if looked >= _LOOKED_AT:
            break
        if has_own_place(world, task.spec):
            continue
        left = _take(supply, task, count)
        if left and not _soon_done(turn, supply, task, left):
            ordered |= _order(turn, supply, task, shape, left)
    if ordered:
        keep_tending(turn)


def _waiting(world: World) -> Iterator[tuple[Task, Shape, int]]:
    """What is READY: tasks with how many of their elements, by class, shape and age. A task is told of once, in its first shape."""
    queues = world.queues
    for priority in sorted(queues.active, reverse=True):
        for shape in list(queues.active[priority].values()):
            for serial in sorted(shape.lines):
                yield from _of_line(shape, shape.lines[serial])


def _of_line(shape: Shape, line: Line) -> Iterator[tuple[Task, Shape, int]]:
    tasks = line.job.tasks
    if line.job.cancelling:
        return
    counts: dict[int, int] = {}
    front = dict.fromkeys(line.front or ())
    for position in front:
        if tasks[position >> 32].states[position & _INDEX_MASK] == TaskState.READY:
            counts[position >> 32] = counts.get(position >> 32, 0) + 1
    for position in line.ranges[:_LOOKED_AT]:
        task = tasks[position >> 32]
        count = task.states.count(TaskState.READY, position & _INDEX_MASK)
        counts[task.ordinal] = counts.get(task.ordinal, 0) + count
    for position in front:  # one that came back may stand in the rest of its range too
        task = tasks[position >> 32]
        counts[task.ordinal] = min(counts.get(task.ordinal, 0), task.states.count(TaskState.READY))
    for ordinal in sorted(counts):
        task = tasks[ordinal]
        if counts[ordinal] and (task.shape is shape or _alike(task.shape, shape)):
            yield task, shape, counts[ordinal]


def _alike(a: Shape | None, b: Shape) -> bool:
    return a is not None and a.resources == b.resources and a.labels == b.labels


def _room(node: Node) -> Resources:
    room = node.admission.free
    for demand in node.admission.waiting.values():
        room = room.minus(demand)
    return room


def _take(supply: list[_Supply], task: Task, count: int) -> int:
    """Set what waits against what is there or coming; returns how much is left over."""
    for one in supply:
        for choice in task.spec.choices:
            if not count:
                return 0
            if mismatch(one.node, choice.resources, choice.labels) is not None:
                continue
            fits = min(count, how_many(choice.resources, one.room))
            if fits:
                one.room = one.room.minus(_times(choice.resources, fits))
                count -= fits
    return count


def _times(demand: Resources, count: int) -> Resources:
    accelerators = tuple((name, each * count) for name, each in demand.accelerators)
    return Resources(demand.cpus * count, demand.memory * count, demand.disk * count, accelerators)


def _soon_done(turn: Turn, supply: list[_Supply], task: Task, left: int) -> bool:
    """Whether machines that are up will have worked through it before another one could boot, at the pace they show."""
    a_minute = 0.0
    for one in supply:
        node = one.node
        if node.pace and node.state == NodeState.UP:
            for choice in task.spec.choices:
                if mismatch(node, choice.resources, choice.labels) is None:
                    a_minute += how_many(choice.resources, node.capacity) / node.pace
                    break
    return a_minute > 0 and left / a_minute <= turn.settings.boot_estimate


def _order(turn: Turn, supply: list[_Supply], task: Task, shape: Shape, count: int) -> bool:
    """Order machines for `count` elements of a task; says why not, if not."""
    world, places = turn.world, turn.places
    spec = task.spec
    any_ordered = False
    while count:
        found = best(
            places.catalog,
            spec.choices,
            spec.ordered,
            count,
            lambda offer: refused(world.refusals, offer, turn.now) is not None,
        )
        if found is None:
            places.told[shape.key] = _none_left(turn, task)
            return any_ordered
        obstacle = _bound(turn, task, found.offer)
        if obstacle:
            places.told[shape.key] = obstacle
            return any_ordered
        _intend(turn, task, found.offer)
        any_ordered = True
        node = world.nodes[world.last_node]
        one = _Supply(node, node.capacity)
        supply.append(one)
        before, count = count, _take([one], task, count)
        if count == before:
            places.told[shape.key] = f"{found.offer.instance_type} was found to fit, and does not"
            return any_ordered
    return any_ordered


def _intend(turn: Turn, task: Task, offer: Offer) -> None:
    node = turn.world.last_node + 1
    token = f"styx-{turn.settings.cluster}-{node}"
    lifetime = lasts(turn.world, task.job, offer, turn.now)
    turn.record(InstanceIntended(node, token, offer, task.job.serial, turn.now, lifetime))
    turn.effect(LaunchInstance(node))


def _bound(turn: Turn, task: Task, offer: Offer) -> str:
    """Which limit keeps one more machine from being brought up; empty when none does."""
    world, settings = turn.world, turn.settings
    there = [n for n in world.nodes.values() if n.instance is not None and n.state != NodeState.GONE]
    if len(there) >= settings.max_instances:
        return f"{len(there)} machines are up or coming, and max_instances is {settings.max_instances}"
    hourly = sum(node.instance.offer.price for node in there if node.instance is not None)
    if settings.hourly_cap and hourly + offer.price > settings.hourly_cap:
        return (
            f"one more machine ({offer.instance_type}, {money(offer.price)} an hour) would bring the total over the hourly cap "
            f"of {money(settings.hourly_cap)}"
        )
    if not affords(world, task.job, offer, turn.now, settings):
        return (
            f"the job's budget of {money(task.job.spec.budget)} does not bear a machine at {money(offer.price)} an hour"
        )
    return ""


def _none_left(turn: Turn, task: Task) -> str:
    """Why there is no offer: none fits at all, or those that do were refused lately."""
    world, now = turn.world, turn.now
    spec = task.spec
    for candidate in ranked(turn.places.catalog, spec.choices, spec.ordered, 1, lambda offer: False):
        refusal = refused(world.refusals, candidate.offer, now)
        if refusal is not None:
            where = candidate.offer.zone or candidate.offer.region or candidate.offer.provider
            return (
                f"every offer that fits was refused lately; {candidate.offer.instance_type} in {where}: {refusal.detail} "
                f"(asked again in {time_text(refusal.until - now)})"
            )
    return "no provider that can be used offers a machine that fits"
