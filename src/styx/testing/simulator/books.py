"""The books of a run: what is known of every job, element and attempt, and what really runs.

`ledger` writes into them what is durable, `running` what programs do; each judges what it hears by what stands there.
"""

from __future__ import annotations

from styx.core.records import AttemptAssigned, AttemptEnded
from styx.core.spec import TaskSpec
from styx.core.states import JobState, TaskState
from styx.testing.simulator.program import Program

__all__ = ["Books", "Element", "Entry", "Job", "Task"]

Element = tuple[int, int, int]
"""(job, task, index)."""


class Task:
    def __init__(self, spec: TaskSpec, needs: tuple[int, ...]) -> None:
        self.spec = spec
        self.needs = needs
        self.ended: dict[int, TaskState] = {}  # by element
        self.numbers: dict[int, int] = {}
        self.spent: dict[int, int] = {}
        self.lost: dict[int, int] = {}
        self.results: dict[int, bytes] = {}

    @property
    def open(self) -> bool:
        return len(self.ended) < self.spec.size

    @property
    def satisfies(self) -> bool:
        """Whether those that want success may start."""
        good = {TaskState.SUCCEEDED, TaskState.FAILED} if self.spec.allow_failure else {TaskState.SUCCEEDED}
        return not self.open and all(state in good for state in self.ended.values())


class Job:
    def __init__(self) -> None:
        self.tasks: list[Task] = []
        self.accepted = False
        self.cancelling = False
        self.state: JobState | None = None  # once it has ended


class Entry:
    """An attempt in the books."""

    def __init__(self, record: AttemptAssigned, spec: TaskSpec) -> None:
        self.record = record
        self.spec = spec
        self.started = False
        self.cancelling = False
        self.ended: AttemptEnded | None = None

    @property
    def element(self) -> Element:
        return self.record.job, self.record.task, self.record.index


class Books:
    """By serial, if nothing else is said."""

    def __init__(self) -> None:
        self.jobs: dict[int, Job] = {}
        self.keys: dict[str, int] = {}
        self.attempts: dict[int, Entry] = {}
        self.live: dict[Element, int] = {}
        self.machines: dict[int, str] = {}  # by node
        self.programs: dict[int, Program] = {}  # all that ever started
        self.running: dict[int, str] = {}  # attempt -> machine
