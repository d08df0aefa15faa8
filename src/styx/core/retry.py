"""Running again: by itself after a failure or a loss, and because a person asked for it."""

from __future__ import annotations

import re

from styx.core.apply import forget_job
from styx.core.effects import Answer
from styx.core.events import RetryRequested
from styx.core.records import JobRevived, Span, SpansReset
from styx.core.replay import replay
from styx.core.spec import Backoff
from styx.core.states import TaskState
from styx.core.turn import Turn
from styx.core.world import Job
from styx.errors import Conflict, NotFound

__all__ = ["backoff_delay", "on_retry"]

_FAILED = re.compile(b"[%s]+" % re.escape(bytes([TaskState.FAILED, TaskState.CANCELLED, TaskState.SKIPPED])))
_ENDED = re.compile(
    b"[%s]+" % re.escape(bytes([TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED, TaskState.SKIPPED]))
)


def backoff_delay(backoff: Backoff, failures: int) -> int:
    """Milliseconds to wait before the retry that follows failure number `failures` (from 1): exponential with a cap."""
    if backoff.factor <= 1.0:
        return min(backoff.initial, backoff.limit)
    delay = backoff.initial
    for _ in range(failures - 1):
        if delay >= backoff.limit:
            break
        delay = int(delay * backoff.factor)
    return min(delay, backoff.limit)


def on_retry(turn: Turn, event: RetryRequested) -> Answer:
    """Answers with the number of elements that will run again; 0 leaves everything as it was."""
    world = turn.world
    revived = event.job not in world.jobs
    if revived:
        replay(world, event.history)
    job = world.jobs.get(event.job)
    if job is None:
        return NotFound("there is no such job any more", hint="ended jobs are kept for 30 days by default")
    if job.cancelling and not revived:
        return Conflict("the job is being cancelled", hint="wait until it has ended, then retry it")
    wanted = _wanted(job, event)
    count = sum(length for spans in wanted.values() for _, _, length in spans)
    refusal = _refusal(job, wanted, turn.now, revived)
    if refusal is not None or not count:
        if revived:
            forget_job(world, job)
        return refusal or 0
    if revived:
        turn.record(JobRevived(job.serial, turn.now))
    flat = [span for spans in wanted.values() for span in spans]
    limit = turn.settings.step_limit
    for start in range(0, len(flat), limit):
        turn.record(SpansReset(job.serial, tuple(flat[start : start + limit]), turn.now, world.last_attempt))
    turn.later("open", job.serial)
    return count


def _wanted(job: Job, event: RetryRequested) -> dict[int, list[Span]]:
    """The runs of elements to reset, by task: what failed, or what follows from a task, or everything that has ended."""
    pattern = _FAILED if event.failed else _ENDED
    chosen = _following(job, event.start) if event.start >= 0 else range(len(job.tasks))
    wanted: dict[int, list[Span]] = {}
    for ordinal in chosen:
        runs = [(ordinal, m.start(), m.end() - m.start()) for m in pattern.finditer(job.tasks[ordinal].states)]
        if runs:
            wanted[ordinal] = runs
    return wanted


def _refusal(job: Job, wanted: dict[int, list[Span]], now: int, revived: bool) -> Conflict | None:
    """Why these elements cannot run again now."""
    if not revived and (busy := _under_way(job, wanted)):
        return Conflict(
            f"task {busy[0]!r} cannot run again now: {busy[1]!r}, which needs it, is under way",
            hint="wait until the job has ended, or cancel it first",
        )
    if until := _fenced(job, wanted, now):
        return Conflict(
            "an earlier attempt of an exclusive task may still run on a node that fell silent",
            hint=f"try again in {(until - now + 999) // 1_000} s",
        )
    return None


def _fenced(job: Job, wanted: dict[int, list[Span]], now: int) -> int:
    """Until when a program of one of these exclusive elements may still run somewhere; 0: none does."""
    until = 0
    for ordinal, spans in wanted.items():
        task = job.tasks[ordinal]
        if task.spec.exclusive and task.due:
            for _, first, count in spans:
                until = max([until, *(due for index, due in task.due.items() if first <= index < first + count)])
    return until if until > now else 0


def _under_way(job: Job, wanted: dict[int, list[Span]]) -> tuple[str, str] | None:
    """A task that is wanted again, and one that needs it and is past waiting for it."""
    for ordinal in wanted:
        task = job.tasks[ordinal]
        for dependant in task.dependants:
            other = job.tasks[dependant]
            if other.open and not other.unmet:
                return task.spec.name, other.spec.name
    return None


def _following(job: Job, start: int) -> list[int]:
    """A task and everything that needs it, directly or not."""
    seen = {start}
    order = [start]
    for ordinal in order:
        for dependant in job.tasks[ordinal].dependants:
            if dependant not in seen:
                seen.add(dependant)
                order.append(dependant)
    return order
