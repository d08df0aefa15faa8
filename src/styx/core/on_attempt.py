"""What is decided when a node reports on attempts, and when attempts are lost."""

from __future__ import annotations

from styx.core.effects import Answer, ForgetAttempts
from styx.core.events import AttemptEnding, AttemptsReported
from styx.core.on_job import carry, finish
from styx.core.placement import admit
from styx.core.records import AttemptCancelling, AttemptEnded, AttemptStarted
from styx.core.retry import backoff_delay
from styx.core.states import Outcome, TaskState
from styx.core.turn import Turn
from styx.core.world import Attempt

__all__ = ["RECALLED", "end_attempt", "lose", "on_reported"]

RECALLED = "recalled"
"""How the reason begins that a node gives for an attempt which it gave back because it was asked to."""

REFUSED_DELAY = 1_000
"""Milliseconds before an attempt that a node refused is placed again, so that a refusing node cannot spin."""

LOST_CODE = 1
"""The exit code of a task that ends because its attempts were lost too often: no program gave one."""


def on_reported(turn: Turn, event: AttemptsReported) -> Answer:
    """Late reports are dropped; the node is told to forget them all the same."""
    node = turn.world.nodes.get(event.node)
    if node is None:
        return None
    held = node.held
    for serial in event.started:
        attempt = held.get(serial)
        if attempt is not None and not attempt.started_at:
            turn.record(AttemptStarted(serial, turn.now))
    if not event.ended:
        return None
    for ending in event.ended:
        attempt = held.get(ending.attempt)
        if attempt is not None:
            end_attempt(turn, attempt, ending)
    admit(turn, node)
    turn.effect(ForgetAttempts(node.id, tuple(ending.attempt for ending in event.ended)))
    return None


def end_attempt(turn: Turn, attempt: Attempt, ending: AttemptEnding, *, silent: bool = False) -> None:
    """Give an attempt its one terminal record, and see to what follows from it.

    `silent`: nothing was heard of its node, so its program may still run. An exclusive task must not overlap with it: it
    waits until the node's own lease, the program's grace and a margin are over, when the owner has ended it.
    """
    task = attempt.task
    spec = task.spec
    index = attempt.index
    outcome = ending.outcome
    at = max(turn.now - ending.ago, attempt.assigned_at)
    started = attempt.started_at or (max(at - ending.ran, attempt.assigned_at) if outcome <= Outcome.TIMED_OUT else 0)
    code, reason, due, spent = ending.code, ending.reason, 0, False
    if task.job.cancelling and not attempt.cancelling:  # the cancel of a wide job has not come to it yet
        turn.record(AttemptCancelling(attempt.id, turn.now, task.job.cancel_reason))
    if attempt.cancelling:
        state = TaskState.CANCELLED
    elif outcome == Outcome.EXITED and code == 0:
        state = TaskState.SUCCEEDED
    elif outcome == Outcome.REJECTED:
        state = TaskState.READY if reason.startswith(RECALLED) else TaskState.BACKOFF
        due = turn.now + REFUSED_DELAY
    elif outcome in {Outcome.LOST, Outcome.KILLED}:
        # Stopped, though nobody cancelled it: its machine is going away, which is not the program's fault.
        outcome = Outcome.LOST
        lost = (task.losses[index] if task.losses else 0) + 1
        if lost <= spec.max_lost:
            state = TaskState.BACKOFF if silent and spec.exclusive else TaskState.READY
        else:
            state, code = TaskState.FAILED, code or LOST_CODE
            reason = f"lost {lost} times, {spec.max_lost} are forgiven; the last time: {reason}"
        if spec.function and not spec.idempotent:
            # Nobody can stop an invocation or ask what became of it: it may have been carried out, or be going on still.
            state, code = TaskState.FAILED, code or LOST_CODE
            reason = f"{ending.reason}; it is not invoked again, since the task does not say `idempotent: true`"
    else:
        failures = (task.failures[index] if task.failures else 0) + 1
        if failures <= spec.retries:
            state, spent = TaskState.BACKOFF, True
            due = turn.now + backoff_delay(spec.backoff, failures)
        else:
            state = TaskState.FAILED
    if silent and spec.exclusive:
        due = turn.now + spec.grace + turn.settings.exclusive_margin
    elif state != TaskState.BACKOFF:
        due = 0
    turn.record(
        AttemptEnded(
            attempt.id,
            task.job.serial,
            task.ordinal,
            index,
            outcome,
            code,
            state,
            at,
            started,
            due,
            spent,
            reason,
            ending.result,
            ending.stdout,
            ending.stderr,
        )
    )
    if task.open == 0:
        if task.dependants:
            carry(turn, task)
        if task.job.open == 0:
            finish(turn, task.job)


def lose(turn: Turn, attempt: Attempt, reason: str, *, silent: bool = False) -> None:
    """End an attempt LOST; for `silent` see `end_attempt`."""
    end_attempt(turn, attempt, AttemptEnding(attempt.id, Outcome.LOST, reason=reason), silent=silent)
