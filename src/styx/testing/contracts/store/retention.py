"""What is dropped when it is old, or too much, and what outlives it."""

from __future__ import annotations

from pathlib import Path

from styx.core.records import Record
from styx.store.base import Batch, OutputRow, Page, Store
from styx.testing.contracts.store.scenes import Scenes
from styx.testing.contracts.store.telling import AT, assigned, ended, identity, job_ended, submitted

__all__ = ["Retention"]


class Retention(Scenes):
    async def _old_jobs(self, store: Store, epoch: int) -> None:
        """Jobs 1 to 4 ended at AT + 1 to 4, each with one attempt and ten bytes of output; 5 is live. Jobs 1 and 2 share
        segment 1, 3 and 4 share segment 2 with 5."""
        for job in range(1, 6):
            records = [*submitted(job, key=f"k{job}"), assigned(job, job)]
            outputs = (OutputRow(job, 1, 0, 10, 1 if job < 3 else 2, job),)
            end: list[Record] = [ended(job, job, at=AT + job), job_ended(job, AT + job)] if job < 5 else []
            await store.commit(epoch, Batch([*records, *end], b"e", job, job, AT + job, outputs))

    def test_prune_by_age(self, tmp_path: Path) -> None:
        async def scene(store: Store, epoch: int) -> None:
            await self._old_jobs(store, epoch)
            assert await store.prune(ended_before=AT) == (0, [])
            assert await store.prune(ended_before=AT + 2) == (1, [])
            assert [row.job for row in await store.jobs(Page())] == [5, 4, 3, 2]
            assert await store.job_by_id(identity(1)) is None
            assert await store.job_by_key("k1") is None
            assert await store.job_by_key("k2") is not None
            assert await store.attempt(1) is None
            assert await store.attempts(1, 0) == []
            assert await store.outputs(1, 1, 0) == []
            assert await store.task(1, 0) is None
            assert await store.history(1) == []
            assert [row.last for row in await store.events(0, 10)] == [2, 3, 4, 5]
            assert await store.prune(ended_before=AT + 100) == (3, [1])
            assert [row.job for row in await store.jobs(Page())] == [5]
            assert await store.outputs(5, 1, 0) != []
            assert await store.events(0, 10) == []
            assert await store.prune(ended_before=AT + 100) == (0, [])

        self.run(tmp_path, scene)

    def test_prune_by_size_drops_the_oldest_first(self, tmp_path: Path) -> None:
        async def scene(store: Store, epoch: int) -> None:
            await self._old_jobs(store, epoch)
            assert await store.prune(ended_before=0, keep_bytes=50) == (0, [])
            assert await store.prune(ended_before=0, keep_bytes=31) == (2, [1])
            assert [row.job for row in await store.jobs(Page())] == [5, 4, 3]
            assert await store.prune(ended_before=0, keep_bytes=1) == (2, [])
            assert [row.job for row in await store.jobs(Page())] == [5]

        self.run(tmp_path, scene)

    def test_prune_keeps_to_its_limit(self, tmp_path: Path) -> None:
        async def scene(store: Store, epoch: int) -> None:
            await self._old_jobs(store, epoch)
            assert (await store.prune(ended_before=AT + 100, limit=3))[0] == 3
            assert (await store.prune(ended_before=AT + 100, limit=3))[0] == 1

        self.run(tmp_path, scene)

    def test_serials_outlive_what_they_numbered(self, tmp_path: Path) -> None:
        async def scene(store: Store, epoch: int) -> None:
            lives: list[Record] = [assigned(41, 9), ended(41, 9), job_ended(9, AT)]
            output = OutputRow(41, 1, 0, 1, 6, 0)
            await store.commit(epoch, Batch([*submitted(9), *lives], b"e", 1, 70, AT, (output,)))
            assert await store.prune(ended_before=AT + 1) == (1, [6])
            await store.close()
            opened = await store.open()
            assert await store.serials() == (9, 41, 0)
            assert await store.last_segment() == 6
            assert opened.last_event == 70

        self.run(tmp_path, scene)
