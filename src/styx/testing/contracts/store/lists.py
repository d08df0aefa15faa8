"""Finding jobs and tasks: page by page, newest first; by name, state, digits of an id, or idempotency key."""

from __future__ import annotations

from pathlib import Path

from styx.core.records import JobCancelling, TasksStaged
from styx.core.spec import TaskSpec
from styx.core.states import JobState
from styx.store.base import Batch, Page, Store
from styx.testing.contracts.store.scenes import Scenes
from styx.testing.contracts.store.telling import AT, SPEC, identity, job_ended, submitted

__all__ = ["Lists"]


class Lists(Scenes):
    def test_jobs_page_by_page(self, tmp_path: Path) -> None:
        async def scene(store: Store, epoch: int) -> None:
            for job in range(1, 10):
                await store.commit(epoch, Batch(submitted(job, name=f"n{job % 2}")))
            await store.commit(
                epoch, Batch([job_ended(4, AT), job_ended(5, AT, JobState.FAILED), JobCancelling(6, AT)])
            )

            async def serials(page: Page, state: JobState | None = None, name: str = "") -> list[int]:
                return [row.job for row in await store.jobs(page, state=state, name=name)]

            assert await serials(Page(4)) == [9, 8, 7, 6]
            assert await serials(Page(4, (6, 0))) == [5, 4, 3, 2]
            assert await serials(Page(4, (2, 0))) == [1]
            assert await serials(Page(4, (1, 0))) == []
            assert await serials(Page(), name="n0") == [8, 6, 4, 2]
            assert await serials(Page(2, (8, 0)), name="n0") == [6, 4]
            assert await serials(Page(), JobState.RUNNING) == [9, 8, 7, 6, 3, 2, 1]
            assert await serials(Page(2, (7, 0)), JobState.RUNNING) == [6, 3]
            assert await serials(Page(), JobState.CANCELLING) == [6]
            assert await serials(Page(), JobState.FAILED) == [5]
            assert await serials(Page(), JobState.SUCCEEDED) == [4]
            assert await serials(Page(), JobState.CANCELLED) == []
            assert await serials(Page(), JobState.RUNNING, "n1") == [9, 7, 3, 1]
            assert await serials(Page(), JobState.FAILED, "n1") == [5]
            assert await serials(Page(), JobState.FAILED, "n0") == []

        self.run(tmp_path, scene)

    def test_find_jobs_by_the_beginning_or_the_end_of_an_id(self, tmp_path: Path) -> None:
        async def scene(store: Store, epoch: int) -> None:
            for job in range(1, 8):
                await store.commit(epoch, Batch(submitted(job)))
            wanted = identity(4)
            digits = f"{wanted:032x}"
            assert await store.find_jobs(digits) == [wanted]
            assert await store.find_jobs(digits.upper()) == [wanted]
            assert await store.find_jobs(f"{digits[:8]}-{digits[8:12]}") != []
            for length in (5, 6, 7, 11, 31):
                assert await store.find_jobs(digits[-length:]) == [wanted]
            for length in (12, 13, 31):
                assert await store.find_jobs(digits[:length]) == [wanted]
            newest_first = [identity(job) for job in range(7, 0, -1)]
            assert await store.find_jobs(digits[:6], 100) == newest_first
            assert await store.find_jobs(digits[:6]) == newest_first[:5]
            assert await store.find_jobs(digits[:6], 2) == newest_first[:2]
            for wrong in ("", "xyz", "%", digits + "0", "0" * 32, "é", "-"):
                assert await store.find_jobs(wrong) == []

        self.run(tmp_path, scene)

    def test_a_key_stays_with_the_job_that_brought_it_first(self, tmp_path: Path) -> None:
        async def scene(store: Store, epoch: int) -> None:
            await store.commit(epoch, Batch([*submitted(1, key="k"), *submitted(2), *submitted(3, key="l")]))
            await store.commit(epoch, Batch([job_ended(1, AT)]))
            await store.commit(epoch, Batch(submitted(4, key="k")))
            for key, job in (("k", 1), ("l", 3)):
                row = await store.job_by_key(key)
                assert row is not None
                assert (row.job, row.digest) == (job, b"digest")
            assert await store.job_by_key("") is None

        self.run(tmp_path, scene)

    def test_tasks_page_by_page(self, tmp_path: Path) -> None:
        async def scene(store: Store, epoch: int) -> None:
            for job, count in ((1, 3), (2, 1), (4, 5)):
                await store.commit(epoch, Batch(submitted(job, *(TaskSpec(f"t{k}", ("x",)) for k in range(count)))))
            await store.commit(epoch, Batch([TasksStaged(3, 0, (SPEC,), ((),)), TasksStaged(5, 0, (SPEC,), ((),))]))

            async def places(page: Page, job: int = 0) -> list[tuple[int, int]]:
                return [(row.job, row.task) for row in await store.tasks(page, job=job)]

            everything = [(4, 0), (4, 1), (4, 2), (4, 3), (4, 4), (2, 0), (1, 0), (1, 1), (1, 2)]
            assert await places(Page()) == everything
            for size in (1, 2, 3, 4, 5, 6):
                seen: list[tuple[int, int]] = []
                while page := await places(Page(size, seen[-1] if seen else (0, 0))):
                    assert len(page) <= size
                    seen += page
                assert seen == everything
            assert await places(Page(2), job=1) == [(1, 0), (1, 1)]
            assert await places(Page(2, (1, 1)), job=1) == [(1, 2)]
            assert await places(Page(2, (1, 2)), job=1) == []
            assert await places(Page(), job=3) == []
            assert await places(Page(), job=9) == []
            assert [row.spec.name for row in await store.tasks(Page(1), job=2)] == ["t0"]

        self.run(tmp_path, scene)
