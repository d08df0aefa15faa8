"""What happened, as facts. `apply` writes them into the World; the store writes them into its tables.

Both read the same record, so a world rebuilt from the tables equals the one that was lived. A record marked *derived*
follows from the others: it is applied and shown to watchers, and the store need not keep it.

A Span is a run of elements of one task that share a fate: (task, first, count).
"""

from __future__ import annotations

import msgspec

from styx.core.ids import JobId
from styx.core.offers import Offer
from styx.core.resources import Resources
from styx.core.spec import JobSpec, TaskSpec
from styx.core.states import JobState, NodeState, Outcome, TaskState

__all__ = [
    "AttemptAdmitted",
    "AttemptAssigned",
    "AttemptCancelling",
    "AttemptEnded",
    "AttemptStarted",
    "ElementsDue",
    "InstanceBound",
    "InstanceCharged",
    "InstanceDoubted",
    "InstanceIntended",
    "InstanceRefused",
    "JobAccepted",
    "JobCancelling",
    "JobEnded",
    "JobRevived",
    "JobUnstagedRecord",
    "NodeLinked",
    "NodeLost",
    "NodeReserved",
    "NodeShifted",
    "NodeSuspected",
    "Record",
    "Span",
    "SpansEnded",
    "SpansReset",
    "TasksReady",
    "TasksStaged",
]

Span = tuple[int, int, int]


class TasksStaged(msgspec.Struct, frozen=True, gc=False, tag=True):
    """Tasks of a job that is not accepted yet. Without a JobAccepted they are dropped at the next start."""

    job: int
    first: int
    tasks: tuple[TaskSpec, ...]
    needs: tuple[tuple[int, ...], ...]


class JobUnstagedRecord(msgspec.Struct, frozen=True, gc=False, tag=True):
    job: int


class JobAccepted(msgspec.Struct, frozen=True, gc=False, tag=True):
    """`spec.tasks` is empty; `tasks` and `elements` count what was staged."""

    job: int
    id: JobId
    spec: JobSpec
    tasks: int
    elements: int
    at: int
    key: str = ""
    digest: bytes = b""


class TasksReady(msgspec.Struct, frozen=True, gc=False, tag=True):
    """Derived: these tasks have all they need. All their PENDING elements become READY."""

    job: int
    tasks: tuple[int, ...]
    at: int


class AttemptAssigned(msgspec.Struct, frozen=True, gc=False, tag=True):
    """`number` counts the attempts of this element from 1. The attempt joins the end of the node's queue, and is admitted at once
    when nobody waits there and it fits."""

    attempt: int
    job: int
    task: int
    index: int
    number: int
    node: int
    at: int
    choice: int = 0  # which alternative of its task the node was found by


class AttemptAdmitted(msgspec.Struct, frozen=True, gc=False, tag=True):
    """Derived: the head of the node's queue fits into what is free there, and holds it from now on."""

    attempt: int


class AttemptStarted(msgspec.Struct, frozen=True, gc=False, tag=True):
    attempt: int
    at: int


class AttemptCancelling(msgspec.Struct, frozen=True, gc=False, tag=True):
    attempt: int
    at: int
    reason: str = ""


class AttemptEnded(msgspec.Struct, frozen=True, gc=False, tag=True):
    """The one terminal record of an attempt. `state` is what its element is from now on: SUCCEEDED, FAILED, CANCELLED,
    READY (it goes back to the queue) or BACKOFF until `due`. With another state `due` says until when a program of an exclusive
    task may still run somewhere. `spent` says that it used up a retry."""

    attempt: int
    job: int
    task: int
    index: int
    outcome: Outcome
    code: int
    state: TaskState
    at: int
    started: int = 0  # 0: it never ran, or nobody saw it
    due: int = 0
    spent: bool = False
    reason: str = ""
    result: bytes = b""
    stdout: int = 0
    stderr: int = 0


class ElementsDue(msgspec.Struct, frozen=True, gc=False, tag=True):
    """Derived: the backoff of these (job, task, index) is over; they are READY."""

    elements: tuple[tuple[int, int, int], ...]


class SpansEnded(msgspec.Struct, frozen=True, gc=False, tag=True):
    """Elements that end without an attempt: CANCELLED or SKIPPED. None of them has an attempt under way. `after` is the
    last attempt serial given out before this, which orders it among the attempts of its elements."""

    job: int
    spans: tuple[Span, ...]
    state: TaskState
    at: int
    after: int
    reason: str = ""


class SpansReset(msgspec.Struct, frozen=True, gc=False, tag=True):
    """Ended elements that are to run again: PENDING, with their retries and losses forgiven."""

    job: int
    spans: tuple[Span, ...]
    at: int
    after: int


class JobCancelling(msgspec.Struct, frozen=True, gc=False, tag=True):
    job: int
    at: int
    reason: str = ""


class JobRevived(msgspec.Struct, frozen=True, gc=False, tag=True):
    """An ended job is live again; a retry asked for it."""

    job: int
    at: int


class JobEnded(msgspec.Struct, frozen=True, gc=False, tag=True):
    """All of its elements have ended. It leaves memory. `code` is the exit code a caller should see; `counts` are the
    elements by TaskState; `tasks` are the ended counts of each task, in order: (succeeded, failed, cancelled, skipped)."""

    job: int
    state: JobState
    at: int
    code: int
    counts: tuple[int, ...]
    reason: str = ""


class NodeLinked(msgspec.Struct, frozen=True, gc=False, tag=True):
    """A node is connected, for the first time or again."""

    node: int
    agent: str
    name: str
    host: str
    boot: str
    version: str
    capacity: Resources
    labels: tuple[tuple[str, str], ...]
    at: int


class NodeSuspected(msgspec.Struct, frozen=True, gc=False, tag=True):
    node: int
    at: int


class NodeLost(msgspec.Struct, frozen=True, gc=False, tag=True):
    node: int
    at: int


class NodeShifted(msgspec.Struct, frozen=True, gc=False, tag=True):
    node: int
    state: NodeState
    at: int
    reason: str = ""


class InstanceIntended(msgspec.Struct, frozen=True, gc=False, tag=True):
    """A machine is to be brought up. On disk before the cloud is called: what is called for is never forgotten. The node is
    REQUESTED; `token` stands for it in the cloud; `job` is the one that it is brought up for, and pays while it is idle."""

    node: int
    token: str
    offer: Offer
    job: int
    at: int
    lifetime: int = 0  # seconds after which it is to end itself, come what may; 0: none


class InstanceBound(msgspec.Struct, frozen=True, gc=False, tag=True):
    """The cloud has named the machine: `ref`. A REQUESTED node is BOOTING from now on."""

    node: int
    ref: str
    at: int


class InstanceDoubted(msgspec.Struct, frozen=True, gc=False, tag=True):
    """Derived: whether the machine was brought up is not known; the answer was lost, or the process that asked for it."""

    node: int
    at: int
    detail: str = ""


class InstanceRefused(msgspec.Struct, frozen=True, gc=False, tag=True):
    """The cloud said no, and nothing was created: the node is GONE. Offers that the same answer is likely for are left alone
    until `until`. `kind` is a `styx.providers.base.Kind`; `job` is the one that it was wanted for."""

    node: int
    job: int
    offer: Offer
    kind: str
    detail: str
    until: int
    at: int


class InstanceCharged(msgspec.Struct, frozen=True, gc=False, tag=True):
    """What the machine has cost since the last such record, up to `at`, by the jobs that pay: (job, micros). In a rebuild, node 0
    stands for machines that are gone, and `shares` for all that was charged before."""

    node: int
    shares: tuple[tuple[int, int], ...]
    at: int


class NodeReserved(msgspec.Struct, frozen=True, gc=False, tag=True):
    """Derived: the node keeps room for this shape's head, or (shape < 0) no longer does."""

    node: int
    shape: int


Record = (
    TasksStaged
    | JobUnstagedRecord
    | JobAccepted
    | TasksReady
    | AttemptAssigned
    | AttemptAdmitted
    | AttemptStarted
    | AttemptCancelling
    | AttemptEnded
    | ElementsDue
    | SpansEnded
    | SpansReset
    | JobCancelling
    | JobRevived
    | JobEnded
    | NodeLinked
    | NodeSuspected
    | NodeLost
    | NodeShifted
    | NodeReserved
    | InstanceIntended
    | InstanceBound
    | InstanceRefused
    | InstanceCharged
    | InstanceDoubted
)
