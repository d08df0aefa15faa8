"""The only place that writes to the World: one function a record, chosen by the record's type.

Handlers decide and state records; recovery reads the same records from the tables. So nothing here decides anything,
reads a clock or depends on how the record came about: the world is a fold of `apply` over the records.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable
from heapq import heappush
from typing import Any

from styx.core.apply_node import APPLY_NODE
from styx.core.instance import share
from styx.core.queues import Shape
from styx.core.records import (
    AttemptAdmitted,
    AttemptAssigned,
    AttemptCancelling,
    AttemptEnded,
    AttemptStarted,
    ElementsDue,
    JobAccepted,
    JobCancelling,
    JobEnded,
    JobRevived,
    JobUnstagedRecord,
    Record,
    SpansEnded,
    SpansReset,
    TasksReady,
    TasksStaged,
)
from styx.core.states import Outcome, TaskState
from styx.core.timers import BACKOFF, DEADLINE
from styx.core.transitions import FOLLOWING, allowed
from styx.core.world import Attempt, Job, Task, World, failure_mark
from styx.errors import StyxError

__all__ = ["APPLY", "EXIT_TIMED_OUT", "BrokenInvariant", "apply", "forget_job", "line_up", "raise_serials"]

EXIT_TIMED_OUT = 124
"""What a job exits with that ran out of time, as `timeout(1)` does; the attempt keeps the code of its program."""

_PENDING, _READY, _ASSIGNED = int(TaskState.PENDING), int(TaskState.READY), int(TaskState.ASSIGNED)
_TO_READY = bytes.maketrans(bytes([_PENDING]), bytes([_READY]))
_PENDING_RUN = re.compile(rb"\x00+")


class BrokenInvariant(StyxError):
    """A record contradicts the world: a bug in Styx. The process stops before anything wrong is written."""


def apply(world: World, record: Record) -> None:
    """Write one fact into the world."""
    APPLY[type(record)](world, record)


def _move(task: Task, index: int, after: int, world: World) -> int:
    """Change the state of one element, keep the counts, and return what it was before."""
    states = task.states
    before = states[index]
    if not FOLLOWING[before] >> after & 1:
        raise BrokenInvariant(
            f"task {task.spec.name!r}[{index}] of job {task.job.serial} cannot go from "
            f"{TaskState(before).name} to {TaskState(after).name}"
        )
    states[index] = after
    counts = task.job.counts
    counts[before] -= 1
    counts[after] += 1
    counts = world.counts
    counts[before] -= 1
    counts[after] += 1
    return before


def _ended(world: World, task: Task, count: int, unsuccessful: int) -> None:
    """`count` elements have ended just now, `unsuccessful` of them otherwise than SUCCEEDED."""
    task.open -= count
    task.unsuccessful += unsuccessful
    job = task.job
    job.open -= count
    world.live -= count
    if task.open == 0:
        tasks = job.tasks
        for ordinal in task.dependants:
            tasks[ordinal].unmet -= 1


def _column(task: Task) -> array[int]:
    return array("I", bytes(4 * task.size))


def _tasks_staged(world: World, record: TasksStaged) -> None:
    job = world.staged.get(record.job)
    if job is None:
        job = world.staged[record.job] = Job(record.job)
        world.last_job = max(world.last_job, record.job)
    tasks, forward = job.tasks, job.forward
    for spec, needs in zip(record.tasks, record.needs, strict=True):
        ordinal = len(tasks)
        task = Task(job, ordinal, spec, needs)
        tasks.append(task)
        for need in needs:
            if need < ordinal:
                dependants = tasks[need].dependants
                if isinstance(dependants, tuple):
                    tasks[need].dependants = [ordinal]
                else:
                    dependants.append(ordinal)
            else:
                forward.setdefault(need, []).append(ordinal)
        if forward and ordinal in forward:
            task.dependants = forward.pop(ordinal)
        job.elements += task.size


def _job_unstaged(world: World, record: JobUnstagedRecord) -> None:
    world.staged.pop(record.job, None)


def _job_accepted(world: World, record: JobAccepted) -> None:
    job = world.staged.pop(record.job)
    job.id = record.id
    job.spec = record.spec
    job.key = record.key
    job.accepted_at = record.at
    job.open = job.elements
    job.counts[_PENDING] = job.elements
    world.counts[_PENDING] += job.elements
    world.live += job.elements
    world.jobs[job.serial] = job
    world.by_id[job.id] = job.serial
    if record.key:
        world.keys[record.key] = job.serial
    _start_deadline(world, job, record.at)


def _start_deadline(world: World, job: Job, at: int) -> None:
    if job.spec.deadline:
        job.deadline_at = at + job.spec.deadline
        heappush(world.timers, (job.deadline_at, DEADLINE, job.serial, 0, 0))


def _tasks_ready(world: World, record: TasksReady) -> None:
    job = world.jobs[record.job]
    queues = world.queues
    for ordinal in record.tasks:
        task = job.tasks[ordinal]
        count = task.states.count(_PENDING)
        task.states = task.states.translate(_TO_READY)
        for counts in (job.counts, world.counts):
            counts[_PENDING] -= count
            counts[_READY] += count
        if task.shape is None:
            _take_shape(world, task)
        queues.push_task(task, record.at)


def _take_shape(world: World, task: Task) -> Shape:
    """Intern the shapes of a task's alternatives; returns the first."""
    priority, spec, intern = task.job.spec.priority, task.spec, world.queues.shape
    task.shape = intern(priority, spec.resources, spec.labels)
    if spec.others:
        task.more = tuple(intern(priority, other.resources, other.labels) for other in spec.others)
    return task.shape


def _attempt_assigned(world: World, record: AttemptAssigned) -> None:
    task = world.jobs[record.job].tasks[record.task]
    node = world.nodes[record.node]
    index = record.index
    _move(task, index, _ASSIGNED, world)
    numbers = task.numbers
    if numbers is None:
        numbers = task.numbers = _column(task)
    numbers[index] = record.number
    shape = task.shape or _take_shape(world, task)  # rebuilt from the tables, readiness is not kept
    if record.choice:
        shape = task.more[record.choice - 1]
    attempt = Attempt(record.attempt, task, shape, index, record.number, node, record.at)
    world.attempts[record.attempt] = attempt
    world.last_attempt = max(world.last_attempt, record.attempt)
    live = task.live
    if live is None:
        live = task.live = {}
    live[index] = record.attempt
    node.held[record.attempt] = attempt
    attempt.admitted = node.admission.enter(record.attempt, shape.resources)
    instance = node.instance
    if instance is not None:
        instance.advance(record.at)
        instance.load(record.job, share(shape.resources, instance.offer.resources))
        instance.idle_since = 0
    task.job.usage += shape.weight
    world.queues.take(shape, task, index)
    if task.more and task.shape is not None:
        for other in (task.shape, *task.more):
            world.queues.take(other, task, index)


def _attempt_admitted(world: World, record: AttemptAdmitted) -> None:
    attempt = world.attempts[record.attempt]
    attempt.node.admission.admit(record.attempt)
    attempt.admitted = True


def _attempt_started(world: World, record: AttemptStarted) -> None:
    attempt = world.attempts[record.attempt]
    attempt.started_at = record.at
    if attempt.task.states[attempt.index] == TaskState.ASSIGNED:
        _move(attempt.task, attempt.index, TaskState.RUNNING, world)


def _attempt_cancelling(world: World, record: AttemptCancelling) -> None:
    attempt = world.attempts[record.attempt]
    attempt.cancelling = True
    _move(attempt.task, attempt.index, TaskState.CANCELLING, world)


def _attempt_ended(world: World, record: AttemptEnded) -> None:
    attempt = world.attempts.pop(record.attempt)
    task, index, node, state = attempt.task, attempt.index, attempt.node, record.state
    job = task.job
    _move(task, index, state, world)
    if task.live is not None:
        task.live.pop(index, None)
    del node.held[record.attempt]
    node.admission.leave(record.attempt)
    if record.outcome == Outcome.EXITED:
        # A few hundred attempts make up the average. An end within its first millisecond still counts for something.
        took = max(0.05, record.at - record.started) if record.started else 0.05
        node.pace = took if not node.pace else node.pace * 0.9 + took * 0.1
    world.queues.node_changed(node.id)
    shape, instance = attempt.shape, node.instance
    if instance is not None:
        instance.advance(record.at)
        instance.load(record.job, -share(shape.resources, instance.offer.resources))
        if not node.held:
            instance.idle_since = record.at
    job.usage -= shape.weight
    world.queues.usage_shrank(job)
    if record.outcome == Outcome.LOST:
        if task.losses is None:
            task.losses = _column(task)
        task.losses[index] += 1
    if record.spent:
        if task.failures is None:
            task.failures = _column(task)
        task.failures[index] += 1
    if record.due:
        if task.due is None:
            task.due = {}
        task.due[index] = record.due
    if state == TaskState.SUCCEEDED:
        _ended(world, task, 1, 0)
    elif state.ended:
        if state == TaskState.FAILED and not task.spec.allow_failure:
            timed_out = record.outcome == Outcome.TIMED_OUT
            mark = failure_mark(record.at, EXIT_TIMED_OUT if timed_out else record.code)
            if task.failed is None:
                task.failed = array("q", bytes(8 * task.size))
            task.failed[index] = mark
            job.failure = min(job.failure or mark, mark)
        _ended(world, task, 1, 1)
    elif state == TaskState.READY:
        world.queues.push(task, index, record.at)
    elif state == TaskState.BACKOFF:
        heappush(world.timers, (record.due, BACKOFF, job.serial, task.ordinal, index))


def _elements_due(world: World, record: ElementsDue) -> None:
    for serial, ordinal, index in record.elements:
        task = world.jobs[serial].tasks[ordinal]
        _move(task, index, TaskState.READY, world)
        if task.due is not None:
            task.due.pop(index, None)
        if task.shape is None:
            _take_shape(world, task)
        world.queues.push(task, index, 0)


def _fill(world: World, job: Job, task: Task, first: int, count: int, after: TaskState) -> None:
    """Set a run of elements to one state, keeping the counts."""
    states = task.states
    run = states[first : first + count]
    for before in TaskState:
        moved = run.count(before)
        if moved:
            if not allowed(before, after):
                raise BrokenInvariant(f"span of {before.name} cannot become {after.name} in job {job.serial}")
            job.counts[before] -= moved
            world.counts[before] -= moved
    states[first : first + count] = bytes([after]) * count
    job.counts[after] += count
    world.counts[after] += count


def _spans_ended(world: World, record: SpansEnded) -> None:
    job = world.jobs[record.job]
    for ordinal, first, count in record.spans:
        task = job.tasks[ordinal]
        _fill(world, job, task, first, count, record.state)
        _ended(world, task, count, count)


def _spans_reset(world: World, record: SpansReset) -> None:
    job = world.jobs[record.job]
    for ordinal, first, count in record.spans:
        task = job.tasks[ordinal]
        succeeded = task.states[first : first + count].count(TaskState.SUCCEEDED)
        _fill(world, job, task, first, count, TaskState.PENDING)
        for column in (task.failures, task.losses):
            if column is not None:
                column[first : first + count] = array("I", bytes(4 * count))
        if task.failed is not None:
            task.failed[first : first + count] = array("q", bytes(8 * count))
        if task.open == 0:
            for dependant in task.dependants:
                job.tasks[dependant].unmet += 1
        task.open += count
        task.unsuccessful -= count - succeeded
        job.open += count
        world.live += count
    # Counted anew from what is still FAILED, so that the order in which a rebuilt world hears of it does not matter.
    marks = [mark for task in job.tasks if task.failed is not None for mark in task.failed if mark]
    job.failure = min(marks, default=0)


def _job_cancelling(world: World, record: JobCancelling) -> None:
    job = world.jobs[record.job]
    job.cancelling = True
    job.cancel_reason = record.reason
    world.queues.forget(job)  # however long the rest of the cancel takes, nothing of it is placed any more


def _job_revived(world: World, record: JobRevived) -> None:
    job = world.jobs[record.job]
    job.cancelling = False
    job.cancel_reason = ""
    _start_deadline(world, job, record.at)


def line_up(world: World) -> None:
    """Have all attempts arrive anew at their nodes in the order of their serials, after records were read job by job."""
    for attempt in world.attempts.values():
        attempt.admitted = False
    for node in world.nodes.values():
        node.admission.line_up()


def forget_job(world: World, job: Job) -> None:
    """A job leaves memory; what is known of it is in the store."""
    world.live -= job.open
    for state, count in enumerate(job.counts):
        world.counts[state] -= count
    del world.jobs[job.serial]
    world.by_id.pop(job.id, None)
    if job.key:
        world.keys.pop(job.key, None)
    world.queues.forget(job)


def raise_serials(world: World, serials: tuple[int, int, int]) -> None:
    """No (job, attempt, node) serial up to these is given out again: ended work used them."""
    world.last_job = max(world.last_job, serials[0])
    world.last_attempt = max(world.last_attempt, serials[1])
    world.last_node = max(world.last_node, serials[2])


def _job_ended(world: World, record: JobEnded) -> None:
    forget_job(world, world.jobs[record.job])


APPLY: dict[type, Callable[[World, Any], None]] = {
    TasksStaged: _tasks_staged,
    JobUnstagedRecord: _job_unstaged,
    JobAccepted: _job_accepted,
    TasksReady: _tasks_ready,
    AttemptAssigned: _attempt_assigned,
    AttemptAdmitted: _attempt_admitted,
    AttemptStarted: _attempt_started,
    AttemptCancelling: _attempt_cancelling,
    AttemptEnded: _attempt_ended,
    ElementsDue: _elements_due,
    SpansEnded: _spans_ended,
    SpansReset: _spans_reset,
    JobCancelling: _job_cancelling,
    JobRevived: _job_revived,
    JobEnded: _job_ended,
    **APPLY_NODE,
}
