"""The states of tasks, attempts, jobs and nodes. `transitions` says which may follow which."""

from __future__ import annotations

from enum import IntEnum, StrEnum

__all__ = ["ENDED", "LIVE", "JobState", "NodeState", "Outcome", "TaskState"]


class TaskState(IntEnum):
    """One byte an element; the order groups the live states before the ended ones."""

    PENDING = 0  # waits for the tasks it needs
    READY = 1  # waits for a place
    ASSIGNED = 2  # given to a node, not known to have started
    RUNNING = 3
    BACKOFF = 4  # waits before it is tried again
    CANCELLING = 5  # an attempt is being stopped
    SUCCEEDED = 6
    FAILED = 7
    CANCELLED = 8
    SKIPPED = 9  # something it needs did not succeed

    @property
    def ended(self) -> bool:
        return self >= TaskState.SUCCEEDED


LIVE = tuple(s for s in TaskState if not s.ended)
ENDED = tuple(s for s in TaskState if s.ended)


class Outcome(IntEnum):
    """How an attempt ended. LOST and REJECTED are facts about the place, not about the program."""

    EXITED = 0  # by itself; `code` is its exit code, 128+n for a signal it was not sent by Styx
    KILLED = 1  # stopped by Styx because it was cancelled
    TIMED_OUT = 2  # stopped by Styx because its timeout was over
    REJECTED = 3  # never started: recalled, or the node refused it
    LOST = 4  # the node was lost, or the program can no longer be watched


class JobState(StrEnum):
    RUNNING = "RUNNING"  # accepted, not all of its tasks have ended
    CANCELLING = "CANCELLING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def ended(self) -> bool:
        return self not in {JobState.RUNNING, JobState.CANCELLING}


class NodeState(StrEnum):
    """A node that an agent brings begins UP; one that a provider brings up begins REQUESTED."""

    REQUESTED = "REQUESTED"  # the intent is on disk; the cloud may or may not have heard of it
    BOOTING = "BOOTING"  # the cloud has named the machine; its agent is not here yet
    UP = "UP"
    DRAINING = "DRAINING"  # takes nothing new
    RELEASING = "RELEASING"  # the cloud has been, or is to be, told to end it
    GONE = "GONE"  # it left, or a listing says that there is no such machine
