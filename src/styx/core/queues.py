"""What is READY and waits for a place: by shape, by job within a shape, by position within a job.

A *shape* is all that placement needs to know of a task: its priority class, its resources and the labels it wants. Tasks of
one shape fit in the same places, so when its head finds none, none of them does, and their number costs nothing.

Within a shape each job has a *line*. Lines are ordered by (usage of the job, serial of the job): the job that holds the least
goes first. Within a line the elements that came back (retried, lost, recalled) go first, then the others by (ordinal of the
task, index). A whole array is one entry, the position of its next element, so a million elements cost 40 bytes here.

Everything is lazy. The state of an element is the truth: an entry that names an element which is not READY is stale and is
skipped when it comes up, so an element may be named twice without harm. A heap key may be too small (usage grew since) and
is put right when it comes up; it must not be too large, so a job whose usage shrinks gets a second, smaller key
(`usage_shrank`), and the larger one is stale. Stale keys are swept out once they outnumber the lines.

This is derived from the world: only `apply` writes here, besides the lazy cleaning and the placement that borrows lines for the
length of one pass (`borrow`, `give_back`).
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from heapq import heapify, heappop, heappush, heapreplace
from typing import TYPE_CHECKING

from styx.core.resources import Resources
from styx.core.states import TaskState

if TYPE_CHECKING:
    from styx.core.world import Job, Task

__all__ = ["Line", "ReadyQueues", "Shape", "job_key"]

_READY = int(TaskState.READY)
_INDEX_BITS = 32
_INDEX_MASK = (1 << _INDEX_BITS) - 1
_SERIAL_BITS = 40
_SERIAL_MASK = (1 << _SERIAL_BITS) - 1
_SWEEP_ABOVE = 64
NO_DEMAND = 1 << 62


def job_key(job: Job) -> int:
    """Orders jobs by (usage, serial) as one number."""
    return job.usage << _SERIAL_BITS | job.serial


class Shape:
    """Tasks that fit in the same places and are of one priority class; interned by `ReadyQueues.shape`."""

    __slots__ = (
        "alarm",
        "candidates",
        "heap",
        "key",
        "labels",
        "lines",
        "priority",
        "resources",
        "retired",
        "since",
        "watermark",
        "weight",
    )

    def __init__(self, key: int, priority: int, resources: Resources, labels: tuple[tuple[str, str], ...]) -> None:
        self.key = key
        self.priority = priority
        self.resources = resources
        self.labels = labels
        self.weight = resources.weight
        self.lines: dict[int, Line] = {}  # by the job's serial
        self.heap: list[int] = []  # job keys, see `job_key`
        self.since = 0  # when a pass first left its head without a place after the last placement; 0: it does not wait
        self.retired = False  # nobody has lines in it, and another shape may have its key
        self.alarm = 0  # when the RESERVE timer under way is due
        # Placement's rounds of nodes that may fit: without accelerators that it does not want, with such, and without room
        # but perhaps with time, where it may be sent ahead. None: there are none but those that changed since `watermark`.
        self.candidates: tuple[deque[int], deque[int], deque[int]] | None = None
        self.watermark = 0  # placement's: the last change of a node that it has seen


class Line:
    """What one job has waiting in one shape."""

    __slots__ = ("borrowed", "front", "job", "key", "next", "ranges", "shape")

    def __init__(self, job: Job, shape: Shape, following: Line | None) -> None:
        self.job = job
        self.shape = shape
        self.next = following  # the next line of this job, in another shape
        self.front: list[int] | None = None  # heap of positions: elements that came back
        self.ranges: list[int] = []  # heap of positions: where each task goes on
        self.key = -1  # its valid key in the shape's heap, -1: it has none
        self.borrowed = False  # a pass of placement has it

    def peek(self) -> int:
        """The position of the next READY element, ordinal << 32 | index; -1 when there is none."""
        tasks = self.job.tasks
        front = self.front
        while front:
            position = front[0]
            if tasks[position >> _INDEX_BITS].states[position & _INDEX_MASK] == _READY:
                return position
            heappop(front)
        ranges = self.ranges
        while ranges:
            position = ranges[0]
            task = tasks[position >> _INDEX_BITS]
            if task.open:
                index = task.states.find(_READY, position & _INDEX_MASK)
                if index >= 0:
                    # Moving on within one task keeps the heap in order as far as tasks go, which is all that counts.
                    position = ranges[0] = task.ordinal << _INDEX_BITS | index
                    return position
            heappop(ranges)
        return -1


class ReadyQueues:
    """The lines of all shapes, and which nodes changed since each shape looked at them."""

    __slots__ = (
        "_demands",
        "_filled",
        "_first",
        "_interned",
        "_lowered",
        "_retired",
        "active",
        "ahead",
        "changed",
        "changes",
        "least_cpus",
        "load",
        "moved",
        "recall_at",
        "reserved",
        "shapes",
    )

    def __init__(self) -> None:
        self.shapes: list[Shape] = []
        self.active: dict[
            int, dict[int, Shape]
        ] = {}  # shapes that may have something waiting: priority -> key -> shape
        self.changed: OrderedDict[int, int] = OrderedDict()  # node -> number of its last change, in their order
        self.least_cpus = NO_DEMAND  # that any shape asks for
        self.changes = 0
        self.reserved: dict[int, int] = {}  # shape -> the node that keeps room for it
        self.ahead: dict[int, int] = {}  # nodes that were sent work ahead -> the first attempt asked back last, or 0
        self.moved: dict[
            int, int
        ] = {}  # node -> when something that held room there ended last, for what is sent ahead
        self.load: dict[int, int] = {}  # node -> attempts that held room there when it was last looked at
        self.recall_at = 0  # when the RECALL timer under way is due; 0: none
        self._retired: list[int] = []  # keys that are free again
        self._filled: dict[int, None] = {}  # nodes that were taken out of `changed`, and may have changed since
        self._lowered: dict[int, Line] = {}  # first lines of jobs whose usage shrank, by serial
        self._demands: dict[int, int] = {}  # CPUs -> how many shapes ask for so many
        self._interned: dict[tuple[int, Resources, tuple[tuple[str, str], ...]], Shape] = {}
        self._first: dict[int, Line] = {}  # serial of a job -> its first line

    def shape(self, priority: int, resources: Resources, labels: tuple[tuple[str, str], ...]) -> Shape:
        """The one Shape of these values."""
        ident = (int(priority), resources, labels)
        shape = self._interned.get(ident)
        if shape is None:
            self._count(resources.cpus, 1)
            key = self._retired.pop() if self._retired else len(self.shapes)
            shape = self._interned[ident] = Shape(key, int(priority), resources, labels)
            if key == len(self.shapes):
                self.shapes.append(shape)
            else:
                self.shapes[key] = shape
        return shape

    def push_task(self, task: Task, now: int) -> None:
        """All READY elements of the task wait from now on: one entry, however many they are."""
        line = self._line(task, task.shape)
        heappush(line.ranges, task.ordinal << _INDEX_BITS)
        self._enter(line)
        for shape in task.more:  # named in each of its shapes: the first that finds a place makes the others stale
            line = self._line(task, shape)
            heappush(line.ranges, task.ordinal << _INDEX_BITS)
            self._enter(line)

    def push(self, task: Task, index: int, now: int) -> None:
        """One element came back; it goes to the front part of its job's line."""
        for shape in (task.shape, *task.more):
            line = self._line(task, shape)
            if line.front is None:
                line.front = []
            heappush(line.front, task.ordinal << _INDEX_BITS | index)
            self._enter(line)

    def head(self, shape: Shape) -> tuple[Task, int] | None:
        """The next READY element of the shape by fairness, or None when nothing waits."""
        line = self.top(shape)
        if line is None:
            return None
        position = line.peek()
        return line.job.tasks[position >> _INDEX_BITS], position & _INDEX_MASK

    def top(self, shape: Shape) -> Line | None:
        """The line that goes first, cleaned so that its `peek` names an element; None when nothing waits."""
        if self._lowered:
            self._lower()
        heap, lines = shape.heap, shape.lines
        while heap:
            key = heap[0]
            line = lines.get(key & _SERIAL_MASK)
            if line is None or line.key != key:
                heappop(heap)
                continue
            if line.peek() < 0:
                heappop(heap)
                line.key = -1
                continue
            actual = job_key(line.job)
            if actual > key:
                line.key = actual
                heapreplace(heap, actual)
                continue
            return line
        return None

    def in_line(self, priority: int) -> Iterator[tuple[int, int, Shape]]:
        """(key, key of the shape, shape) of the shapes of one class in which something may wait. The first key is that of the
        shape's `top`, or smaller: most that come up find no place, and are not to be cleaned for that."""
        if self._lowered:
            self._lower()
        for shape in list(self.active[priority].values()):
            if shape.heap:
                yield shape.heap[0], shape.key, shape
            else:
                self.nothing_waits(shape)

    def nothing_waits(self, shape: Shape) -> None:
        """`top` found nothing in it."""
        shape.since = 0
        del self.active[shape.priority][shape.key]

    def waiting(self, shape: Shape) -> bool:
        """Whether anything of this shape is READY."""
        return self.top(shape) is not None

    def waiting_since(self, shape: Shape) -> int:
        """When the head began to wait: the first pass that found no place for it after the last placement of this
        shape. Milliseconds since the epoch; 0 when it does not wait. Which job's element is the head may change
        meanwhile: the wait is the shape's, else two jobs that take turns at the head could both starve."""
        return shape.since

    def take(self, shape: Shape, task: Task, index: int) -> None:
        """An element was given to a node and is not READY any more; its entry is stale by that alone."""
        if shape.retired:
            shape = self._current(shape)
        shape.since = 0

    def usage_shrank(self, job: Job) -> None:
        """The job holds less: its keys may be too large now. When it holds more they are too small, which is put right when they
        come up."""
        line = self._first.get(job.serial)
        if line is not None:
            self._lowered[job.serial] = line

    def _lower(self) -> None:
        """Give the jobs whose usage shrank their smaller keys; once for all that ended between two passes."""
        for line in self._lowered.values():
            key = job_key(line.job)
            following: Line | None = line
            while following is not None:
                if following.key > key:
                    following.key = key
                    heappush(following.shape.heap, key)
                    _sweep(following.shape)
                following = following.next
        self._lowered.clear()

    def node_changed(self, node: int) -> None:
        """A node has more room, is connected, or otherwise may fit where it did not before."""
        self.changes += 1
        self.changed.pop(node, None)
        self.changed[node] = self.changes

    def node_filled(self, node: int) -> None:
        """A node has less than `least_cpus` free: no shape need look at it until it changes again."""
        if self.changed.pop(node, None) is not None:
            self._filled[node] = None

    def _count(self, cpus: int, by: int) -> None:
        """One shape more, or fewer, asks for this many CPUs: keep `least_cpus`."""
        count = self._demands.get(cpus, 0) + by
        if count:
            self._demands[cpus] = count
            if cpus < self.least_cpus:
                self.least_cpus = cpus
                for node in self._filled:
                    self.node_changed(node)
                self._filled.clear()
        else:
            del self._demands[cpus]
            if cpus == self.least_cpus:
                self.least_cpus = min(self._demands, default=NO_DEMAND)

    def forget(self, job: Job) -> None:
        """The job leaves memory: nothing here may hold on to it."""
        line = self._first.pop(job.serial, None)
        self._lowered.pop(job.serial, None)
        while line is not None:
            shape = line.shape
            shape.lines.pop(job.serial, None)
            line.key = -1
            _sweep(shape)
            self.retire(shape)
            line = line.next

    def retire(self, shape: Shape) -> None:
        """Forget a shape that no job has lines in, so that a long life does not gather shapes. Its key is used again."""
        if shape.lines or shape.retired or shape.key in self.reserved:
            return
        shape.retired = True
        self._count(shape.resources.cpus, -1)
        del self._interned[shape.priority, shape.resources, shape.labels]
        self._retired.append(shape.key)
        self.active.get(shape.priority, {}).pop(shape.key, None)

    def borrow(self, line: Line) -> None:
        """Placement takes the top line of a shape out of its heap, so that the next one comes up."""
        heappop(line.shape.heap)
        line.key = -1
        line.borrowed = True

    def give_back(self, line: Line) -> None:
        """The end of `borrow`."""
        line.borrowed = False
        self._enter(line)

    def _current(self, shape: Shape) -> Shape:
        """The same shape, or its successor when it was retired and a task still names it."""
        return self.shape(shape.priority, shape.resources, shape.labels) if shape.retired else shape

    def _line(self, task: Task, shape: Shape | None) -> Line:
        job = task.job
        if shape is None:
            raise AssertionError(f"task {task.ordinal} of job {job.serial} is ready and has no shape")
        shape = self._current(shape)
        line = shape.lines.get(job.serial)
        if line is None:
            first = self._first.get(job.serial)
            if first is None:
                line = self._first[job.serial] = Line(job, shape, None)
            else:
                line = Line(job, shape, first.next)
                first.next = line
            shape.lines[job.serial] = line
        return line

    def _enter(self, line: Line) -> None:
        """Give the line a key in its shape's heap, if it has none."""
        if line.key >= 0 or line.borrowed:
            return
        shape = line.shape
        line.key = job_key(line.job)
        heappush(shape.heap, line.key)
        self.active.setdefault(shape.priority, {})[shape.key] = shape


def _sweep(shape: Shape) -> None:
    """Drop the stale keys once they are the most of the heap."""
    if len(shape.heap) > 2 * len(shape.lines) + _SWEEP_ABOVE:
        shape.heap = [line.key for line in shape.lines.values() if line.key >= 0]
        heapify(shape.heap)
