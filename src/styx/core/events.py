"""What the core is told, in the past tense. One event is one call of `Engine.step`.

Identifiers in the core are small integers: `job` is a job's serial number in this database, `task` its ordinal in the
job, `index` the element of an array (0 when it is none), `attempt` the serial number of an attempt, `node` of a node.
Serials are never used twice within one incarnation of the database, so (incarnation, attempt) is the fence. All times
are milliseconds since the epoch as the shell counts them (never backwards), all durations milliseconds.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from styx.core.ids import JobId
from styx.core.offers import Catalog
from styx.core.outages import NO_OUTAGES, Outages
from styx.core.records import Record
from styx.core.resources import Resources
from styx.core.spec import JobSpec, TaskSpec
from styx.core.states import Outcome

__all__ = [
    "AgentConnected",
    "AgentDrained",
    "AgentLost",
    "AgentSuspected",
    "AttemptEnding",
    "AttemptsReported",
    "CancelRequested",
    "CatalogKnown",
    "Continued",
    "Count",
    "DownRequested",
    "Event",
    "Held",
    "InstanceLaunched",
    "InstanceRefusedByCloud",
    "InstanceUnsure",
    "JobStaged",
    "JobSubmitted",
    "JobUnstaged",
    "MachineSeen",
    "MachinesListed",
    "PlacementDue",
    "Reason",
    "RetryRequested",
    "TimerFired",
]


# What comes from a node is checked where it is decoded: no number that arithmetic or the store could not bear, no text without end.
Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 62)]
Stage = Annotated[int, msgspec.Meta(ge=0, le=2)]  # 0 queued, 1 running, 2 ended and not yet acknowledged
Code = Annotated[int, msgspec.Meta(ge=-(1 << 31), lt=1 << 31)]
Reason = Annotated[str, msgspec.Meta(max_length=64 << 10)]
Result = Annotated[bytes, msgspec.Meta(max_length=4_096)]


class JobStaged(msgspec.Struct, frozen=True, gc=False):
    """A chunk of a checked submission, in order; nothing shows until the JobSubmitted that follows. `first` is the
    ordinal of the first task, `needs` the ordinals each task of the chunk needs. Answered with the job's serial:
    `job` is 0 in the first chunk and that serial in the later ones."""

    job: int
    first: int
    tasks: tuple[TaskSpec, ...]
    needs: tuple[tuple[int, ...], ...]


class JobUnstaged(msgspec.Struct, frozen=True, gc=False):
    """The submitter went away before the last chunk."""

    job: int


class JobSubmitted(msgspec.Struct, frozen=True, gc=False):
    """The rest of a submission: `spec.tasks` is empty here, the tasks were staged. Answered with an Accepted."""

    job: int
    id: JobId
    spec: JobSpec
    key: str = ""  # Idempotency-Key
    digest: bytes = b""  # of the body that came with the key


class CancelRequested(msgspec.Struct, frozen=True, gc=False):
    """A job (task < 0), a task (index < 0) or an element is to stop. Answered with True if anything was still live."""

    job: int
    task: int = -1
    index: int = -1
    reason: str = "cancelled by the user"


class RetryRequested(msgspec.Struct, frozen=True, gc=False):
    """Run again what did not succeed (`failed`), or a task and all that follows from it (`start` >= 0), or all.

    `history` rebuilds a job that has left memory: the records the store keeps of it. Answered with the number of
    elements that will run again."""

    job: int
    failed: bool = False
    start: int = -1
    history: tuple[Record, ...] = ()


class Held(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """An attempt that a node says it holds."""

    attempt: Count
    state: Stage
    ran: Count = 0  # milliseconds since its start


class AgentConnected(msgspec.Struct, frozen=True, gc=False):
    """An agent said hello. Level, not edge: `held` is all it holds, so what differs is put right from here.

    `boot` names the machine's boot and the owner process: attempts given to an older one are lost."""

    agent: str
    name: str
    host: str
    boot: str
    version: str
    capacity: Resources
    labels: tuple[tuple[str, str], ...] = ()
    held: tuple[Held, ...] = ()


class AgentSuspected(msgspec.Struct, frozen=True, gc=False):
    """No heartbeat for a while, or the link closed; nothing new is placed there."""

    node: int


class AgentLost(msgspec.Struct, frozen=True, gc=False):
    """Its lease is over: what it held is lost."""

    node: int


class AgentDrained(msgspec.Struct, frozen=True, gc=False):
    """The agent said that it will take nothing new; `gone` when it also holds nothing and will not come back."""

    node: int
    gone: bool = False


class AttemptEnding(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """How one attempt ended, as its node reports it."""

    attempt: Count
    outcome: Outcome
    code: Code = 0  # exit code, 128+n for signal n
    ran: Count = 0  # from start to end
    ago: Count = 0  # from the end to the report
    reason: Reason = ""
    result: Result = b""
    stdout: Count = 0  # bytes of output in all, the terminal marker of each stream
    stderr: Count = 0
    pid: Count = 0


class AttemptsReported(msgspec.Struct, frozen=True, gc=False):
    """What a node has to say of attempts, in the order it happened there. Reports about attempts that the node does
    not hold now are late, and dropped."""

    node: int
    started: tuple[int, ...] = ()
    ended: tuple[AttemptEnding, ...] = ()


class CatalogKnown(msgspec.Struct, frozen=True):
    """What may be brought up from now on, at which prices, and what could be if it were not for an outage. Not kept: the shell says it at
    each start."""

    catalog: Catalog
    outages: Outages = NO_OUTAGES


class InstanceLaunched(msgspec.Struct, frozen=True, gc=False):
    """The cloud has named the machine of this node."""

    node: int
    ref: str


class InstanceRefusedByCloud(msgspec.Struct, frozen=True, gc=False):
    """The cloud said no; nothing was created. `kind` as in `styx.providers.base.Kind`, `retry_after` in milliseconds."""

    node: int
    kind: str
    detail: str
    retry_after: int = 0


class InstanceUnsure(msgspec.Struct, frozen=True, gc=False):
    """Whether the cloud has brought up the machine of this node is not known. `spent`: asking again will not bring it up either."""

    node: int
    detail: str
    spent: bool = False


class MachineSeen(msgspec.Struct, frozen=True, gc=False):
    """One machine in a listing. `ended`: it is gone for good. `launched_at` 0: the cloud does not say."""

    ref: str
    token: str
    ended: bool
    launched_at: int = 0
    detail: str = ""
    stopped: bool = False  # it does not run, and still costs a little
    ours: bool = True  # of this incarnation of the database; others may be known, but are nobody's to end


class MachinesListed(msgspec.Struct, frozen=True, gc=False):
    """What a provider listed of this incarnation; `asked_at` is when the question went out. Only a complete listing proves that
    something is not there."""

    provider: str
    asked_at: int
    complete: bool
    machines: tuple[MachineSeen, ...]


class DownRequested(msgspec.Struct, frozen=True, gc=False):
    """A person wants these nodes' machines ended; with `force` what runs there is not waited for. Answered with how many."""

    nodes: tuple[int, ...]
    force: bool = False
    reason: str = ""


class TimerFired(msgspec.Struct, frozen=True, gc=False):
    """The time that `Engine.wake_at` named has come."""


class Continued(msgspec.Struct, frozen=True, gc=False):
    """The core asked to go on with something wide (`Engine.unfinished`)."""


class PlacementDue(msgspec.Struct, frozen=True, gc=False):
    """All events of a batch were stepped: place what waits (`Engine.placement_due`), at most `limit` elements (0: as many as a
    step may)."""

    limit: int = 0


Event = (
    JobStaged
    | JobUnstaged
    | JobSubmitted
    | CancelRequested
    | RetryRequested
    | AgentConnected
    | AgentSuspected
    | AgentLost
    | AgentDrained
    | AttemptsReported
    | TimerFired
    | CatalogKnown
    | InstanceLaunched
    | InstanceRefusedByCloud
    | InstanceUnsure
    | MachinesListed
    | DownRequested
    | Continued
    | PlacementDue
)
