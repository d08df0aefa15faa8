"""Whether a task may go to a node: the predicates that placement, reservation, `plan`, `why` and the check of a submission
share, so that what is said of a task is what is done with it.

Three questions, each stricter than the one before:
- `mismatch`: could this node hold it at all, if it were empty (labels, capacity);
- `usable`: may anything be given to the node (connected, up);
- `fits_now`: could it start there at once (nothing waits there before it, there is room, and no reservation is in the way).
`obstacle` names the first thing in the way, and is None exactly when `fits_now` is true and the node is usable.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import TYPE_CHECKING

from styx.core.queues import Shape
from styx.core.resources import Resources
from styx.core.states import NodeState

if TYPE_CHECKING:
    from styx.core.world import Node

__all__ = [
    "SPOT",
    "Obstacle",
    "fits_now",
    "mismatch",
    "missing",
    "obstacle",
    "stands_aside",
    "suits",
    "taints",
    "usable",
]

_UP = NodeState.UP

Labels = tuple[tuple[str, str], ...]

SPOT = ("spot", "true")
"""A task with this label bears to be put on machines that the cloud may take back; it does not ask for one."""


_RUNS = "runs"  # the label by which a runner says what it runs: images, functions


def taints(labels: Mapping[str, str], *, spot: bool) -> frozenset[tuple[str, str]]:
    """What keeps ordinary tasks off a node: that it may be taken back at any time, or that it runs only certain things. A plain
    command may go to a runner of images that it names, since there is an image for those; never to one of functions."""
    if spot:
        return frozenset({SPOT})
    runs = labels.get(_RUNS)
    if runs is None:
        return frozenset()
    own = {(_RUNS, runs)}
    if runs == "image" and "provider" in labels:
        own.add(("provider", labels["provider"]))
    return frozenset(own)


class Obstacle(Enum):
    """What keeps a task off a node now."""

    LABELS = "labels"  # the node lacks a label that the task wants
    CAPACITY = "capacity"  # too small even when empty
    AWAY = "away"  # not connected, or suspect
    LEAVING = "leaving"  # draining, or not up yet
    BEHIND = "behind"  # attempts that were sent ahead wait there, and nothing overtakes them
    ROOM = "room"  # too little is free now
    RESERVED = "reserved"  # the room is kept for a task that has waited long


def mismatch(node: Node, resources: Resources, labels: Labels) -> Obstacle | None:
    """Why the node could never hold such a task, as it is now: LABELS, CAPACITY, or None when it could."""
    if not suits(node, labels):
        return Obstacle.LABELS
    return None if resources.fits(node.capacity) else Obstacle.CAPACITY


def suits(node: Node, labels: Labels) -> bool:
    """Whether the node carries the labels, and lets such a task in: a node with taints takes only what carries one of them."""
    for pair in labels:
        if node.labels.get(pair[0]) != pair[1] and pair != SPOT:
            return False
    return not node.taints or not node.taints.isdisjoint(labels)


def usable(node: Node) -> bool:
    """Whether anything may be given to the node."""
    return node.connected and node.state is _UP


def fits_now(node: Node, shape: Shape, shapes: Sequence[Shape]) -> bool:
    """Whether a task of this shape would start on the node at once. `shapes` is ReadyQueues.shapes."""
    admission = node.admission
    if admission.waiting or not shape.resources.fits(admission.free):
        return False
    if not node.connected or node.state is not _UP:
        return False
    if (shape.labels or node.taints) and not suits(node, shape.labels):
        return False
    return node.reserved < 0 or stands_aside(node, shape, shapes)


def stands_aside(node: Node, shape: Shape, shapes: Sequence[Shape]) -> bool:
    """Whether the shape may use a node in spite of its reservation: the reservation is its own or of a lower class, or
    what is left when the reserved demand is set aside from the capacity suffices. So a reserved task is never delayed by
    what is placed after the reservation, however long that runs (EASY backfill without estimates of run time)."""
    if node.reserved in {-1, shape.key}:
        return True
    keeper = shapes[node.reserved]
    return keeper.priority < shape.priority or keeper.resources.plus(shape.resources).fits(node.admission.free)


def obstacle(node: Node, shape: Shape, shapes: Sequence[Shape]) -> Obstacle | None:
    """The first thing that keeps the shape off the node now; None when it could start there at once."""
    if fits_now(node, shape, shapes):
        return None
    never = mismatch(node, shape.resources, shape.labels)
    if never is not None:
        return never
    if node.state is not _UP:
        return Obstacle.LEAVING
    if not node.connected:
        return Obstacle.AWAY
    if node.admission.waiting:
        return Obstacle.BEHIND
    if not shape.resources.fits(node.admission.free):
        return Obstacle.ROOM
    return Obstacle.RESERVED


def missing(resources: Resources, room: Resources) -> Resources:
    """What `room` lacks to hold `resources`; zero in each part that suffices."""
    free = dict(room.accelerators)
    lacking = [(name, count - free.get(name, 0)) for name, count in resources.accelerators]
    return Resources(
        max(0, resources.cpus - room.cpus),
        max(0, resources.memory - room.memory),
        max(0, resources.disk - room.disk),
        tuple((name, count) for name, count in lacking if count > 0),
    )
