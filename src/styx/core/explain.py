"""Why an element is where it is: the reason in one line, the evidence, and what would change it.

What is said of an element that waits for a place is in `waiting`; it comes from the predicates that placement itself asks.

Codes are stable words: ended, cancelling, running, assigned, node-suspect, mass-loss, backoff, waiting-for-needs, opening,
next, queue, fairness, priority, no-node, node-away, label-mismatch, never-fits, no-room, reserved, coming, no-machine,
provider-barred.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from styx.core.capacity import known_places
from styx.core.places import Places
from styx.core.reasons import Reason
from styx.core.settings import CoreSettings
from styx.core.states import TaskState
from styx.core.timers import BACKOFF
from styx.core.waiting import why_ready
from styx.core.wording import count_text, listed, resources_text, time_text
from styx.core.world import Attempt, Job, Node, Task, World
from styx.errors import NotFound

__all__ = ["Reason", "explain"]

_SHOWN = 5  # tasks named in the evidence

_MOST_TELLING = (
    TaskState.READY,
    TaskState.BACKOFF,
    TaskState.PENDING,
    TaskState.ASSIGNED,
    TaskState.CANCELLING,
    TaskState.RUNNING,
    TaskState.FAILED,
    TaskState.CANCELLED,
    TaskState.SKIPPED,
    TaskState.SUCCEEDED,
)


def explain(
    world: World, job: int, task: int, index: int, now: int, settings: CoreSettings, places: Places | None = None
) -> Reason:
    """Why element `index` of a live job's task is where it is; index < 0 asks about the array as a whole, answered by the
    element that waits the most. Raises NotFound for a job that is not in memory: it has ended, or never was."""
    found = world.jobs.get(job)
    if found is None:
        raise NotFound("this job is not live", hint="it has ended; its tasks say how")
    subject = found.tasks[task]
    if index < 0:
        index = next(at for at in (subject.states.find(state) for state in _MOST_TELLING) if at >= 0)
    case = _Case(world, found, subject, index, now, settings, places or Places())
    return _BY_STATE[TaskState(subject.states[index])](case)


class _Case(msgspec.Struct, frozen=True):
    world: World
    job: Job
    task: Task
    index: int
    now: int
    settings: CoreSettings
    places: Places

    @property
    def attempt(self) -> Attempt:
        return self.world.attempts[(self.task.live or {})[self.index]]

    @property
    def history(self) -> tuple[str, ...]:
        """What the element has behind it."""
        task, index = self.task, self.index
        texts = []
        if task.numbers is not None and task.numbers[index]:
            texts.append(f"{count_text(task.numbers[index], 'attempt')} so far")
        if task.failures is not None and task.failures[index]:
            texts.append(f"{task.failures[index]} of {count_text(task.spec.retries, 'retry', 'retries')} used")
        if task.losses is not None and task.losses[index]:
            texts.append(f"lost {count_text(task.losses[index], 'time')}, {task.spec.max_lost} are forgiven")
        return tuple(texts)


def _ended(case: _Case) -> Reason:
    state = TaskState(case.task.states[case.index])
    return Reason("ended", f"it has ended: {state.name}", case.history, ("`styx retry` runs it again",))


def _pending(case: _Case) -> Reason:
    if case.job.cancelling:
        return _cancelled_soon(case)
    tasks = case.job.tasks
    unmet = [tasks[need] for need in case.task.needs if tasks[need].open]
    if not unmet:
        return Reason("opening", "all it needs has ended; it becomes ready, or is skipped, in a moment")
    names = listed(repr(other.spec.name) for other in unmet[:_SHOWN])
    more = f" and {len(unmet) - _SHOWN:,} more" if unmet[_SHOWN:] else ""
    evidence = tuple(f"{other.spec.name!r}: {_progress(other)}" for other in unmet[:_SHOWN])
    change = (f"`why` of {unmet[0].spec.name!r} says what that waits for",)
    return Reason("waiting-for-needs", f"it waits for {names}{more} to end", evidence, change)


def _progress(task: Task) -> str:
    counts = [(state, task.states.count(state)) for state in TaskState]
    if task.size == 1:
        return TaskState(task.states[0]).name
    return ", ".join(f"{count:,} {state.name}" for state, count in counts if count)


def _backoff(case: _Case) -> Reason:
    if case.job.cancelling:
        return _cancelled_soon(case)
    mine = (case.job.serial, case.task.ordinal, case.index)
    due = min((timer[0] for timer in case.world.timers if timer[1] == BACKOFF and timer[2:] == mine), default=case.now)
    number = case.task.numbers[case.index] if case.task.numbers is not None else 0
    return Reason(
        "backoff",
        f"attempt {number} did not succeed; the next one may start in {time_text(due - case.now)}",
        case.history,
        ("it is tried again by itself; `backoff` in its spec sets the wait",),
    )


def _assigned(case: _Case) -> Reason:
    attempt = case.attempt
    away = _away(case, attempt.node)
    if away is not None:
        return away
    node = attempt.node
    since = f"given to {node.name!r} {time_text(case.now - attempt.assigned_at)} ago"
    if attempt.admitted:
        return Reason("assigned", f"{node.name!r} has it and is about to start it", (since, *case.history))
    before = list(node.admission.waiting).index(attempt.id)
    reason = f"it was sent ahead to {node.name!r} and waits there for room, behind {count_text(before, 'other')}"
    free = f"free there: {resources_text(node.admission.free, attempt.shape.resources)}"
    return Reason("assigned", reason, (since, free), ("it starts when something ends there, or is asked back",))


def _running(case: _Case) -> Reason:
    attempt = case.attempt
    away = _away(case, attempt.node)
    if away is not None:
        return away
    reason = f"it runs on {attempt.node.name!r} since {time_text(case.now - attempt.started_at)}"
    return Reason("running", reason, case.history)


def _away(case: _Case, node: Node) -> Reason | None:
    """The element is on a node of which nothing is heard."""
    if node.connected:
        return None
    evidence = [f"node {node.name!r} is not connected"]
    if node.suspect_at:
        evidence = [f"nothing was heard of node {node.name!r} for {time_text(case.now - node.suspect_at)}"]
    known = known_places(case.world)
    window = case.settings.mass_loss_window
    together = sum(1 for other in known if other.suspect_at and abs(other.suspect_at - node.suspect_at) <= window)
    share, count = case.settings.mass_loss_share, case.settings.mass_loss_count
    if node.suspect_at and together >= count and together >= share * len(known):
        evidence.append(f"{together} of {len(known)} nodes vanished within {time_text(window)}")
        reason = "so many nodes vanished at once that the network is the likelier cause; nothing is run again yet"
        return Reason("mass-loss", reason, tuple(evidence), ("bring the network or the nodes back",))
    reason = f"it is on {node.name!r}, of which nothing is heard now; it may well still run"
    change = ("it goes on when the node is back, and is run elsewhere once the node's lease is over",)
    return Reason("node-suspect", reason, tuple(evidence), change)


def _cancelling(case: _Case) -> Reason:
    node = case.attempt.node
    reason = f"it is being stopped on {node.name!r}"
    grace = f"SIGKILL follows {time_text(case.task.spec.grace)} after SIGTERM"
    away = () if node.connected else (f"node {node.name!r} is not connected and has to come back first",)
    return Reason("cancelling", reason, (grace, *away))


def _cancelled_soon(case: _Case) -> Reason:
    return Reason("cancelling", f"its job is being cancelled: {case.job.cancel_reason}")


def _ready(case: _Case) -> Reason:
    if case.job.cancelling:
        return _cancelled_soon(case)
    return why_ready(case.world, case.task, case.index, case.now, case.settings, case.places)


_BY_STATE: dict[TaskState, Callable[[_Case], Reason]] = {
    TaskState.PENDING: _pending,
    TaskState.READY: _ready,
    TaskState.ASSIGNED: _assigned,
    TaskState.RUNNING: _running,
    TaskState.BACKOFF: _backoff,
    TaskState.CANCELLING: _cancelling,
    TaskState.SUCCEEDED: _ended,
    TaskState.FAILED: _ended,
    TaskState.CANCELLED: _ended,
    TaskState.SKIPPED: _ended,
}
