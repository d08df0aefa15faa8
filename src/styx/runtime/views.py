"""What is shown of the world and the tables: pure functions from both to the structs of `protocol.http`.

What is live is shown from the world (a `Job` or `Task` is passed in), what has ended from its rows; both give the same answer in
the moment of change. Elements that never started have no row anywhere: they are made up here, from (task, index) alone.
"""

from __future__ import annotations

import base64
import shlex
from collections.abc import Iterable, Mapping, Sequence

from styx.core.ids import element_text, join, text
from styx.core.offers import MICROS
from styx.core.resources import Resources
from styx.core.spec import Priority, TaskSpec
from styx.core.states import JobState, NodeState, Outcome, TaskState
from styx.core.world import Job, Node, Task
from styx.protocol.http import AgentView, AttemptView, Created, JobResult, JobView, ResourcesView, TaskView
from styx.protocol.messages import Heartbeat
from styx.store.base import AttemptRow, ElementsRow, JobRow, TaskRow

__all__ = [
    "agent_view",
    "attempt_view",
    "counts_view",
    "created",
    "element_views",
    "job_result",
    "job_view",
    "node_state",
    "resources_view",
    "task_view",
]

_NAMES = tuple(state.name for state in TaskState)
_PROGRAM_ENDED = (Outcome.EXITED, Outcome.KILLED, Outcome.TIMED_OUT)
_NOT_STARTED = (TaskState.PENDING, TaskState.READY, TaskState.ASSIGNED)

# What a whole array is shown as: the least finished of its elements, and among ended ones what went wrong first.
_SHOWN_FIRST = (
    TaskState.PENDING,
    TaskState.READY,
    TaskState.ASSIGNED,
    TaskState.RUNNING,
    TaskState.BACKOFF,
    TaskState.CANCELLING,
    TaskState.FAILED,
    TaskState.CANCELLED,
    TaskState.SKIPPED,
    TaskState.SUCCEEDED,
)


def resources_view(resources: Resources) -> ResourcesView:
    return ResourcesView(resources.cpus / 1_000, resources.memory, resources.disk, dict(resources.accelerators))


def counts_view(counts: Sequence[int]) -> dict[str, int]:
    """Elements by the name of their state, in the order of the states; absent ones are 0."""
    return {name: count for name, count in zip(_NAMES, counts, strict=False) if count}


def attempt_view(row: AttemptRow, nodes: Mapping[int, str]) -> AttemptView:
    """`nodes` are the names of nodes by serial."""
    return AttemptView(
        number=row.number,
        node=nodes.get(row.node, ""),
        outcome="" if row.outcome is None else row.outcome.name,
        code=row.code,
        assigned_at=_seconds(row.assigned_at),
        started_at=_seconds(row.started_at),
        ended_at=_seconds(row.ended_at),
        reason=row.reason,
        stdout=row.stdout,
        stderr=row.stderr,
        result=_result(row.result),
    )


def job_view(row: JobRow, live: Job | None = None, graph: Sequence[TaskView] = (), cost: int = 0) -> JobView:
    """A job; `live` is what the world holds of it, `graph` its tasks where they are asked for, and `cost` its micros."""
    state = row.state
    if live is not None:
        state = JobState.CANCELLING if live.cancelling else JobState.RUNNING
    return JobView(
        job_id=text(row.id),
        name=row.spec.name,
        status=state.value,
        priority=Priority(row.spec.priority).name.lower(),
        submitted_at=_seconds(row.accepted_at),
        ended_at=0.0 if live is not None else _seconds(row.ended_at),
        exit_code=row.code if state.ended else None,
        tasks=row.tasks,
        elements=row.elements,
        counts=counts_view(row.counts if live is None else live.counts),
        reason=row.reason if live is None else live.cancel_reason,
        single=row.spec.single,
        graph=list(graph),
        cost=cost / MICROS,
        budget=row.spec.budget / MICROS,
    )


def created(row: JobRow, *, again: bool = False) -> Created:
    """The answer to a submission. Of a job that is one task the task's id is there too."""
    task = text(join(row.id, 0)) if row.spec.single else ""
    return Created(text(row.id), row.spec.name, row.state.value, task, again)


def task_view(
    row: TaskRow,
    job_name: str,
    live: Task | None = None,
    *,
    attempts: Sequence[AttemptRow] = (),
    spans: Sequence[ElementsRow] = (),
    nodes: Mapping[int, str] = {},
) -> TaskView:
    """A task as a whole. `attempts` (in order) and `spans` are only looked at when it is no array; lists leave them out."""
    if not row.spec.array:
        return _element(row, job_name, live, 0, attempts, spans, nodes)
    counts = _counts(row, live)
    return _view(
        row,
        job_name,
        status=next((state for state in _SHOWN_FIRST if counts[state]), TaskState.PENDING),
        counts=counts_view(counts),
    )


def element_views(
    row: TaskRow,
    job_name: str,
    live: Task | None,
    indices: Iterable[int],
    *,
    attempts: Sequence[AttemptRow],
    spans: Sequence[ElementsRow] = (),
    nodes: Mapping[int, str] = {},
) -> list[TaskView]:
    """Elements of an array. `attempts` are those of these elements by (index, number), `spans` all of the task's."""
    by_index: dict[int, list[AttemptRow]] = {}
    for attempt in attempts:
        by_index.setdefault(attempt.index, []).append(attempt)
    return [_element(row, job_name, live, i, by_index.get(i, ()), spans, nodes) for i in indices]


def job_result(row: JobRow, failed: Sequence[TaskView] = ()) -> JobResult:
    """The end of a job. `failed` are the first tasks or elements that failed, with their attempts: the exit code is a program's own
    when one of them ended by itself with it."""
    state = row.state
    own = state == JobState.SUCCEEDED or (state == JobState.FAILED and any(_own(view, row.code) for view in failed))
    return JobResult(
        job_id=text(row.id),
        name=row.spec.name,
        status=state.value,
        exit_code=row.code,
        by="program" if own else "styx",
        counts=counts_view(row.counts),
        failed=list(failed),
        reason=row.reason,
    )


def agent_view(node: Node, beat: Heartbeat | None, *, seen: float) -> AgentView:
    """`beat` is the last heartbeat, `seen` the seconds since the last sign of life."""
    running = sum(1 for attempt in node.held.values() if attempt.started_at)
    free = node.admission.free
    return AgentView(
        agent_id=node.agent,
        name=node.name,
        state=node_state(node),
        host=node.host,
        version=node.version,
        capacity=resources_view(node.capacity),
        free=ResourcesView(
            max(0, free.cpus) / 1_000,
            max(0, free.memory),
            max(0, free.disk),
            {name: count for name, count in free.accelerators if count > 0},
        ),
        labels=dict(node.labels),
        running=running,
        waiting=len(node.held) - running,
        cpu=beat.cpu / 1_000 if beat is not None else 0.0,
        memory=beat.memory if beat is not None else 0,
        load=beat.load / 1_000 if beat is not None else 0.0,
        seen=seen,
    )


def _element(
    row: TaskRow,
    job_name: str,
    live: Task | None,
    index: int,
    attempts: Sequence[AttemptRow],
    spans: Sequence[ElementsRow],
    nodes: Mapping[int, str],
) -> TaskView:
    """One element: the only one of a task that is no array, or that of an array."""
    state, ended_at, reason = _fate(row, index, attempts, spans)
    if live is not None:
        state = TaskState(live.states[index])
    last = attempts[-1] if attempts else None
    code = None
    if last is not None and last.outcome in _PROGRAM_ENDED and state.ended and state != TaskState.SKIPPED:
        code = last.code
    return _view(
        row,
        job_name,
        status=state,
        index=index if row.spec.array else None,
        counts={state.name: 1},
        started_at=_seconds(last.started_at) if last is not None and state not in _NOT_STARTED else 0.0,
        ended_at=_seconds(ended_at) if state.ended else 0.0,
        exit_code=code,
        attempts=[attempt_view(attempt, nodes) for attempt in attempts],
        reason=reason,
    )


def _fate(
    row: TaskRow, index: int, attempts: Sequence[AttemptRow], spans: Sequence[ElementsRow]
) -> tuple[TaskState, int, str]:
    """What an element became last, when, and why: by time, and within a millisecond by the serials of attempts."""
    found: tuple[int, int, TaskState, str] = (0, -1, TaskState.PENDING, "")
    for attempt in attempts:
        if attempt.state is not None:
            found = max(found, (attempt.ended_at, 2 * attempt.attempt, attempt.state, attempt.reason))
    for span in spans:
        if span.first <= index < span.first + span.count:
            found = max(found, (span.at, 2 * span.after + 1, span.state, span.reason))
    at, serial, state, reason = found
    if serial < 0 and not row.spec.array and row.counts:
        state = next((s for s in TaskState if row.counts[s]), state)
    return state, at, reason


def _view(
    row: TaskRow,
    job_name: str,
    *,
    status: TaskState,
    counts: dict[str, int],
    index: int | None = None,
    started_at: float = 0.0,
    ended_at: float = 0.0,
    exit_code: int | None = None,
    attempts: list[AttemptView] | None = None,
    reason: str = "",
) -> TaskView:
    task = join(row.job_id, row.task)
    return TaskView(
        task_id=text(task) if index is None else element_text(task, index, row.spec.array),
        job_id=text(row.job_id),
        job_name=job_name,
        name=row.spec.name,
        status=status.name,
        index=index,
        array=row.spec.array,
        counts=counts,
        command=_command(row.spec),
        needs=list(row.spec.needs),
        resources=resources_view(row.spec.resources),
        submitted_at=_seconds(row.accepted_at),
        started_at=started_at,
        ended_at=ended_at,
        exit_code=exit_code,
        attempts=attempts or [],
        reason=reason,
    )


def _counts(row: TaskRow, live: Task | None) -> Sequence[int]:
    if live is not None:
        if len(live.job.tasks) == 1:  # they are kept; counting a million elements takes milliseconds
            return live.job.counts
        return [live.states.count(state) for state in TaskState]
    if row.counts:
        return row.counts
    return [row.spec.size] + [0] * (len(TaskState) - 1)


def node_state(node: Node) -> str:
    if node.lost:
        return "LOST"
    if node.state != NodeState.UP:
        return node.state.value
    return "UP" if node.connected else "SUSPECT"


def _own(view: TaskView, code: int) -> bool:
    return bool(view.attempts) and view.attempts[-1].outcome == Outcome.EXITED.name and view.exit_code == code


def _command(spec: TaskSpec) -> str:
    """As a person would type it."""
    if spec.function:
        return " ".join((spec.function, *spec.command))
    return spec.command[0] if spec.shell and spec.command else shlex.join(spec.command)


def _result(data: bytes) -> str:
    """A result is text as a rule; what is not UTF-8 is shown as `base64:...`."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return f"base64:{base64.b64encode(data).decode()}"


def _seconds(milliseconds: int) -> float:
    return milliseconds / 1_000
