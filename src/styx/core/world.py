"""The working copy of everything live. Only `apply` writes here; the AST guard in tests/core proves it.

Elements of arrays are not objects: a Task holds one byte of state an element, and further columns only once they are
needed. Only an element that was given to a node has an Attempt.
"""

from __future__ import annotations

from array import array

from styx.core.admission import Admission
from styx.core.ids import JobId
from styx.core.instance import Instance, Refusal
from styx.core.queues import ReadyQueues, Shape
from styx.core.resources import Resources
from styx.core.spec import JobSpec, TaskSpec
from styx.core.states import NodeState, TaskState

__all__ = ["Attempt", "Job", "Node", "Task", "World", "failure_code", "failure_mark"]


class Attempt:
    """One execution of an element, from its assignment to its one terminal record."""

    __slots__ = (
        "admitted",
        "assigned_at",
        "cancelling",
        "id",
        "index",
        "node",
        "number",
        "shape",
        "started_at",
        "task",
    )

    def __init__(self, identifier: int, task: Task, shape: Shape, index: int, number: int, node: Node, at: int) -> None:
        self.id = identifier
        self.task = task
        self.shape = shape  # of the alternative by which it came to its node
        self.index = index
        self.number = number
        self.node = node
        self.assigned_at = at
        self.started_at = 0
        self.admitted = False
        self.cancelling = False


def failure_mark(at: int, code: int) -> int:
    """When (milliseconds) and how (exit code) as one number: the first failure is the smallest."""
    return at << 10 | min(max(code, 0), 1_023)


def failure_code(mark: int) -> int:
    """The exit code in a failure mark."""
    return mark & 1_023


class Task:
    """A node of a job's graph: one spec and `size` elements."""

    __slots__ = (
        "dependants",
        "due",
        "failed",
        "failures",
        "job",
        "live",
        "losses",
        "more",
        "needs",
        "numbers",
        "open",
        "ordinal",
        "shape",
        "size",
        "spec",
        "states",
        "unmet",
        "unsuccessful",
    )

    def __init__(self, job: Job, ordinal: int, spec: TaskSpec, needs: tuple[int, ...]) -> None:
        self.job = job
        self.ordinal = ordinal
        self.spec = spec
        self.needs = needs
        self.shape: Shape | None = None  # interned when it becomes ready
        self.more: tuple[Shape, ...] = ()  # of the further alternatives, likewise
        self.size = spec.array or 1
        self.states = bytearray(self.size)
        self.numbers: array[int] | None = None  # attempts given out, by element
        self.failures: array[int] | None = None  # retries used up
        self.losses: array[int] | None = None  # attempts lost
        self.failed: array[int] | None = (
            None  # when and how a FAILED element failed that fails the job, see `failure_mark`
        )
        self.live: dict[int, int] | None = None  # index -> attempt under way
        self.due: dict[int, int] | None = None  # index -> when its backoff is over
        self.unmet = len(needs)  # tasks needed that have not ended
        self.open = self.size  # elements that have not ended
        self.unsuccessful = 0  # elements that ended otherwise than SUCCEEDED
        self.dependants: tuple[int, ...] | list[int] = ()

    @property
    def satisfied(self) -> bool:
        """Whether dependants that want success may start, now that this has ended."""
        if not self.unsuccessful:
            return True
        return self.spec.allow_failure and self.states.count(TaskState.FAILED) == self.unsuccessful


class Job:
    """A job whose tasks have not all ended."""

    __slots__ = (
        "accepted_at",
        "cancel_reason",
        "cancelling",
        "cost",
        "counts",
        "deadline_at",
        "elements",
        "failure",
        "forward",
        "id",
        "key",
        "open",
        "serial",
        "spec",
        "tasks",
        "usage",
    )

    def __init__(self, serial: int) -> None:
        self.serial = serial
        self.id = JobId(0)
        self.spec = JobSpec("", ())
        self.tasks: list[Task] = []
        self.forward: dict[int, list[int]] = {}  # dependants of tasks that are not staged yet
        self.key = ""
        self.accepted_at = 0  # 0: staged, not accepted
        self.deadline_at = 0
        self.elements = 0
        self.open = 0  # elements that have not ended
        self.counts = [0] * len(TaskState)  # elements by state
        self.usage = 0  # weight of the attempts under way, for fairness
        self.cost = 0  # micros that its machines have cost, as far as they are charged
        self.cancelling = False
        self.cancel_reason = ""
        self.failure = 0  # the smallest of its tasks' failure marks, 0: nothing failed the job

    def find(self, name: str) -> int:
        """The ordinal of the task of this name, -1 when there is none."""
        for task in self.tasks:
            if task.spec.name == name:
                return task.ordinal
        return -1


class Node:
    """A place as the scheduler sees it."""

    __slots__ = (
        "admission",
        "agent",
        "boot",
        "capacity",
        "connected",
        "held",
        "host",
        "id",
        "instance",
        "labels",
        "lost",
        "name",
        "pace",
        "reserved",
        "seen_at",
        "state",
        "suspect_at",
        "taints",
        "version",
    )

    def __init__(self, identifier: int) -> None:
        self.id = identifier
        self.agent = ""
        self.name = ""
        self.host = ""
        self.boot = ""
        self.version = ""
        self.labels: dict[str, str] = {}
        self.taints: frozenset[tuple[str, str]] = frozenset()  # when there are any, a task must carry one of them
        self.instance: Instance | None = None  # the machine that a provider brought up, or is to
        self.capacity = Resources(0)
        self.admission = Admission(self.capacity)  # what is free, and who waits there for it
        self.held: dict[int, Attempt] = {}  # every attempt given to it and not ended
        self.state = NodeState.UP
        self.connected = False  # said hello since this server started, and neither suspect nor lost
        self.suspect_at = 0  # since when nothing was heard of it; 0: it is heard of
        self.lost = False  # its lease is over; what it held is rescheduled
        self.seen_at = 0
        self.pace = 0.0  # milliseconds of one slot's time an attempt takes of late; 0: not known yet
        self.reserved = -1  # the shape whose head this node keeps room for


class World:
    """Everything live."""

    __slots__ = (
        "attempts",
        "by_agent",
        "by_id",
        "by_token",
        "counts",
        "jobs",
        "keys",
        "last_attempt",
        "last_job",
        "last_node",
        "live",
        "nodes",
        "queues",
        "refusals",
        "staged",
        "timers",
    )

    def __init__(self) -> None:
        self.jobs: dict[int, Job] = {}
        self.by_id: dict[JobId, int] = {}
        self.keys: dict[str, int] = {}  # Idempotency-Keys of live jobs
        self.staged: dict[int, Job] = {}
        self.attempts: dict[int, Attempt] = {}
        self.nodes: dict[int, Node] = {}
        self.by_agent: dict[str, int] = {}
        self.by_token: dict[str, int] = {}  # nodes that a provider brings up
        self.refusals: dict[tuple[str, ...], Refusal] = {}  # what providers refused lately
        self.queues = ReadyQueues()
        self.timers: list[tuple[int, int, int, int, int]] = []  # heap of (due, kind, job, task, index)
        self.counts = [0] * len(TaskState)  # elements of live jobs by state
        self.live = 0  # elements that have not ended
        self.last_job = 0
        self.last_attempt = 0
        self.last_node = 0
