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

from styx.core.budget import affords, lasts, money, spent
from styx.core.capacity import has_own_place
from styx.core.effects import LaunchInstance
from styx.core.fit import mismatch
from styx.core.offers import Offer
from styx.core.queues import Line, Shape
from styx.core.ranking import best, how_many
from styx.core.records import InstanceIntended
from styx.core.refusals import refused
from styx.core.resources import Resources
from styx.core.states import NodeState, TaskState
from styx.core.tending import keep_tending
from styx.core.timers import RESERVE
from styx.core.turn import Turn
from styx.core.wording import offer_text, time_text
from styx.core.world import Node, Task, World

__all__ = ["scale"]

_LOOKED_AT = 500  # tasks that one pass looks at
_CHEAP = 50  # a look at so many may be taken after any change
_PAUSE = 200  # milliseconds between two wider looks
_ORDERS = 20  # machines that one step orders
_INDEX_MASK = 0xFFFFFFFF
_COMING = (NodeState.REQUESTED, NodeState.BOOTING)


class _Supply(msgspec.Struct):
    """A machine that is there or coming, and what of it is not spoken for."""

    node: Node
    room: Resources


def scale(turn: Turn) -> bool:
    """Order the machines that are lacking. True when it should go on: it had ordered as many as one step may."""
    places = turn.places
    if turn.now < places.scale_at:
        return False
    run = _Pass(turn)
    places.told.clear()
    places.unpaid.clear()
    looked, needs = _needs(turn.world)
    for task, shape, count in needs:
        if run.ordered >= _ORDERS:
            break
        if has_own_place(turn.world, task.spec):
            continue
        left = run.take(task, count)
        if left and not run.soon_done(task, left):
            run.order(task, shape, left)
    if run.ordered:
        keep_tending(turn)
    if looked > _CHEAP:  # a wide look is not taken after each of many small changes
        places.scale_at = turn.now + _PAUSE
        turn.timer(places.scale_at, RESERVE)
    return run.ordered >= _ORDERS


def _needs(world: World) -> tuple[int, list[tuple[Task, Shape, int]]]:
    """How many tasks were looked at, and what they want: those of one job that may go to the same places count together, so that
    they share a large machine where that is cheaper. A task stands for all that are like it."""
    groups: dict[tuple[object, ...], tuple[Task, Shape, int]] = {}
    looked = 0
    for task, shape, count in _waiting(world):
        if looked >= _LOOKED_AT:
            break
        looked += 1
        spec = task.spec
        key = (task.job.serial, shape.key, spec.spot, spec.max_hourly, spec.others, spec.ordered)
        _, _, before = groups.get(key, (task, shape, 0))
        groups[key] = (groups[key][0] if before else task, shape, before + count)
    return looked, list(groups.values())


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


def _times(demand: Resources, count: int) -> Resources:
    accelerators = tuple((name, each * count) for name, each in demand.accelerators)
    return Resources(demand.cpus * count, demand.memory * count, demand.disk * count, accelerators)


class _Pass:
    """One look at all that waits, and what was ordered in it."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self.ordered = 0
        there = [
            (node, node.instance)
            for node in turn.world.nodes.values()
            if node.instance is not None and node.state != NodeState.GONE
        ]
        self._count = len(there)
        self._hourly = sum(instance.offer.price for _, instance in there)
        self._supply = [
            _Supply(node, _room(node))
            for node, _ in there
            if node.state in _COMING or (node.state == NodeState.UP and node.connected)
        ]

    def take(self, task: Task, count: int) -> int:
        """Set what waits against what is there or coming; returns how much is left over."""
        for one in self._supply:
            if not count:
                break
            count = _fill(one, task, count)
        return count

    def soon_done(self, task: Task, left: int) -> bool:
        """Whether machines that are up will have worked through it before another one could boot, at the pace they show."""
        pace = 0.0  # elements a millisecond
        for one in self._supply:
            node = one.node
            if node.pace and node.state == NodeState.UP:
                for choice in task.spec.choices:
                    if mismatch(node, choice.resources, choice.labels) is None:
                        pace += how_many(choice.resources, node.capacity) / node.pace
                        break
        return pace > 0 and left / pace <= self._turn.settings.boot_estimate

    def order(self, task: Task, shape: Shape, count: int) -> None:
        """Order machines for `count` elements of a task, as many as this step may; says why not, if not."""
        turn, spec = self._turn, task.spec
        refusals, told = turn.world.refusals, turn.places.told
        while count and self.ordered < _ORDERS:
            found = best(
                turn.places.catalog,
                spec.choices,
                spec.ordered,
                count,
                lambda offer: refused(refusals, offer, turn.now) is not None,
            )
            obstacle = _none_left(turn, task) if found is None else self._bound(task, found.offer)
            if found is None or obstacle:
                told[shape.key] = obstacle
                return
            one = self._intend(task, found.offer)
            before, count = count, _fill(one, task, count)
            if count == before:
                told[shape.key] = f"{found.offer.instance_type} was found to fit, and does not"
                return

    def _intend(self, task: Task, offer: Offer) -> _Supply:
        turn = self._turn
        serial = turn.world.last_node + 1
        token = f"styx-{turn.settings.cluster}-{serial}"
        lifetime = lasts(turn.world, task.job, offer, turn.now)
        turn.record(InstanceIntended(serial, token, offer, task.job.serial, turn.now, lifetime))
        turn.effect(LaunchInstance(serial))
        self.ordered += 1
        self._count += 1
        self._hourly += offer.price
        node = turn.world.nodes[serial]
        one = _Supply(node, node.capacity)
        self._supply.append(one)
        return one

    def _bound(self, task: Task, offer: Offer) -> str:
        """Which limit keeps one more machine from being brought up; empty when none does."""
        world, settings = self._turn.world, self._turn.settings
        if self._count >= settings.max_instances:
            return f"{self._count} machines are up or coming, and max_instances is {settings.max_instances}"
        if settings.hourly_cap and self._hourly + offer.price > settings.hourly_cap:
            return (
                f"one more machine ({offer.instance_type}, {money(offer.price)} an hour) would bring the total over the "
                f"hourly cap of {money(settings.hourly_cap)}"
            )
        if affords(world, task.job, offer, self._turn.now, settings):
            return ""
        left = max(0, task.job.spec.budget - spent(world, task.job, self._turn.now))
        told = (
            f"what is left of the job's budget, {money(left)}, does not bear a machine at {money(offer.price)} an hour"
        )
        self._turn.places.unpaid[task.job.serial] = told
        return told


def _fill(one: _Supply, task: Task, count: int) -> int:
    """Speak for as much of a machine as the elements take; returns how many are left over."""
    for choice in task.spec.choices:
        if mismatch(one.node, choice.resources, choice.labels) is None:
            fits = min(count, how_many(choice.resources, one.room))
            if fits:
                one.room = one.room.minus(_times(choice.resources, fits))
                count -= fits
    return count


def _none_left(turn: Turn, task: Task) -> str:
    """Why there is no offer: none fits at all, or those that do were refused lately."""
    spec, now = task.spec, turn.now
    found = best(turn.places.catalog, spec.choices, spec.ordered, 1, lambda offer: False)
    if found is None:
        return "no provider that can be used offers a machine that fits"
    refusal = refused(turn.world.refusals, found.offer, now)
    told = f"{refusal.detail} (asked again in {time_text(refusal.until - now)})" if refusal is not None else ""
    return f"every offer that fits was refused lately; the best is {offer_text(found.offer)}: {told}"
