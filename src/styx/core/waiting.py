"""Why a READY element has no place yet.

All of it comes from the predicates that placement itself asks (`fit`, `preview`), so it is what happens and not a second
opinion: the code is `next` exactly when the next placement would start this element.
"""

from __future__ import annotations

import msgspec

from styx.core.awaiting import outage_of
from styx.core.capacity import known_places, misfit
from styx.core.fit import Obstacle, mismatch, missing, obstacle
from styx.core.outages import outage_text
from styx.core.places import Places
from styx.core.preview import first_placed, in_order
from styx.core.queues import Line, Shape
from styx.core.reasons import Reason
from styx.core.settings import CoreSettings
from styx.core.states import TaskState
from styx.core.waiting_places import why_no_machine
from styx.core.wording import count_text, resources_text, time_text
from styx.core.world import Node, Task, World

__all__ = ["Reason", "why_ready"]

_SHOWN = 5  # nodes named in the evidence
_COUNTED = 1_000  # lines that are looked at to count what goes first
_READY = TaskState.READY


class _Before(msgspec.Struct, frozen=True):
    """What goes before an element in its shape."""

    own: int  # elements of its own job
    others: int  # elements of other jobs
    jobs: int  # these other jobs

    @property
    def evidence(self) -> tuple[str, ...]:
        texts = []
        if self.own:
            texts.append(f"{count_text(self.own, 'element')} of its own job go before it")
        if self.others:
            texts.append(
                f"{count_text(self.jobs, 'other job')} with {count_text(self.others, 'such task')} waiting go before it: "
                "jobs of equal priority share, and the one that holds the least is next"
            )
        return tuple(texts)


def why_ready(world: World, task: Task, index: int, now: int, settings: CoreSettings, providers: Places) -> Reason:
    """Codes: coming, no-machine, provider-barred, no-node, label-mismatch, never-fits, next, priority, fairness, queue, node-away, reserved, no-room."""
    machine = why_no_machine(world, task, now, providers)
    if machine is not None:
        return machine
    places = known_places(world)
    if not places:
        change = ("start an agent: `styx-agent`, on this or another machine",)
        return Reason("no-node", "no place is known that could run it", (), change)
    shape = task.shape
    fitting = [one for one in (shape, *task.more) if one is not None and _held_by_any(places, one)]
    if shape is None or not fitting:
        return _never(places, task)
    shape = world.queues.shape(shape.priority, fitting[0].resources, fitting[0].labels)
    position = task.ordinal << 32 | index
    first = first_placed(world, now, settings)
    line, place, ahead = first or (None, None, False)
    if line is not None and place is not None and not ahead and line.job is task.job and line.peek() == position:
        return Reason("next", f"it is next, and starts on {place.name!r} in a moment")
    before = _before(shape, task, position)
    shapes = world.queues.shapes
    obstacles = [(node, obstacle(node, shape, shapes)) for node in places]
    if line is not None and any(what is None for _, what in obstacles):
        if line.shape.priority > shape.priority:
            return Reason("priority", "tasks of a higher priority are given places first", before.evidence)
        if line.job is not task.job:
            return Reason("fairness", "another job that holds less is given a place first", before.evidence)
        return Reason("queue", "tasks of its own job are given places first", before.evidence)
    blocked = _blocked(world, shape, obstacles, now, providers)
    if before.own:
        reason = f"{count_text(before.own + before.others, 'task')} like it go first, and {blocked.reason}"
        return Reason("queue", reason, (*before.evidence, *blocked.evidence), blocked.change)
    if before.others:
        reason = f"other jobs that hold less go first, and {blocked.reason}"
        return Reason("fairness", reason, (*before.evidence, *blocked.evidence), blocked.change)
    return blocked


def _held_by_any(places: list[Node], shape: Shape) -> bool:
    return any(mismatch(node, shape.resources, shape.labels) is None for node in places)


def _never(places: list[Node], task: Task) -> Reason:
    spec = task.spec
    reason, change = misfit(places, spec.resources, spec.labels)
    labels = all(mismatch(node, spec.resources, spec.labels) is Obstacle.LABELS for node in places)
    evidence = tuple(f"{node.name!r} has {resources_text(node.capacity)} in all" for node in places[:_SHOWN])
    return Reason("label-mismatch" if labels else "never-fits", f"it {reason}", evidence, (change,))


def _blocked(
    world: World, shape: Shape, obstacles: list[tuple[Node, Obstacle | None]], now: int, providers: Places
) -> Reason:
    """Nothing of this shape finds a place now: why, node by node."""
    suitable = [(node, what) for node, what in obstacles if what not in {Obstacle.LABELS, Obstacle.CAPACITY}]
    evidence = [f"{node.name!r} {_in_the_way(world, shape, node, what)}" for node, what in suitable[:_SHOWN]]
    if suitable[_SHOWN:]:
        evidence.append(f"and {count_text(len(suitable) - _SHOWN, 'more node')} that could hold it")
    kinds = {what for _, what in suitable}
    if kinds <= {Obstacle.AWAY, Obstacle.LEAVING}:
        change = ("bring one of them back, or start another agent",)
        out = (outage_of(node, providers.outages) for node, what in suitable if what is Obstacle.AWAY)
        evidence += dict.fromkeys(outage_text(one, now) for one in out if one is not None)
        return Reason("node-away", "every place that could hold it is away or leaving", tuple(evidence), change)
    higher = sum(_waiting(line) for _, _, line in in_order(world) if line.shape.priority > shape.priority)
    if higher:
        evidence.append(f"{count_text(higher, 'task')} of a higher priority wait too, and go first")
    if shape.since:
        evidence.append(f"nothing like it found a place for {time_text(now - shape.since)}")
    kept = world.queues.reserved.get(shape.key)
    if kept is not None:
        evidence.append(f"{world.nodes[kept].name!r} keeps room for it")
    change = ("it starts when enough ends there; a further agent would help at once",)
    if Obstacle.RESERVED in kinds and not kinds & {Obstacle.ROOM, Obstacle.BEHIND}:
        reason = "what is free is kept for a task that has waited longer"
        return Reason("reserved", reason, tuple(evidence), change)
    return Reason("no-room", "no place has room for it now", tuple(evidence), change)


def _in_the_way(world: World, shape: Shape, node: Node, what: Obstacle | None) -> str:
    if what is Obstacle.AWAY:
        return "is not connected"
    if what is Obstacle.LEAVING:
        return f"is {node.state.value}"
    if what is Obstacle.BEHIND:
        return f"has {count_text(len(node.admission.waiting), 'attempt')} waiting that came before"
    if what is Obstacle.RESERVED:
        keeper = world.queues.shapes[node.reserved]
        return f"keeps {resources_text(keeper.resources)} for a task that has waited longer"
    lacking = missing(shape.resources, node.admission.free)
    return f"lacks {resources_text(lacking)}: {resources_text(node.admission.free, lacking)} free"


def _before(shape: Shape, task: Task, position: int) -> _Before:
    job = task.job
    mine = shape.lines.get(job.serial)
    others = jobs = 0
    for looked, line in enumerate(shape.lines.values()):
        if looked >= _COUNTED:
            break
        if line is not mine and (line.job.usage, line.job.serial) < (job.usage, job.serial):
            count = _waiting(line)
            others += count
            jobs += 1 if count else 0
    return _Before(0 if mine is None else _own_before(mine, position), others, jobs)


def _own_before(line: Line, position: int) -> int:
    """How many READY elements of the line go before the one at the position."""
    tasks = line.job.tasks
    front = {at for at in line.front or () if tasks[at >> 32].states[at & 0xFFFFFFFF] == _READY}
    if position in front:
        return sum(1 for at in front if at < position)
    ordinal, index = position >> 32, position & 0xFFFFFFFF
    count = len(front)
    for at in line.ranges:
        task, start = tasks[at >> 32], at & 0xFFFFFFFF
        if task.ordinal < ordinal:
            count += task.states.count(_READY, start)
        elif task.ordinal == ordinal and start < index:
            count += task.states.count(_READY, start, index)
    return count


def _waiting(line: Line) -> int:
    """About how many elements wait in a line."""
    tasks = line.job.tasks
    count = len(line.front or ())
    for at in line.ranges:
        count += tasks[at >> 32].states.count(_READY, at & 0xFFFFFFFF)
    return count
