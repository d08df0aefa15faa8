"""Which state of a task element may follow which, and why.

The theory: an element is first waiting (PENDING, READY, BACKOFF), then somewhere (ASSIGNED, RUNNING, CANCELLING), then ended.
It is "somewhere" exactly while an attempt is under way, so an attempt's one terminal record is the only way back or out.
An ended state is left only by a retry that a person asked for. Being lost is a fact about an attempt, and so is being
retried; neither is a state.

`apply` asks `allowed` for every single move, and docs/states.md is drawn from TABLE.
"""

from __future__ import annotations

from styx.core.states import TaskState

__all__ = ["FOLLOWING", "TABLE", "allowed"]

_S = TaskState

TABLE: tuple[tuple[TaskState, TaskState, str], ...] = (
    (_S.PENDING, _S.READY, "all it needs has ended well enough"),
    (_S.PENDING, _S.SKIPPED, "something it needs did not succeed"),
    (_S.PENDING, _S.CANCELLED, "cancelled"),
    (_S.READY, _S.ASSIGNED, "a node fits"),
    (_S.READY, _S.CANCELLED, "cancelled"),
    (_S.ASSIGNED, _S.RUNNING, "the node started it"),
    (_S.ASSIGNED, _S.SUCCEEDED, "it ended before its start was reported"),
    (_S.ASSIGNED, _S.FAILED, "it ended before its start was reported"),
    (_S.ASSIGNED, _S.BACKOFF, "it failed at once and has retries left, or the node refused it"),
    (_S.ASSIGNED, _S.READY, "recalled, or lost with its node"),
    (_S.ASSIGNED, _S.CANCELLING, "cancelled"),
    (_S.RUNNING, _S.SUCCEEDED, "exit code 0"),
    (_S.RUNNING, _S.FAILED, "it failed and has no retries left"),
    (_S.RUNNING, _S.BACKOFF, "it failed and has retries left"),
    (_S.RUNNING, _S.READY, "lost with its node"),
    (_S.RUNNING, _S.CANCELLING, "cancelled"),
    (_S.BACKOFF, _S.READY, "the wait is over"),
    (_S.BACKOFF, _S.CANCELLED, "cancelled"),
    (_S.CANCELLING, _S.CANCELLED, "it was stopped, or ended by itself meanwhile"),
    (_S.SUCCEEDED, _S.PENDING, "a person asked to run it again"),
    (_S.FAILED, _S.PENDING, "a person asked to run it again"),
    (_S.CANCELLED, _S.PENDING, "a person asked to run it again"),
    (_S.SKIPPED, _S.PENDING, "a person asked to run it again"),
)

FOLLOWING = [0] * len(TaskState)
"""By state, what may follow it: bit n is set for the state n. For who moves millions."""

for _before, _after, _ in TABLE:
    FOLLOWING[_before] |= 1 << _after


def allowed(before: int, after: int) -> bool:
    return bool(FOLLOWING[before] >> after & 1)
