"""What is decided when a job is submitted, cancelled or has come to its end, and when one of its tasks has.

Wide work goes on in later steps: opening the tasks of a job, carrying an end to the tasks that need it, cancelling. Each
pass looks at the world as it is and does what is missing, so passes may be repeated, mixed or begun anew after a
restart without harm.
"""

from __future__ import annotations

import re

from styx.core.apply import EXIT_TIMED_OUT
from styx.core.effects import Accepted, Answer, StopAttempts
from styx.core.events import CancelRequested, JobStaged, JobSubmitted, JobUnstaged
from styx.core.records import (
    AttemptCancelling,
    JobAccepted,
    JobCancelling,
    JobEnded,
    JobUnstagedRecord,
    Span,
    SpansEnded,
    TasksReady,
    TasksStaged,
)
from styx.core.spec import When
from styx.core.states import JobState, TaskState
from styx.core.turn import Turn
from styx.core.world import Job, Task, failure_code
from styx.errors import Busy, Conflict, NotFound

__all__ = [
    "cancel_elements",
    "cancel_tasks",
    "carry",
    "finish",
    "on_cancel",
    "on_staged",
    "on_submitted",
    "on_unstaged",
    "open_tasks",
]

EXIT_CANCELLED = 130
DEADLINE_REASON = "its deadline is over"

_IDLE_RUN = re.compile(b"[%s]+" % re.escape(bytes([TaskState.PENDING, TaskState.READY, TaskState.BACKOFF])))
_PENDING = int(TaskState.PENDING)


def on_staged(turn: Turn, event: JobStaged) -> Answer:
    world = turn.world
    elements = sum(task.size for task in event.tasks)
    staged = world.staged.get(event.job)
    if staged is None and event.job:
        return NotFound("the submission this chunk belongs to is gone", hint="submit the job again from its start")
    waiting = sum(job.elements for job in world.staged.values())
    if world.live + waiting + elements > turn.settings.max_live:
        if staged is not None:
            turn.record(JobUnstagedRecord(event.job))
        return Busy(
            f"{world.live:,} tasks are live and at most {turn.settings.max_live:,} can be; try again when some have ended",
            retry_after=5.0,
        )
    job = event.job or world.last_job + 1
    turn.record(TasksStaged(job, event.first, event.tasks, event.needs))
    return job


def on_unstaged(turn: Turn, event: JobUnstaged) -> Answer:
    if event.job in turn.world.staged:
        turn.record(JobUnstagedRecord(event.job))
    return None


def on_submitted(turn: Turn, event: JobSubmitted) -> Answer:
    world = turn.world
    staged = world.staged.get(event.job)
    known = world.keys.get(event.key) if event.key else None
    if known is not None:
        if staged is not None:
            turn.record(JobUnstagedRecord(event.job))
        return Accepted(known, world.jobs[known].id, again=True)
    if staged is None:
        return NotFound("the submission is gone", hint="submit the job again from its start")
    if event.id in world.by_id:
        return Conflict("a job with this id exists already", hint="submit the job again")
    turn.record(
        JobAccepted(
            event.job,
            event.id,
            event.spec,
            len(staged.tasks),
            staged.elements,
            turn.now,
            event.key,
            event.digest,
        )
    )
    open_tasks(turn, world.jobs[event.job], 0)
    return Accepted(event.job, event.id)


def open_tasks(turn: Turn, job: Job, position: int) -> None:
    """Make ready, or skip, the tasks from `position` on that wait for nothing any more."""
    if job.cancelling:
        return
    end = min(position + turn.settings.step_limit, len(job.tasks))
    _settle(turn, job, range(position, end))
    if end < len(job.tasks):
        turn.later("open", job.serial, end)
    else:
        finish(turn, job)


def carry(turn: Turn, task: Task, position: int = 0) -> None:
    """All elements of a task have ended: see to the tasks that need it, from `position` in their list on."""
    job = task.job
    if job.cancelling:
        return
    dependants = task.dependants
    end = min(position + turn.settings.step_limit, len(dependants))
    if position < end:
        _settle(turn, job, dependants[position:end])
    if end < len(dependants):
        turn.later("carry", job.serial, end, task.ordinal)


def _settle(turn: Turn, job: Job, ordinals: range | list[int] | tuple[int, ...]) -> None:
    """Ready or skip those of these tasks whose needs have all ended; skipping goes on to their dependants."""
    tasks = job.tasks
    ready: list[int] = []
    skipped: list[int] = []
    for ordinal in ordinals:
        task = tasks[ordinal]
        if task.unmet or _PENDING not in task.states:
            continue
        if not task.needs or task.spec.when == When.ALWAYS or all(tasks[need].satisfied for need in task.needs):
            ready.append(ordinal)
        else:
            skipped.append(ordinal)
    if ready:
        turn.record(TasksReady(job.serial, tuple(ready), turn.now))
    if skipped:
        spans: list[Span] = []
        for ordinal in skipped:
            states = bytes(tasks[ordinal].states)
            spans += [(ordinal, m.start(), m.end() - m.start()) for m in re.finditer(rb"\x00+", states)]
        turn.record(
            SpansEnded(
                job.serial,
                tuple(spans),
                TaskState.SKIPPED,
                turn.now,
                turn.world.last_attempt,
                "a task that it needs did not succeed",
            )
        )
        for ordinal in skipped:
            if tasks[ordinal].open == 0 and tasks[ordinal].dependants:
                turn.later("carry", job.serial, 0, ordinal)
        finish(turn, job)


def on_cancel(turn: Turn, event: CancelRequested) -> Answer:
    job = turn.world.jobs.get(event.job)
    if job is None:
        return False
    if event.task < 0:
        cancel_job(turn, job, event.reason)
        return True
    task = job.tasks[event.task]
    return cancel_elements(turn, task, event.index, event.reason)


def cancel_job(turn: Turn, job: Job, reason: str) -> None:
    if job.cancelling:
        return
    turn.record(JobCancelling(job.serial, turn.now, reason))
    cancel_tasks(turn, job, 0)


def cancel_tasks(turn: Turn, job: Job, position: int) -> None:
    """Cancel the tasks of a cancelled job from `position` on, a step's worth of them."""
    spans: list[Span] = []
    room = turn.settings.step_limit
    while position < len(job.tasks) and room > 0:
        task = job.tasks[position]
        if task.open:
            idle = [(position, m.start(), m.end() - m.start()) for m in _IDLE_RUN.finditer(task.states)]
            spans += idle
            stopped = _stop(turn, task, list(task.live or ()), job.cancel_reason, room)
            room -= len(idle) + stopped
            if stopped and room <= 0:
                break  # perhaps not all of its attempts: look at this task again
        position += 1
        room -= 1
    if spans:
        turn.record(
            SpansEnded(
                job.serial,
                tuple(spans),
                TaskState.CANCELLED,
                turn.now,
                turn.world.last_attempt,
                job.cancel_reason,
            )
        )
    if position < len(job.tasks):
        turn.later("cancel", job.serial, position)
    finish(turn, job)


def cancel_elements(turn: Turn, task: Task, index: int, reason: str) -> bool:
    """Cancel one element, or with index < 0 all of a task. False when none of it was live."""
    if index >= 0:
        first, last = index, index + 1
        live = [index] if task.live and index in task.live else []
    else:
        first, last = 0, task.size
        live = list(task.live or ())
    runs = [(task.ordinal, m.start(), m.end() - m.start()) for m in _IDLE_RUN.finditer(task.states, first, last)]
    if not runs and not live:
        return False
    _stop(turn, task, live, reason, len(live))
    if runs:
        turn.record(
            SpansEnded(task.job.serial, tuple(runs), TaskState.CANCELLED, turn.now, turn.world.last_attempt, reason)
        )
        if task.open == 0:
            carry(turn, task)
            finish(turn, task.job)
    return True


def _stop(turn: Turn, task: Task, indexes: list[int], reason: str, limit: int) -> int:
    """Ask the nodes to end the attempts of these elements; returns how many were asked for now, at most `limit`."""
    live = task.live or {}
    by_node: dict[int, list[int]] = {}
    count = 0
    for index in indexes:
        if count >= limit:
            break
        serial = live[index]
        attempt = turn.world.attempts[serial]
        if not attempt.cancelling:
            turn.record(AttemptCancelling(serial, turn.now, reason))
            by_node.setdefault(attempt.node.id, []).append(serial)
            count += 1
    for node, serials in by_node.items():
        turn.effect(StopAttempts(node, tuple(serials)))
    return count


def finish(turn: Turn, job: Job) -> None:
    """End the job when all of its elements have."""
    if job.open or job.serial not in turn.world.jobs:
        return
    counts = job.counts
    code = 0
    if job.cancelling:
        late = job.cancel_reason == DEADLINE_REASON
        state, code = JobState.CANCELLED, EXIT_TIMED_OUT if late else EXIT_CANCELLED
    elif job.failure:
        state, code = JobState.FAILED, failure_code(job.failure) or 1
    elif counts[TaskState.CANCELLED]:
        state, code = JobState.CANCELLED, EXIT_CANCELLED
    else:
        state = JobState.SUCCEEDED
    turn.record(JobEnded(job.serial, state, turn.now, code, tuple(counts), job.cancel_reason))
