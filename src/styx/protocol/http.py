"""What the HTTP API, `-o json` and the Python verbs answer with. Field names here are the public, stable ones.

Times are seconds since the epoch with a fraction (0 when it has not happened), sizes are bytes, CPUs are CPUs (not
thousandths). Ids are UUIDs as text; an element of an array is TASKID.INDEX.
"""

from __future__ import annotations

import msgspec

from styx.protocol.places import RankedView

__all__ = [
    "AgentView",
    "AttemptView",
    "BackupView",
    "Created",
    "Event",
    "Health",
    "JobResult",
    "JobView",
    "LogChunk",
    "PageOf",
    "PlanView",
    "PlannedTask",
    "ProblemDocument",
    "Stats",
    "TaskView",
    "TokenView",
    "VersionView",
    "Why",
]


class ResourcesView(msgspec.Struct, frozen=True, omit_defaults=True):
    cpus: float = 1.0
    memory: int = 0
    disk: int = 0
    accelerators: dict[str, int] = {}


class AttemptView(msgspec.Struct, frozen=True):
    number: int
    node: str  # the agent's name
    outcome: str  # "" while under way
    code: int
    assigned_at: float
    started_at: float
    ended_at: float
    reason: str = ""
    stdout: int = 0
    stderr: int = 0
    result: str = ""


class TaskView(msgspec.Struct, frozen=True):
    """A task, or one element of an array. `counts` maps state names to elements (absent states are 0)."""

    task_id: str
    job_id: str
    job_name: str
    name: str
    status: str  # a TaskState; of an array: the least finished of its elements, FAILED before SUCCEEDED
    index: int | None  # of an element of an array
    array: int  # 0: not an array
    counts: dict[str, int]
    command: str  # as a person would type it
    needs: list[str]
    resources: ResourcesView
    submitted_at: float
    started_at: float
    ended_at: float
    exit_code: int | None
    attempts: list[AttemptView]  # empty in lists and for whole arrays
    reason: str = ""


class JobView(msgspec.Struct, frozen=True):
    job_id: str
    name: str
    status: str  # a JobState
    priority: str
    submitted_at: float
    ended_at: float
    exit_code: int | None  # what `run` and `wait` exit with; null while it runs
    tasks: int
    elements: int
    counts: dict[str, int]  # elements by TaskState name
    reason: str
    single: bool
    graph: list[TaskView] = []  # its tasks in order; filled in for one job, empty in lists
    cost: float = 0.0  # US dollars so far; filled in for one job, 0 in lists
    budget: float = 0.0  # that its machines may cost in all; 0: no limit


class JobResult(msgspec.Struct, frozen=True):
    """What `wait` gives: the end of a job. `by` says whose the exit code is: "program" or "styx"."""

    job_id: str
    name: str
    status: str
    exit_code: int
    by: str
    counts: dict[str, int]
    failed: list[TaskView]  # the first 20 tasks or elements that failed
    reason: str = ""

    @property
    def ok(self) -> bool:
        return self.status == "SUCCEEDED"


class Created(msgspec.Struct, frozen=True):
    """The answer to a POST that creates. For `/tasks` the task's id is there as well."""

    job_id: str
    name: str
    status: str
    task_id: str = ""
    again: bool = False  # an Idempotency-Key had been seen before


class PageOf(msgspec.Struct, frozen=True):
    """A page of a list. `next` is the cursor of the following page, null at the end."""

    items: list[TaskView] | list[JobView]
    next: str | None


class AgentView(msgspec.Struct, frozen=True):
    agent_id: str
    name: str
    state: str  # UP, SUSPECT, LOST, DRAINING, GONE
    host: str
    version: str
    capacity: ResourcesView
    free: ResourcesView
    labels: dict[str, str]
    running: int
    waiting: int
    cpu: float  # share of the machine in use, 0 to 1
    memory: int  # bytes in use
    load: float
    seen: float  # seconds since its last sign of life


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """One entry of the event stream. `type` is one of the names in docs/protocol.md, such as "job.accepted",
    "task.ready", "attempt.assigned", "attempt.started", "attempt.ended", "elements.ended", "job.ended", "node.linked"."""

    id: int
    type: str
    at: float
    job_id: str = ""
    task_id: str = ""
    task: str = ""  # its name
    index: int | None = None
    count: int = 0  # of elements, where it is about several
    status: str = ""  # the state that the element or job has from now on
    attempt: int = 0  # its number
    node: str = ""
    outcome: str = ""
    exit_code: int | None = None
    reason: str = ""


class LogChunk(msgspec.Struct, frozen=True, omit_defaults=True):
    """Output of one attempt. `gap` counts bytes that are known to be missing before `offset`."""

    task: str
    task_id: str
    index: int | None
    attempt: int
    stream: str  # "stdout" or "stderr"
    offset: int
    data: bytes  # base64 in JSON
    gap: int = 0
    end: bool = False  # the terminal marker: nothing follows in this stream


class Why(msgspec.Struct, frozen=True):
    """Why a task is where it is: `reason` in one line, the evidence, and what would change it."""

    task_id: str
    task: str
    status: str
    code: str  # a stable word: waiting-for-needs, no-node, no-room, reserved, queue, backoff, running, ended, mass-loss, ...
    reason: str
    evidence: list[str]
    change: list[str]


class PlannedTask(msgspec.Struct, frozen=True):
    name: str
    needs: list[str]
    array: int
    resources: ResourcesView
    level: int  # the longest chain of needs behind it
    places: list[str]  # names of nodes that could hold it
    reason: str = ""  # why none can


class PlanView(msgspec.Struct, frozen=True):
    name: str
    tasks: list[PlannedTask]
    elements: int
    levels: int
    fits: bool
    source: str  # where the known places come from
    rankings: list[RankedView] = []  # offers by what tasks ask for
    prices_at: float = 0.0  # the age of the oldest price, 0: there is none
    prices_source: str = ""


class BackupView(msgspec.Struct, frozen=True):
    """A copy of the database, on the server's disk."""

    path: str
    bytes: int
    taken_at: float


class TokenView(msgspec.Struct, frozen=True):
    token_id: int
    name: str
    role: str
    created_at: float
    expires_at: float
    revoked: bool
    secret: str = ""  # shown once, in the answer to its creation
    agent: str = ""  # the one agent that may use it; "" while none has
    pool: str = ""  # of a join token, and what came of it: the label `pool` of its nodes
    single_use: bool = False  # a join token that lets in one agent
    joined_by: int = 0  # of an agent's credential: the join token that it came of


class Health(msgspec.Struct, frozen=True):
    status: str  # healthy, starting, full, draining
    version: str
    incarnation: str
    uptime: float
    reason: str = ""
    provisions: bool = False  # machines may be brought up from here, now or once an outage of a provider is over


class VersionView(msgspec.Struct, frozen=True):
    version: str
    protocol: int
    oldest_protocol: int
    api: str = "v1"


class Stats(msgspec.Struct, frozen=True):
    uptime: float
    jobs_live: int
    elements_live: int
    counts: dict[str, int]  # live elements by state
    nodes: int
    attempts_live: int
    submitted: int  # elements, since the start
    ended: int
    rate: float  # ended elements a second, over the last 10 s
    commits: int
    commit_ms_p50: float
    commit_ms_p99: float
    loop_lag_ms_p99: float
    loop_lag_ms_max: float
    queue: int  # events waiting for the core
    memory: int  # resident bytes of the server
    disk: int  # bytes of database and output


class ArchivesView(msgspec.Struct, frozen=True):
    """`wanted`: a working folder of the caller's host should be packed and sent, since tasks may run elsewhere."""

    wanted: bool
    most: int  # bytes of one archive


class ProblemItem(msgspec.Struct, frozen=True, omit_defaults=True):
    path: str
    message: str = ""
    hint: str = ""
    line: int = 0
    column: int = 0


class ProblemDocument(msgspec.Struct, frozen=True, omit_defaults=True):
    """RFC 9457, served as application/problem+json."""

    title: str
    status: int
    type: str = "about:blank"
    detail: str = ""
    code: str = ""
    hint: str = ""
    errors: list[ProblemItem] = []
