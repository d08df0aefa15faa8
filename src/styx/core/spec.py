"""What a person submits, after it has been read and before it has been accepted.

Frozen structs without behaviour. `protocol.document` makes them from a task file, a request or Python objects, and
`graph.check` says whether they hang together. Durations are milliseconds, sizes are bytes, CPUs are thousandths.
"""

from __future__ import annotations

from enum import IntEnum

import msgspec

from styx.core.offers import Spot
from styx.core.resources import Resources

__all__ = ["Backoff", "Choice", "JobSpec", "Priority", "SecretFrom", "TaskSpec", "When"]


class Priority(IntEnum):
    LOW = 0
    NORMAL = 1
    HIGH = 2
    CRITICAL = 3


class When(IntEnum):
    """When a task may start, seen from the tasks it needs."""

    SUCCESS = 0  # each of them succeeded, or failed and has `allow_failure`
    ALWAYS = 1  # each of them ended, however


class Backoff(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """The wait before retry n (from 1): initial * factor ** (n - 1), at most `limit`; all in milliseconds."""

    initial: int = 1_000
    factor: float = 2.0
    limit: int = 300_000


class Choice(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One alternative of what a task may run on. `spot` and `max_hourly` (micros, 0: no limit) bound what may be brought up for it;
    a node that is there already is free to take."""

    resources: Resources = Resources()
    labels: tuple[tuple[str, str], ...] = ()
    spot: Spot = Spot.NO
    max_hourly: int = 0


class TaskSpec(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One task; with `array` it stands for that many elements.

    `command` is an argv; a task written as `run: ...` has `shell=True` and the one string in `command`.
    `workdir` is a folder: absolute, and meant for the host named in JobSpec.host; empty means the caller's folder
    on that host (JobSpec.cwd), else a private one.
    """

    name: str
    command: tuple[str, ...]
    shell: bool = False
    needs: tuple[str, ...] = ()
    array: int = 0  # 0: not an array; else the number of elements
    resources: Resources = Resources()
    labels: tuple[tuple[str, str], ...] = ()  # a node must carry all of them
    env: tuple[tuple[str, str], ...] = ()
    workdir: str = ""
    retries: int = 0
    backoff: Backoff = Backoff()
    timeout: int = 0  # 0: none; for each attempt, from its start
    grace: int = 10_000  # between SIGTERM and SIGKILL
    max_lost: int = 5
    when: When = When.SUCCESS
    allow_failure: bool = False
    exclusive: bool = False  # never to overlap with an earlier attempt of itself
    secrets: tuple[str, ...] = ()  # names of variables; a spec never carries their values
    spot: Spot = Spot.NO
    max_hourly: int = 0  # micros an hour of a machine brought up for it; 0: no limit
    others: tuple[Choice, ...] = ()  # further alternatives (`any_of`); the first is made of the fields above
    ordered: bool = False  # the alternatives are tried in their order, else the cheapest is
    image: str = ""  # of a container; only a runner of pods can run it
    function: str = ""  # by name; `command` is then its payload, one text of JSON
    idempotent: bool = False  # a function may be invoked again when it is not known whether it ran
    archive: str = ""  # SHA-256 of the packed `workdir`, for nodes that are not the submitter's host

    @property
    def choices(self) -> tuple[Choice, ...]:
        """All alternatives, the first one first."""
        return (Choice(self.resources, self.labels, self.spot, self.max_hourly), *self.others)

    @property
    def size(self) -> int:
        return self.array or 1


class SecretFrom(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Where the submitter takes the value of a secret from: a variable of its environment or, if given, a file."""

    name: str
    variable: str = ""
    file: str = ""


class JobSpec(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    name: str
    tasks: tuple[TaskSpec, ...]
    priority: Priority = Priority.NORMAL
    deadline: int = 0  # 0: none; from acceptance, in milliseconds
    host: str = ""  # the machine the caller's folder is on
    cwd: str = ""  # the caller's folder
    labels: tuple[tuple[str, str], ...] = ()  # free marks for people; placement does not read them
    single: bool = False  # submitted as one task (`POST /tasks`, `styx run COMMAND`), shown so
    secrets: tuple[SecretFrom, ...] = ()  # for the submitter; empty once the job is accepted
    budget: int = 0  # micros that its machines may cost in all; 0: no limit
