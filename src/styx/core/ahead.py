"""Sending ahead: a node gets a little more work than it has room for, so that it need not wait for the server between tasks.

What is sent ahead waits on the node in its strict queue (see `admission`) and holds no capacity until it is admitted. It is
bounded by time, not by number: about `ahead_ms` of work by the pace that the node has shown, and only while the node shows
it, that is, while something ended there within the last `recall_after`. It is never sent
- onto a reserved node;
- where another kind of demand waits already, or the end of any attempt there would not make room for it: it would stand
  behind a head that does not fit, which is a wrong place;
- past a task that comes before it and would take the next room on that node.

Pace can mislead: the next task may run for an hour. So what has not moved for `recall_after` is asked back (`recall`) once it
could start elsewhere, or a task that comes before it waits for this node.
"""

from __future__ import annotations

from itertools import islice

from styx.core.effects import RecallAttempts
from styx.core.fit import fits_now, mismatch, stands_aside, usable
from styx.core.queues import Shape, job_key
from styx.core.records import AttemptAdmitted
from styx.core.resources import Resources
from styx.core.settings import CoreSettings
from styx.core.timers import RECALL
from styx.core.turn import Turn
from styx.core.world import Node, World

__all__ = ["AheadRoom", "admit", "filled", "keeps_up", "recall", "recall_waiting", "watch"]


def admit(turn: Turn, node: Node) -> None:
    """Admit what fits from the head of the node's queue. Called when attempts ended there."""
    admission, queues = node.admission, turn.world.queues
    if len(admission.admitted) < queues.load.get(node.id, 0):  # some held room, and were not merely given back
        queues.moved[node.id] = turn.now
    while (head := admission.head()) is not None:
        turn.record(AttemptAdmitted(head))
    queues.load[node.id] = len(admission.admitted)
    filled(turn, node)


def keeps_up(node: Node, settings: CoreSettings) -> bool:
    """Whether ends come so fast on the node that anything may be sent ahead to it."""
    return 0 < node.pace <= len(node.admission.admitted) * settings.ahead_ms


def filled(turn: Turn, node: Node) -> None:
    """Spare the shapes a look at a node that is full and gets nothing ahead; its next end makes it known again."""
    admission, queues = node.admission, turn.world.queues
    if admission.free.cpus < queues.least_cpus and not keeps_up(node, turn.settings):
        queues.node_filled(node.id)


class AheadRoom:
    """How much more may be sent ahead to one node within one pass of placement."""

    __slots__ = ("_claim", "_node", "_scanned", "_tail", "left")

    def __init__(self, world: World, now: int, settings: CoreSettings, node: Node) -> None:
        admission = node.admission
        self._node = node
        self._claim: Resources | None = None  # the demand that comes first and would take it; with two, nobody else may
        self._scanned = 0  # how many of the stuck shapes were looked at for `_claim`
        self._tail: Resources | None = None  # the demand that waits there already
        self.left = 0
        moved = world.queues.moved.get(node.id, 0)
        if not node.pace or node.reserved >= 0 or not usable(node) or now - moved > settings.recall_after:
            return
        room = int(len(admission.admitted) * settings.ahead_ms / node.pace)
        self.left = max(0, min(room, settings.ahead_limit) - len(admission.waiting))
        if self.left and admission.waiting:
            self._tail = next(reversed(admission.waiting.values()))

    def allows(self, shape: Shape, stuck: list[Shape]) -> bool:
        """Whether one more of this shape may be sent ahead. `stuck` are the shapes that come before it and found no
        place; it only grows within a pass."""
        node, demand = self._node, shape.resources
        if self.left <= 0 or (self._claim is not None and self._claim != demand):
            return False
        if self._tail is None:
            _, sure, _ = node.admission.ending()
            if not demand.fits(sure):
                return False
            if demand.fits(node.admission.free):  # a reservation was given up in this pass: it can start, in the next
                return False
        elif self._tail != demand:
            return False
        if mismatch(node, demand, shape.labels) is not None:
            return False
        if self._scanned < len(stuck):
            self._hear(stuck)
        return self.left > 0 and (self._claim is None or self._claim == demand)

    def _hear(self, stuck: list[Shape]) -> None:
        """Who of those that came up since would take the next room here."""
        node, free = self._node, self._node.admission.free
        running, _, most = node.admission.ending()
        for other in islice(stuck, self._scanned, None):
            demand = other.resources
            if demand.cpus > most or demand == self._claim:
                continue
            lacking = demand.minus(free)
            if any(lacking.fits(ending) for ending in running) and mismatch(node, demand, other.labels) is None:
                if self._claim is not None:
                    self.left = 0
                    break
                self._claim = demand
        self._scanned = len(stuck)

    def take(self, shape: Shape) -> None:
        self.left -= 1
        self._tail = shape.resources


def watch(turn: Turn, node: Node) -> None:
    """Something waits on the node: see to it that `recall` looks at it in time."""
    queues = turn.world.queues
    queues.ahead.setdefault(node.id, 0)
    _arm(turn)


def _arm(turn: Turn) -> None:
    queues = turn.world.queues
    if not queues.recall_at:
        queues.recall_at = turn.now + turn.settings.recall_after
        turn.timer(queues.recall_at, RECALL)


def recall(turn: Turn) -> None:
    """Ask back what was sent ahead, has stalled, and keeps itself or a task before it from starting. For the RECALL timer."""
    world = turn.world
    queues, after = world.queues, turn.settings.recall_after
    queues.recall_at = 0
    for identifier, asked in list(queues.ahead.items()):
        node = world.nodes[identifier]
        head = next(iter(node.admission.waiting), None)
        if head is None:
            del queues.ahead[identifier]
            continue
        attempt = world.attempts[head]
        still_since = max(queues.moved.get(identifier, 0), attempt.assigned_at)
        shape = attempt.shape
        if head == asked or not node.connected or turn.now - still_since < after:
            continue
        if _elsewhere(world, shape) or _before(world, node, shape, job_key(attempt.task.job)):
            recall_waiting(turn, node)
    if queues.ahead:
        _arm(turn)


def recall_waiting(turn: Turn, node: Node) -> None:
    """Ask the node to give back all that waits there. What it has started meanwhile it keeps."""
    world = turn.world
    waiting = tuple(key for key in node.admission.waiting if not world.attempts[key].cancelling)
    if waiting:
        world.queues.ahead[node.id] = waiting[0]
        turn.effect(RecallAttempts(node.id, waiting))
        watch(turn, node)


def _elsewhere(world: World, shape: Shape) -> bool:
    """Whether some node could start a task of this shape now."""
    shapes = world.queues.shapes
    return any(fits_now(node, shape, shapes) for node in world.nodes.values())


def _before(world: World, node: Node, shape: Shape, key: int) -> bool:
    """Whether a task waits that comes before the job of `key` in the class of `shape`, and that this node could hold."""
    queues = world.queues
    for priority, active in queues.active.items():
        if priority < shape.priority:
            continue
        for other in list(active.values()):
            line = queues.top(other)
            if line is None or (priority == shape.priority and job_key(line.job) >= key):
                continue
            if mismatch(node, other.resources, other.labels) is None and stands_aside(node, other, queues.shapes):
                return True
    return False
