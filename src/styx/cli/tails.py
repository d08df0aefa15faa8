"""What the live view knows beside the job itself: the last words of what runs, and how long arrays have taken.

Both are heard of on the loop and read in the thread that draws; every step here is one that the interpreter does whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from styx.cli.controls import last_line

if TYPE_CHECKING:
    from collections.abc import Iterable

    from styx.protocol.http import JobView, LogChunk, TaskView

__all__ = ["ENDED", "Shot", "Spans", "Tails", "state_of"]

KEPT = 512  # bytes of each program
PROGRAMS = 16  # of one task
ENDED = frozenset({"SUCCEEDED", "FAILED", "CANCELLED", "SKIPPED"})


def state_of(task: TaskView) -> str:
    """The state that a person would name: an array of which something runs is running, whatever waits."""
    return "RUNNING" if task.array and task.counts.get("RUNNING") else task.status


class Tails:
    """The end of what each running program has written."""

    def __init__(self) -> None:
        self._tasks: dict[str, dict[int | None, bytes]] = {}

    def hear(self, chunk: LogChunk) -> None:
        own = self._tasks.setdefault(chunk.task, {})
        before = own.pop(chunk.index, b"")
        if chunk.end:
            return
        own[chunk.index] = (before + chunk.data[-KEPT:])[-KEPT:]
        if len(own) > PROGRAMS:
            own.pop(next(iter(own)), None)

    def of(self, task: str) -> list[tuple[int | None, str]]:
        """(index, last line) of programs of a task, the latest to have spoken first."""
        found = list(self._tasks.get(task, {}).items())
        return [(index, line) for index, data in reversed(found) if (line := last_line(data))]


class Spans:
    """When a task began and ended. Of arrays, and of the tasks of a large job, the plane does not tell: there it is what was
    seen at the looks, and nothing of what came and went between two."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[float, float]] = {}

    def see(self, tasks: Iterable[TaskView], now: float) -> None:
        for task in tasks:
            if task.started_at:
                continue
            state = state_of(task)
            began, ended = self._seen.get(task.name, (0.0, 0.0))
            if state == "RUNNING":
                self._seen[task.name] = began or now, 0.0
            elif began and not ended and state in ENDED:
                self._seen[task.name] = began, now

    def of(self, task: TaskView, now: float) -> float | None:
        """Seconds that it has run; None before its start."""
        began, ended = (task.started_at, task.ended_at) if task.started_at else self._seen.get(task.name, (0.0, 0.0))
        return max(0.0, (ended or now) - began) if began else None


class Shot(NamedTuple):
    """A look at a job. `now` is in seconds since the epoch, `elapsed` in seconds since the job was submitted."""

    job: JobView
    now: float
    elapsed: float
    tails: Tails
    spans: Spans
    over: bool = False
