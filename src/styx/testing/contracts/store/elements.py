"""What became of the elements of an array, by attempts and by spans: told in the order in which it happened."""

from __future__ import annotations

from pathlib import Path

from styx.core.records import AttemptAssigned, JobEnded, Record, SpansEnded, SpansReset
from styx.core.spec import TaskSpec
from styx.core.states import JobState, TaskState
from styx.store.base import Batch, Page, Store
from styx.testing.contracts.store.scenes import Scenes
from styx.testing.contracts.store.telling import AT, assigned, ended, loaded, split_spans, submitted, tally

__all__ = ["Elements"]


class Elements(Scenes):
    def test_spans_stand_where_they_happened(self, tmp_path: Path) -> None:
        async def scene(store: Store, epoch: int) -> None:
            array = TaskSpec("a", ("x",), array=8)
            told: list[Record] = [
                assigned(1, 1, 0, 0),
                ended(1, 1, 0, 0, TaskState.FAILED, AT + 1),
                SpansEnded(1, ((0, 1, 3), (1, 0, 8)), TaskState.SKIPPED, AT + 1, 1, "skipped"),
                SpansReset(1, ((0, 0, 2),), AT + 1, 1),
                assigned(2, 1, 0, 0, 2),
                ended(2, 1, 0, 0, TaskState.SUCCEEDED, AT + 1),
                assigned(3, 1, 0, 1),
                ended(3, 1, 0, 1, TaskState.SUCCEEDED, AT + 2),
                SpansReset(1, ((0, 1, 1),), AT + 3, 3),
                SpansEnded(1, ((0, 1, 1),), TaskState.CANCELLED, AT + 3, 3, "r"),
            ]
            await store.commit(epoch, Batch([*submitted(1, array, array), *told]))
            records = await loaded(store)
            order = [*submitted(1, array, array), *split_spans(told)]
            assert records == order
            rows = await store.elements(1, 0)
            assert [(row.first, row.count, row.state, row.at, row.after, row.reason) for row in rows] == [
                (1, 3, TaskState.SKIPPED, AT + 1, 1, "skipped"),
                (0, 2, TaskState.PENDING, AT + 1, 1, ""),
                (1, 1, TaskState.PENDING, AT + 3, 3, ""),
                (1, 1, TaskState.CANCELLED, AT + 3, 3, "r"),
            ]
            assert [row.count for row in await store.elements(1, 1)] == [8]

        self.run(tmp_path, scene)

    def test_what_ended_first_is_told_first(self, tmp_path: Path) -> None:
        """Even within one millisecond, for the first failure is the one that failed the job."""

        async def scene(store: Store, epoch: int) -> None:
            array = TaskSpec("a", ("x",), array=4)
            starts = [assigned(serial, 1, 0, serial - 1) for serial in range(1, 4)]
            ends: list[Record] = [
                ended(3, 1, 0, 2, TaskState.FAILED),
                SpansEnded(1, ((0, 3, 1),), TaskState.CANCELLED, AT, 3),
                ended(1, 1, 0, 0, TaskState.FAILED),
                SpansReset(1, ((0, 2, 2),), AT, 3),
                ended(2, 1, 0, 1, TaskState.FAILED),
            ]
            await store.commit(epoch, Batch([*submitted(1, array), *starts, *ends[:2]]))
            await store.commit(epoch, Batch(ends[2:]))
            told = [record for record in await loaded(store) if not isinstance(record, AttemptAssigned)]
            assert told[2:] == ends

        self.run(tmp_path, scene)

    def test_what_became_of_the_elements_of_an_ended_job(self, tmp_path: Path) -> None:
        async def scene(store: Store, epoch: int) -> None:
            array = TaskSpec("a", ("x",), array=5)
            first, second, third = TaskState.SUCCEEDED, TaskState.FAILED, TaskState.BACKOFF
            told: list[Record] = [
                # Task 0: attempts only, one of them a retry. Task 1: spans only. Task 2: both, and run again by hand.
                *(assigned(serial, 1, 0, serial - 1) for serial in range(1, 6)),
                *(ended(serial, 1, 0, serial - 1, first if serial < 4 else second) for serial in range(1, 5)),
                ended(5, 1, 0, 4, third),
                assigned(6, 1, 0, 4, 2),
                ended(6, 1, 0, 4, second),
                SpansEnded(1, ((1, 0, 5),), TaskState.SKIPPED, AT, 6),
                *(assigned(serial, 1, 2, serial - 7) for serial in range(7, 10)),
                *(ended(serial, 1, 2, serial - 7, second) for serial in range(7, 10)),
                SpansEnded(1, ((2, 3, 2),), TaskState.CANCELLED, AT + 1, 9),
                SpansReset(1, ((2, 0, 2), (2, 3, 1)), AT + 2, 9),
                assigned(10, 1, 2, 0, 2),
                ended(10, 1, 2, 0, first, AT + 3),
                SpansEnded(1, ((2, 1, 1),), TaskState.SKIPPED, AT + 3, 10),
                assigned(11, 1, 2, 3),
                ended(11, 1, 2, 3, first, AT + 4),
                JobEnded(1, JobState.FAILED, AT + 5, 1, tally(), ""),
            ]
            await store.commit(epoch, Batch([*submitted(1, array, array, array), *told]))
            wanted = [
                tally(succeeded=3, failed=2),
                tally(skipped=5),
                tally(succeeded=2, failed=1, skipped=1, cancelled=1),
            ]
            assert [task.counts for task in await store.tasks(Page())] == wanted
            for ordinal, counts in enumerate(wanted):
                task = await store.task(1, ordinal)
                assert task is not None
                assert task.counts == counts

        self.run(tmp_path, scene)
