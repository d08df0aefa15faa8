"""Opening a store and committing to it: whole or not at all, under the latest epoch, and events that can be resumed."""

from __future__ import annotations

import asyncio
from pathlib import Path

from styx.core.records import AttemptAdmitted, ElementsDue, NodeReserved, Record, TasksReady
from styx.errors import StaleEpoch, StoreError
from styx.store.base import Batch, EventRow, Page, Store
from styx.testing.contracts.store.scenes import Scenes
from styx.testing.contracts.store.telling import AT, identity, loaded, refused, submitted

__all__ = ["Commits"]


class Commits(Scenes):
    def test_a_new_store_is_empty(self, tmp_path: Path) -> None:
        async def scene(store: Store, epoch: int) -> None:
            assert await loaded(store) == []
            assert await store.serials() == (0, 0, 0)
            assert await store.jobs(Page()) == []
            assert await store.tasks(Page()) == []
            assert await store.nodes() == []
            assert await store.events(0, 10) == []
            assert await store.marks() == []
            assert await store.tokens() == []
            assert await store.history(1) == []
            assert await store.job(1) is None
            assert await store.job_by_id(identity(1)) is None
            assert await store.job_by_key("k") is None
            assert await store.task(1, 0) is None
            assert await store.attempt(1) is None
            assert await store.attempts(1, 0) == []
            assert await store.elements(1, 0) == []
            assert await store.outputs(1, 1, 0) == []
            assert await store.last_segment() == 0

        self.run(tmp_path, scene)

    def test_each_open_raises_the_epoch_and_keeps_the_incarnation(self, tmp_path: Path) -> None:
        async def play() -> None:
            store = self.make(tmp_path)
            first = await store.open()
            assert first.incarnation
            assert (first.last_event, first.last_at) == (0, 0)
            await store.commit(first.epoch, Batch([], b"e", 1, 3, AT))
            await store.close()
            second = await store.open()
            assert second.incarnation == first.incarnation
            assert second.epoch > first.epoch
            assert (second.last_event, second.last_at) == (3, AT)
            await store.close()

        asyncio.run(play())

    def test_a_stale_epoch_writes_nothing(self, tmp_path: Path) -> None:
        async def scene(store: Store, epoch: int) -> None:
            await refused(store.commit(epoch - 1, Batch(submitted(1), b"e", 1, 1, AT)), StaleEpoch)
            assert await store.job(1) is None
            assert await store.events(0, 10) == []
            await store.commit(epoch, Batch(submitted(1)))
            assert await store.job(1) is not None

        self.run(tmp_path, scene)

    def test_a_batch_with_an_unknown_record_writes_nothing(self, tmp_path: Path) -> None:
        async def scene(store: Store, epoch: int) -> None:
            unknown: list[Record] = [*submitted(1), "no record"]  # type: ignore[list-item]
            error = await refused(store.commit(epoch, Batch(unknown)), StoreError)
            assert "str" in error.message
            assert await store.job(1) is None
            await store.commit(epoch, Batch(submitted(1)))

        self.run(tmp_path, scene)

    def test_time_and_events_never_fall(self, tmp_path: Path) -> None:
        async def scene(store: Store, epoch: int) -> None:
            await store.commit(epoch, Batch([], b"e", 1, 9, AT + 9))
            await store.commit(epoch, Batch([], b"", 0, 0, AT))
            await store.close()
            opened = await store.open()
            assert (opened.last_event, opened.last_at) == (9, AT + 9)

        self.run(tmp_path, scene)

    def test_derived_records_are_taken_and_not_kept(self, tmp_path: Path) -> None:
        async def scene(store: Store, epoch: int) -> None:
            derived: list[Record] = [
                TasksReady(1, (0,), AT),
                AttemptAdmitted(1),
                ElementsDue(((1, 0, 0),)),
                NodeReserved(1, 2),
            ]
            await store.commit(epoch, Batch([*submitted(1), *derived]))
            assert await loaded(store) == submitted(1)

        self.run(tmp_path, scene)

    def test_events_resume_behind_a_sequence(self, tmp_path: Path) -> None:
        async def scene(store: Store, epoch: int) -> None:
            rows = [EventRow(1, 3, AT, b"abc"), EventRow(4, 4, AT + 1, b"\x00"), EventRow(5, 9, AT + 2, b"x" * 5_000)]
            for row in rows:
                await store.commit(epoch, Batch([], row.payload, row.first, row.last, row.at))
            assert await store.events(0, 10) == rows
            assert await store.events(0, 2) == rows[:2]
            assert await store.events(2, 10) == rows
            assert await store.events(3, 10) == rows[1:]
            assert await store.events(8, 10) == rows[2:]
            assert await store.events(9, 10) == []

        self.run(tmp_path, scene)
