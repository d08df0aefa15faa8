"""Placement: give what is READY to nodes, in order of class, fairness and age.

One pass works through the classes from the highest. Within a class the job with the least usage goes first, then the one with
the lowest serial; within a job its lines take turns by position. A task that finds no place is passed over: what comes after it
may still fit (its reservation sees to it that it does not starve).

The cost does not grow with what waits. A shape that found no place is out for the pass, with all that waits in it and every shape
that asks for as much (`frontier`); and it looks again only at nodes that changed since (`reach`). Each shape keeps a round of candidate nodes: one that fits moves to the end of the round
(next fit, which spreads tasks evenly and costs one look each), one that does not is dropped until it changes. So a look at a
node is paid for by a placement or by a change. Tasks that want no accelerators go round the nodes without any first.

A pass borrows the lines it works on from their shapes and heaps them by job, so that a job with lines in a hundred shapes costs no
more than one with a single line each time its usage grows.
"""

from __future__ import annotations

from collections import deque
from heapq import heapify, heappop, heappush, heapreplace
from math import inf
from typing import TYPE_CHECKING

from styx.core.ahead import AheadRoom, admit, filled, keeps_up, recall, watch
from styx.core.effects import StartAttempts
from styx.core.fit import fits_now
from styx.core.frontier import Frontier
from styx.core.queues import Line, Shape, job_key
from styx.core.reach import Reach
from styx.core.records import AttemptAssigned
from styx.core.reservation import found_no_place, give_up, give_up_moot, told_already
from styx.core.turn import Turn

if TYPE_CHECKING:
    from styx.core.world import Job, Node, Task

__all__ = ["admit", "place", "recall"]

_INDEX_BITS = 32
_INDEX_MASK = (1 << _INDEX_BITS) - 1
_LOOKS = 2_000
_LOOKS_EACH = 4
_GLANCES = 8  # nodes that are measured for the price of one look
_PLACED = 3  # looks that it costs to place one
_ROOM = 4  # looks that it costs to see what may be sent ahead to a node
_JOB = 1 << 62  # the rank of a job among entries of the same key: after every shape, so that all its lines are in
_LAST = (inf, 0)  # comes after every key


def place(turn: Turn, limit: int) -> bool:
    """Place what fits, at most `limit` elements. True when it should go on: it stopped there, had looked at many nodes in
    vain, or ended a reservation. Each look in vain drops the node from a round, so going on comes to an end."""
    return _Pass(turn, limit).run()


class _Pass:
    """One pass under way."""

    __slots__ = (
        "_again",
        "_ahead",
        "_borrowed",
        "_frontier",
        "_left",
        "_looked",
        "_looks",
        "_out",
        "_reach",
        "_reserve",
        "_sent",
        "_stuck",
        "_turn",
        "_world",
    )

    def __init__(self, turn: Turn, limit: int) -> None:
        self._turn = turn
        self._world = turn.world
        self._left = limit
        self._looks = max(_LOOKS, _LOOKS_EACH * limit)  # nodes to look at in vain before the pass is cut short
        self._reserve = True  # whether this pass may still reserve a node; one a pass bounds its cost
        self._again = False
        self._sent: dict[int, list[int]] = {}  # node -> attempts given to it in this pass
        self._out: set[int] = set()  # shapes that found no place in this pass, only asked for membership
        self._stuck: list[
            Shape
        ] = []  # those of them for which every node was asked, in the order in which they came up
        self._looked: set[int] = set()  # shapes that have heard of the changed nodes, only asked for membership
        self._ahead: dict[int, AheadRoom] = {}
        self._borrowed: dict[Line, None] = {}
        self._frontier = Frontier()

    def run(self) -> bool:
        turn, queues = self._turn, self._world.queues
        before = queues.changes
        if queues.reserved:
            give_up_moot(turn)
        self._reach = Reach(self._world, turn.settings)
        stopped = False
        for priority in sorted(queues.active, reverse=True):
            stopped = self._place_class(priority)
            for line in self._borrowed:
                queues.give_back(line)
            self._borrowed.clear()
            if stopped:
                break
        for identifier, attempts in self._sent.items():
            node = self._world.nodes[identifier]
            queues.load[identifier] = len(node.admission.admitted)
            filled(turn, node)
            turn.effect(StartAttempts(identifier, tuple(attempts)))
        return stopped or (self._again and queues.changes != before)

    def _place_class(self, priority: int) -> bool:
        """Place within one class; True when the limit stopped it."""
        queues = self._world.queues
        order: list[tuple[int, int, Shape | Job]] = []  # (job key, rank, a shape whose next line that is, or a job)
        order += queues.in_line(priority)
        heapify(order)
        lines: dict[int, list[tuple[int, int, Line]]] = {}  # job -> heap of its borrowed lines, by position
        while order:
            key, _, what = order[0]
            if self._looks < 0:
                return True
            if isinstance(what, Shape):
                self._come_up(order, lines, what, key)
                continue
            if not self._serve(order, lines[what.serial], what):
                return True
        return self._looks < 0

    def _serve(self, order: list[tuple[int, int, Shape | Job]], mine: list[tuple[int, int, Line]], job: Job) -> bool:
        """Place of a job's lines for as long as nobody else comes before the job; False when the limit stopped it."""
        following = min([entry[:2] for entry in order[1:3]], default=_LAST)
        while mine and self._looks >= 0 and (job_key(job), _JOB) < following:
            if not self._serve_line(mine, job, following):
                return False
        if mine:
            heapreplace(order, (job_key(job), _JOB, job))
        else:
            heappop(order)
        return True

    def _serve_line(self, mine: list[tuple[int, int, Line]], job: Job, following: tuple[float, int]) -> bool:
        """The same for the line that goes first, for as long as no other of the job's lines comes before it."""
        _, key, line = mine[0]
        shape, tasks = line.shape, job.tasks
        until = min(mine[1:3], default=None)
        while self._looks >= 0 and (job_key(job), _JOB) < following:
            position = line.peek()
            if position < 0:
                heappop(mine)
                return True
            entry = position, key, line
            if until is not None and entry > until:
                heapreplace(mine, entry)
                return True
            found = self._find(shape)
            if found is None:
                heappop(mine)
                return True
            if not self._left:
                return False
            self._assign(line, tasks[position >> _INDEX_BITS], position & _INDEX_MASK, *found)
        return True

    def _come_up(
        self,
        order: list[tuple[int, int, Shape | Job]],
        lines: dict[int, list[tuple[int, int, Line]]],
        shape: Shape,
        key: int,
    ) -> None:
        """A shape is the next in order: unless it needs no look, put its next line among the lines of its job."""
        queues = self._world.queues
        if shape.key in self._out:
            heappop(order)
            return
        covered = self._covered(shape)
        if covered and told_already(self._turn, shape, self._reserve):
            self._out.add(shape.key)
            heappop(order)
            return
        line = queues.top(shape)
        if line is None:
            queues.nothing_waits(shape)
            heappop(order)
            return
        if line.key > key:
            heapreplace(order, (line.key, shape.key, shape))
            return
        if covered or self._nothing_new(shape):
            self._found_nothing(shape)
            heappop(order)
            return
        queues.borrow(line)
        self._borrowed[line] = None
        if shape.heap:
            heapreplace(order, (shape.heap[0], shape.key, shape))
        else:
            heappop(order)
        job = line.job
        mine = lines.setdefault(job.serial, [])
        if not mine:
            heappush(order, (job_key(job), _JOB, job))
        heappush(mine, (line.peek(), shape.key, line))

    def _find(self, shape: Shape) -> tuple[Node, deque[int] | None] | None:
        """A node for the head of the shape, with the round it stands at the front of, or None as the round when the
        task is to be sent ahead to it. None when there is no node, or the pass has looked at enough of them."""
        key = shape.key
        if key in self._out:
            return None
        if key not in self._looked:
            if self._covered(shape) or self._nothing_new(shape):
                self._found_nothing(shape)
                return None
            self._looked.add(key)
            self._refresh(shape)
        found = self._look(shape)
        if found is None and self._looks >= 0:
            self._asked(shape)
            self._found_nothing(shape)
        return found

    def _asked(self, shape: Shape) -> None:
        """Every node was asked for this shape in vain."""
        self._frontier.add(shape)
        self._stuck.append(shape)

    def _found_nothing(self, shape: Shape) -> None:
        self._out.add(shape.key)
        self._reserve = found_no_place(self._turn, shape, self._reserve)

    def _covered(self, shape: Shape) -> bool:
        """Whether one that asks for no more found no place, so that it needs no look to know that this one finds none."""
        if shape.key in self._world.queues.reserved:
            return False
        asked = self._frontier.asked(shape)
        if asked < 0:
            return False
        shape.candidates = None
        shape.watermark = max(shape.watermark, asked)
        return True

    def _nothing_new(self, shape: Shape) -> bool:
        """Whether it has looked at all nodes as they are now, and has none left that may fit."""
        if shape.candidates is not None or not self._reach.none_for(shape.resources.cpus, shape.watermark):
            return False
        shape.watermark = self._world.queues.changes
        self._asked(shape)
        return True

    def _look(self, shape: Shape) -> tuple[Node, deque[int] | None] | None:
        queues, nodes = self._world.queues, self._world.nodes
        if shape.candidates is None:
            return None
        plain, accelerated, behind = shape.candidates
        for candidates in (plain, accelerated):
            while candidates and self._looks >= 0:
                node = nodes[candidates[0]]
                if fits_now(node, shape, queues.shapes):
                    return node, candidates
                self._looks -= 1
                candidates.popleft()
                if keeps_up(node, self._turn.settings):
                    behind.append(node.id)
        while behind and self._looks >= 0:
            node = nodes[behind[0]]
            room = self._ahead.get(node.id)
            if room is None:
                room = self._ahead[node.id] = AheadRoom(self._world, self._turn.now, self._turn.settings, node)
                self._looks -= _ROOM
            if room.allows(shape, self._stuck):
                behind.rotate(-1)
                return node, None
            self._looks -= 1
            behind.popleft()
            if not room.left and node.admission.free.cpus < queues.least_cpus:
                queues.node_filled(node.id)
        if self._looks >= 0:
            shape.candidates = None
        return None

    def _refresh(self, shape: Shape) -> None:
        """Add the nodes that changed since this shape looked last to its rounds."""
        queues, nodes, reach = self._world.queues, self._world.nodes, self._reach
        before = reach.measured
        starting, ahead = reach.nodes_for(shape.resources.cpus, shape.watermark)
        self._looks -= (reach.measured - before) // _GLANCES
        shape.watermark = queues.changes
        if not starting and not ahead:
            return
        rounds = shape.candidates
        if rounds is None:
            rounds = shape.candidates = (deque(), deque(), deque())
        plain, accelerated, behind = rounds
        if shape.resources.accelerators:
            plain.extend(starting)
        else:
            for node in starting:
                (accelerated if nodes[node].capacity.accelerators else plain).append(node)
        behind.extend(ahead)
        for candidates in rounds:
            if len(candidates) > 2 * len(nodes) + 16:  # light load: nodes come in by their changes and none is dropped
                once = dict.fromkeys(candidates)
                candidates.clear()
                candidates.extend(once)

    def _assign(self, line: Line, task: Task, index: int, node: Node, candidates: deque[int] | None) -> None:
        turn, world = self._turn, self._world
        attempt = world.last_attempt + 1
        number = task.numbers[index] + 1 if task.numbers is not None else 1
        choice = _choice(task, line.shape) if task.more else 0
        turn.record(AttemptAssigned(attempt, line.job.serial, task.ordinal, index, number, node.id, turn.now, choice))
        if candidates is not None:
            candidates.rotate(-1)
        else:
            self._ahead[node.id].take(line.shape)
            watch(turn, node)
        self._reach.placed(node)
        self._left -= 1
        self._looks -= _PLACED
        sent = self._sent.get(node.id)
        if sent is None:
            self._sent[node.id] = [attempt]
        else:
            sent.append(attempt)
        reserved = world.queues.reserved
        if reserved and line.shape.key in reserved:
            give_up(turn, line.shape)
            self._again = True


def _choice(task: Task, shape: Shape) -> int:
    """Which of the task's alternatives stands in this shape, or stood in one like it before that was retired."""
    alike = ((one.resources, one.labels) for one in (task.shape, *task.more) if one is not None)
    return next(at for at, one in enumerate(alike) if one == (shape.resources, shape.labels))
