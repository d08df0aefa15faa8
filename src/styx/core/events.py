"""What the core is told, in the past tense. One event is one call of `Engine.step`.

Identifiers in the core are small integers: `job` is a job's serial number in this database, `task` its ordinal in the
job, `index` the element of an array (0 when it is none), `attempt` the serial number of an attempt, `node` of a node.
Serials are never used twice within one incarnation of the database, so (incarnation, attempt) is the fence. All times
are milliseconds since the epoch as the shell counts them (never backwards), all durations milliseconds.
"""

from __future__ import annotations

import msgspec

from styx.core.ids import JobId
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
    "Continued",
    "Event",
    "Held",
    "JobStaged",
    "JobSubmitted",
    "JobUnstaged",
    "PlacementDue",
    "RetryRequested",
    "TimerFired",
]


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

    attempt: int
    state: int  # 0 queued, 1 running, 2 ended and not yet acknowledged
    ran: int = 0  # milliseconds since its start


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

    attempt: int
    outcome: Outcome
    code: int = 0  # exit code, 128+n for signal n
    ran: int = 0  # from start to end
    ago: int = 0  # from the end to the report
    reason: str = ""
    result: bytes = b""
    stdout: int = 0  # bytes of output in all, the terminal marker of each stream
    stderr: int = 0
    pid: int = 0


class AttemptsReported(msgspec.Struct, frozen=True, gc=False):
    """What a node has to say of attempts, in the order it happened there. Reports about attempts that the node does
    not hold now are late, and dropped."""

    node: int
    started: tuple[int, ...] = ()
    ended: tuple[AttemptEnding, ...] = ()


class TimerFired(msgspec.Struct, frozen=True, gc=False):
    """The time that `Engine.wake_at` named has come."""


class Continued(msgspec.Struct, frozen=True, gc=False):
    """The core asked to go on with something wide (`Engine.unfinished`)."""


class PlacementDue(msgspec.Struct, frozen=True, gc=False):
    """All events of a batch were stepped: place what waits (`Engine.placement_due`)."""


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
    | Continued
    | PlacementDue
)
