"""What a pod's status means for its attempt. Pure: the pod in, a finding out.

The facts that decide:
- Whether the program ran, and its exit code, stand in the container's status. A pod may also fail without any (evicted, refused by its
  node, its deadline over).
- A deletion sets deletionTimestamp to the moment it was asked for plus the grace. What ended before that moment ended by itself; what
  ended after it with a failure was ended by the deletion, and who asked for it only the runner knows: `killed`.
- When deletionGracePeriodSeconds is 0, or the pod had no node, nobody will say any more of it than stands there.
"""

from __future__ import annotations

import signal

import msgspec

from styx.core.states import Outcome
from styx.providers.kubernetes.objects import ContainerStatus, Pod, Terminated, instant
from styx.providers.kubernetes.pod import GONE, TASK, WORKDIR

__all__ = ["ENDED", "RUNNING", "WAITING", "Finding", "judge"]

WAITING, RUNNING, ENDED = range(3)

RESULT = 4_096  # bytes; what a termination message may be long
NOT_FOUND = 127  # as a shell says it of a command
CANNOT_RUN = 126
_IMAGE = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable",
                    "ImageInspectError", "SignatureValidationFailed"})  # fmt: skip
_CONTAINER = frozenset(
    {"CreateContainerConfigError", "CreateContainerError", "RunContainerError", "PreCreateHookError"}
)
_NOT_STARTED = frozenset({"ContainerCannotRun", "StartError", "CreateContainerError"})
_NO_PROGRAM = ("executable file not found", "no such file or directory", "not found in $PATH")


class Finding(msgspec.Struct, frozen=True):
    """`state` WAITING: `waiting` says for what; `stuck` is the exit code for when that does not pass, 0 while it may.
    ENDED: `outcome` and the rest as in AttemptEnding; `killed`: a deletion ended it. Instants in milliseconds, 0: not known."""

    state: int
    waiting: str = ""
    stuck: int = 0
    started_at: int = 0
    finished_at: int = 0
    outcome: Outcome = Outcome.LOST
    code: int = 0
    reason: str = ""
    result: bytes = b""
    killed: bool = False

    @property
    def ran(self) -> int:
        return max(0, self.finished_at - self.started_at) if self.started_at and self.finished_at else 0


def judge(pod: Pod) -> Finding:
    status = pod.status
    task = _named(status.container_statuses, TASK)
    if task is not None and task.state.terminated is not None:
        return _terminated(pod, task.state.terminated)
    if status.phase in {"Failed", "Succeeded"}:
        return _without_program(pod)
    deleted = pod.metadata.deletion_timestamp is not None
    if deleted and (not pod.metadata.deletion_grace_period_seconds or not pod.spec.node_name):
        return Finding(ENDED, killed=True, reason="it was deleted, and its node does not say how the program ended")
    if task is not None and task.state.running is not None:
        return Finding(RUNNING, started_at=instant(task.state.running.started_at))
    return _waiting(pod, task)


def _named(statuses: tuple[ContainerStatus, ...] | None, name: str) -> ContainerStatus | None:
    return next((status for status in statuses or () if status.name == name), None)


def _terminated(pod: Pod, end: Terminated) -> Finding:
    started, finished = instant(end.started_at), instant(end.finished_at)
    if end.reason in _NOT_STARTED:
        code = NOT_FOUND if any(words in end.message for words in _NO_PROGRAM) else CANNOT_RUN
        reason = _joined(end.reason, end.message)
        return Finding(ENDED, finished_at=finished, outcome=Outcome.EXITED, code=code, reason=reason)
    made = Finding(ENDED, started_at=started, finished_at=finished, code=end.exit_code)
    change = msgspec.structs.replace
    if pod.status.reason == "DeadlineExceeded":
        return change(made, outcome=Outcome.TIMED_OUT, reason=pod.status.message or "its deadline is over")
    if end.reason == "ContainerStatusUnknown":
        return change(made, started_at=0, reason=_joined("its node does not know how it ended", end.message))
    disrupted = _disrupted(pod) if end.exit_code else ""
    if disrupted:
        return change(made, reason=disrupted)
    if _ended_by_deletion(pod, finished, end.exit_code):
        return change(made, killed=True)
    result = end.message.encode()[:RESULT] if end.reason in {"Completed", "Error"} else b""
    return change(made, outcome=Outcome.EXITED, reason=_how(end), result=result)


def _how(end: Terminated) -> str:
    if end.reason == "OOMKilled":
        return "OOMKilled: it took more memory than it asked for"
    if 128 < end.exit_code < 193:
        try:
            return f"killed by {signal.Signals(end.exit_code - 128).name}"
        except ValueError:
            return ""
    return "" if end.reason in {"Completed", "Error", ""} else _joined(end.reason, end.message)


def _ended_by_deletion(pod: Pod, finished: int, code: int) -> bool:
    """Whether the program ended because the pod was to be deleted. Both instants are cut to seconds, so in the very second of the
    deletion the exit code tells."""
    if pod.metadata.deletion_timestamp is None:
        return False
    asked = instant(pod.metadata.deletion_timestamp) - 1_000 * (pod.metadata.deletion_grace_period_seconds or 0)
    return finished > asked or (finished == asked and code != 0)


def _disrupted(pod: Pod) -> str:
    """Why its place was taken from it, "" when it was not."""
    for condition in pod.status.conditions or ():
        if condition.type == "DisruptionTarget" and condition.status == "True":
            return _joined(condition.reason or "its place was taken", condition.message)
    reason = pod.status.reason
    return _joined(reason, pod.status.message) if reason not in {"", "Error", "Completed"} else ""


def _without_program(pod: Pod) -> Finding:
    status = pod.status
    if status.reason == "DeadlineExceeded":
        reason = status.message or "its deadline is over"
        return Finding(ENDED, outcome=Outcome.TIMED_OUT, reason=f"{reason} (before it started)")
    disrupted = _disrupted(pod)
    if disrupted:
        return Finding(ENDED, reason=disrupted)
    if pod.metadata.deletion_timestamp is not None:
        return Finding(ENDED, killed=True, reason="it was deleted before it started")
    first = _named(status.init_container_statuses, WORKDIR)
    end = first.state.terminated if first is not None else None
    if end is not None and end.exit_code:
        said = end.message.strip() or _joined(end.reason, f"exit code {end.exit_code}")
        reason = f"its working folder could not be fetched: {said}"
        if end.exit_code == GONE:
            return Finding(ENDED, outcome=Outcome.EXITED, code=CANNOT_RUN, reason=reason)
        return Finding(ENDED, reason=reason)
    return Finding(ENDED, reason=_joined(f"the pod is {status.phase}, and nothing says why", status.message))


def _waiting(pod: Pod, task: ContainerStatus | None) -> Finding:
    for condition in pod.status.conditions or ():
        if condition.type == "PodScheduled" and condition.status == "False":
            return Finding(WAITING, _joined(condition.reason, condition.message))
    if not pod.spec.node_name:
        return Finding(WAITING, "no node has been chosen for its pod yet")
    first = _named(pod.status.init_container_statuses, WORKDIR)
    if first is not None:
        if first.state.running is not None:
            return Finding(WAITING, "its working folder is fetched")
        if first.state.waiting is not None and first.state.terminated is None:
            found = _held_up(first.state.waiting.reason, first.state.waiting.message)
            if found is not None:
                return found
    if task is not None and task.state.waiting is not None:
        found = _held_up(task.state.waiting.reason, task.state.waiting.message)
        if found is not None:
            return found
    return Finding(WAITING, f"its container is made on node {pod.spec.node_name}")


def _held_up(reason: str, message: str) -> Finding | None:
    if reason in _IMAGE:
        return Finding(WAITING, _joined(reason, message), stuck=NOT_FOUND)
    if reason in _CONTAINER:
        return Finding(WAITING, _joined(reason, message), stuck=CANNOT_RUN)
    return None


def _joined(reason: str, message: str) -> str:
    return f"{reason}: {message}" if reason and message else reason or message
