"""The life of an attempt, and the order in which attempts are told of: in lists, and at a restart."""

from __future__ import annotations

from pathlib import Path

from styx.core.records import AttemptAssigned, AttemptCancelling, AttemptEnded, AttemptStarted, Record
from styx.core.spec import TaskSpec
from styx.core.states import Outcome, TaskState
from styx.store.base import Batch, Page, Store
from styx.testing.contracts.store.scenes import Scenes
from styx.testing.contracts.store.telling import AT, assigned, ended, job_ended, loaded, submitted, tally

__all__ = ["Attempts"]


class Attempts(Scenes):
    def test_the_life_of_an_attempt(self, tmp_path: Path) -> None:
        async def scene(store: Store, epoch: int) -> None:
            assign = AttemptAssigned(7, 1, 0, 2, 3, 5, AT)
            await store.commit(epoch, Batch([*submitted(1, TaskSpec("a", ("x",), array=4)), assign]))
            row = await store.attempt(7)
            assert row is not None
            assert (row.attempt, row.job, row.task, row.index, row.number, row.node) == (7, 1, 0, 2, 3, 5)
            assert (row.assigned_at, row.started_at, row.ended_at, row.outcome, row.state) == (AT, 0, 0, None, None)
            start, cancel = AttemptStarted(7, AT + 1), AttemptCancelling(7, AT + 2, "why not")
            await store.commit(epoch, Batch([start, cancel]))
            row = await store.attempt(7)
            assert row is not None
            assert (row.started_at, row.ended_at) == (AT + 1, 0)
            assert (await loaded(store))[2:] == [assign, start, cancel]
            end = AttemptEnded(
                7, 1, 0, 2, Outcome.KILLED, 143, TaskState.BACKOFF, AT + 3, AT + 1, AT + 9, True, "re\x00ason",
                b"\x00result", 1 << 40, 12,
            )  # fmt: skip
            await store.commit(epoch, Batch([end]))
            row = await store.attempt(7)
            assert row is not None
            assert (row.started_at, row.ended_at, row.outcome, row.code) == (AT + 1, AT + 3, Outcome.KILLED, 143)
            assert (row.state, row.reason, row.result) == (TaskState.BACKOFF, "re\x00ason", b"\x00result")
            assert (row.stdout, row.stderr) == (1 << 40, 12)
            assert type(row.outcome) is Outcome
            assert type(row.state) is TaskState
            assert (await loaded(store))[2:] == [assign, end]
            assert (await store.serials())[:2] == (1, 7)

        self.run(tmp_path, scene)

    def test_a_whole_life_within_one_batch(self, tmp_path: Path) -> None:
        async def scene(store: Store, epoch: int) -> None:
            end = ended(1, 1)
            life: list[Record] = [assigned(1, 1), AttemptStarted(1, AT), AttemptCancelling(1, AT), end]
            await store.commit(epoch, Batch([*submitted(1), *life, job_ended(1, AT)]))
            assert await loaded(store) == []
            assert await store.history(1) == [*submitted(1), assigned(1, 1), end]
            (task,) = await store.tasks(Page())
            assert task.counts == tally(succeeded=1)

        self.run(tmp_path, scene)

    def test_attempts_come_by_element_and_number(self, tmp_path: Path) -> None:
        async def scene(store: Store, epoch: int) -> None:
            array = TaskSpec("a", ("x",), array=10)
            lives = [
                assigned(serial, 1, task, index, number)
                for serial, (task, index, number) in enumerate(
                    [(0, 5, 1), (0, 2, 1), (1, 2, 1), (0, 5, 2), (0, 9, 1), (0, 2, 2), (0, 5, 3)], 1
                )
            ]
            await store.commit(epoch, Batch([*submitted(1, array, array), *lives]))

            async def found(first: int = 0, count: int = 1 << 31) -> list[tuple[int, int]]:
                rows = await store.attempts(1, 0, first=first, count=count)
                return [(row.index, row.number) for row in rows]

            assert await found() == [(2, 1), (2, 2), (5, 1), (5, 2), (5, 3), (9, 1)]
            assert await found(3, 3) == [(5, 1), (5, 2), (5, 3)]
            assert await found(5, 1) == [(5, 1), (5, 2), (5, 3)]
            assert await found(6, 3) == []
            assert [row.attempt for row in await store.attempts(1, 1)] == [3]
            assert await store.attempts(2, 0) == []

        self.run(tmp_path, scene)

    def test_attempts_under_way_load_in_the_order_they_reached_their_nodes(self, tmp_path: Path) -> None:
        async def scene(store: Store, epoch: int) -> None:
            array = TaskSpec("a", ("x",), array=4)
            await store.commit(epoch, Batch([*submitted(1, array), *submitted(2, array)]))
            lives = [assigned(1, 2), assigned(2, 1), assigned(3, 2, 0, 1), assigned(4, 1, 0, 1), assigned(5, 1, 0, 2)]
            await store.commit(epoch, Batch([*lives, ended(4, 1, 0, 1)]))
            records = await loaded(store)
            under_way = [r.attempt for r in records[-4:] if isinstance(r, AttemptAssigned)]
            assert under_way == [1, 2, 3, 5]
            assert records.index(ended(4, 1, 0, 1)) == records.index(assigned(4, 1, 0, 1)) + 1

        self.run(tmp_path, scene)

    def test_a_big_batch(self, tmp_path: Path) -> None:
        async def scene(store: Store, epoch: int) -> None:
            count = 3_333
            array = TaskSpec("a", ("x",), array=count)
            await store.commit(epoch, Batch(submitted(1, array)))
            lives: list[Record] = [assigned(k + 1, 1, 0, k) for k in range(count)]
            lives += [ended(k + 1, 1, 0, k) for k in range(count - 1)]
            await store.commit(epoch, Batch(lives))
            rows = await store.attempts(1, 0)
            assert [row.index for row in rows] == list(range(count))
            assert [row.state for row in rows] == [TaskState.SUCCEEDED] * (count - 1) + [None]
            assert len(await loaded(store)) == 2 + 2 * count - 1
            assert (await store.serials())[1] == count

        self.run(tmp_path, scene)
