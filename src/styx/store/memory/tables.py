"""What the store in memory keeps: the records as they came, where the questions about them look.

Nothing here decides anything. A record is kept whole; what it means for the answer to a question is said where that question is
answered.
"""

from __future__ import annotations

from collections.abc import Iterator

from styx.core.ids import JobId
from styx.core.records import (
    AttemptAssigned,
    AttemptCancelling,
    AttemptEnded,
    AttemptStarted,
    InstanceBound,
    InstanceIntended,
    InstanceRefused,
    JobAccepted,
    JobCancelling,
    JobEnded,
    JobRevived,
    NodeLinked,
    NodeLost,
    NodeShifted,
    NodeSuspected,
    SpansEnded,
    SpansReset,
)
from styx.core.spec import TaskSpec
from styx.store.base import EventRow, OutputRow, ReportMark, TokenRow

__all__ = ["Job", "Machine", "Node", "SpansRecord", "Tables"]

SpansRecord = SpansEnded | SpansReset


class Job:
    """All that is kept of one job. `accepted` is None while it is staged."""

    __slots__ = ("accepted", "attempts", "cancelling", "ended", "revived", "spans", "tasks")

    def __init__(self) -> None:
        self.accepted: JobAccepted | None = None
        self.revived: JobRevived | None = None
        self.cancelling: JobCancelling | None = None
        self.ended: JobEnded | None = None
        self.tasks: list[tuple[TaskSpec, tuple[int, ...]]] = []
        self.attempts: dict[int, list[int]] = {}  # task -> serials
        self.spans: list[tuple[int, SpansRecord]] = []  # with the number of the record


class Node:
    """The last of each kind of news about a node, since it was linked."""

    __slots__ = ("linked", "lost", "shifted", "suspected")

    def __init__(self, linked: NodeLinked) -> None:
        self.linked = linked
        self.suspected: NodeSuspected | None = None
        self.lost: NodeLost | None = None
        self.shifted: NodeShifted | None = None


class Machine:
    """An intent, and what became of it."""

    __slots__ = ("bound", "charged_at", "intended", "reason", "shifted")

    def __init__(self, intended: InstanceIntended) -> None:
        self.intended = intended
        self.bound: InstanceBound | None = None
        self.charged_at = 0
        self.shifted: NodeShifted | None = None
        self.reason = ""

    def shift(self, shifted: NodeShifted) -> None:
        self.shifted = shifted
        self.reason = shifted.reason or self.reason


class Tables:
    """Everything, by what it is asked for."""

    def __init__(self) -> None:
        self.serials = (0, 0, 0)  # the highest job, attempt, node ever
        self.told = 0  # records so far
        self.last_event = 0
        self.last_at = 0
        self.jobs: dict[int, Job] = {}
        self.by_id: dict[JobId, int] = {}
        self.by_key: dict[str, int] = {}
        self.assigned: dict[int, AttemptAssigned] = {}
        self.started: dict[int, AttemptStarted] = {}
        self.stopping: dict[int, AttemptCancelling] = {}
        self.ended: dict[int, AttemptEnded] = {}
        self.ended_told: dict[int, int] = {}  # attempt -> the number of the record
        self.nodes: dict[int, Node] = {}
        self.machines: dict[int, Machine] = {}
        self.costs: dict[tuple[int, int], int] = {}  # (job, node) -> micros
        self.refusals: dict[tuple[str, ...], InstanceRefused] = {}
        self.events: list[EventRow] = []
        self.outputs: dict[tuple[int, int], dict[int, OutputRow]] = {}  # (attempt, stream) -> offset -> piece
        self.last_segment = 0
        self.marks: dict[str, ReportMark] = {}
        self.tokens: dict[int, TokenRow] = {}
        self.last_token = 0
        self.enrolments: dict[str, bytes] = {}
        self.secrets: dict[int, bytes] = {}

    def raise_serials(self, *, job: int = 0, attempt: int = 0, node: int = 0) -> None:
        """These were given out."""
        highest_job, highest_attempt, highest_node = self.serials
        self.serials = (max(highest_job, job), max(highest_attempt, attempt), max(highest_node, node))

    def cost_of_job(self, job: int) -> int:
        return sum(micros for (payer, _), micros in self.costs.items() if payer == job)

    def cost_of_node(self, node: int) -> int:
        return sum(micros for (_, machine), micros in self.costs.items() if machine == node)

    def pieces(self) -> Iterator[OutputRow]:
        """Every piece of output there is."""
        for stream in self.outputs.values():
            yield from stream.values()
