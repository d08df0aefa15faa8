"""What finished tasks left in $STYX_RESULT, for the tasks that need them.

Results lie in the store with their attempts. Memory keeps only which tasks of live jobs have left any, and how many, so
that the common case, in which nobody writes results, costs no read.
"""

from __future__ import annotations

from collections.abc import Iterable

from styx.core.records import AttemptEnded, JobEnded, Record
from styx.core.world import Task
from styx.store.base import Store

__all__ = ["Results"]

_ROWS = 1_000  # elements read at once


class Results:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._counts: dict[int, dict[int, int]] = {}  # job -> task -> results that were ever left

    def note(self, records: Iterable[Record]) -> None:
        """Take notice of committed records."""
        for record in records:
            if type(record) is AttemptEnded:
                if record.result:
                    self._add(record)
            elif type(record) is JobEnded:
                self._counts.pop(record.job, None)

    def version(self, task: Task) -> tuple[int, ...]:
        """What the task would find now, as a mark that changes with it; empty when there is nothing."""
        counts = self._counts.get(task.job.serial)
        if counts is None or not task.needs:
            return ()
        found = tuple(counts.get(need, 0) for need in task.needs)
        return found if any(found) else ()

    async def files(self, task: Task) -> list[tuple[str, bytes]]:
        """The files for $STYX_RESULTS: (name, content), one for each element of a needed task that left a result."""
        files: list[tuple[str, bytes]] = []
        job = task.job
        counts = self._counts.get(job.serial, {})
        for need in task.needs:
            if counts.get(need):
                files += await self._of(job.tasks[need])
        return files

    async def _of(self, task: Task) -> list[tuple[str, bytes]]:
        latest: dict[int, bytes] = {}
        for first in range(0, task.size, _ROWS):
            rows = await self._store.attempts(task.job.serial, task.ordinal, first=first, count=_ROWS)
            for row in rows:  # by index and number: the last one of an element stands
                if row.ended_at:
                    latest[row.index] = row.result
        name = task.spec.name
        return [(f"{name}.{index}" if task.spec.array else name, result) for index, result in latest.items() if result]

    def _add(self, record: AttemptEnded) -> None:
        counts = self._counts.setdefault(record.job, {})
        counts[record.task] = counts.get(record.task, 0) + 1
