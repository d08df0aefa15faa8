"""The life of a job: staged, accepted, cancelled, ended, run again; and what of it a restart gets back."""

from __future__ import annotations

from pathlib import Path

from styx.core.records import (
    JobAccepted,
    JobCancelling,
    JobEnded,
    JobRevived,
    JobUnstagedRecord,
    Record,
    SpansEnded,
    SpansReset,
    TasksStaged,
)
from styx.core.resources import Resources
from styx.core.spec import Backoff, JobSpec, Priority, TaskSpec
from styx.core.states import JobState, TaskState
from styx.store.base import Batch, Page, Store
from styx.testing.contracts.store.scenes import Scenes
from styx.testing.contracts.store.telling import (
    AT,
    SPEC,
    assigned,
    ended,
    identity,
    job_ended,
    loaded,
    split_spans,
    submitted,
    tally,
)

__all__ = ["Jobs"]


class Jobs(Scenes):
    def test_a_job_reads_as_it_was_written(self, tmp_path: Path) -> None:
        async def scene(store: Store, epoch: int) -> None:
            first = TaskSpec(
                "först\x00é\u2028",
                ("sh", "-c", "echo \x00 'ü'"),
                needs=(),
                array=3,
                resources=Resources(500, 1 << 40, 7, (("A100", 2),)),
                labels=(("zone", "a"),),
                env=(("K", ""), ("Ü", "\x00")),
                workdir="/tmp/ø",
                retries=3,
                backoff=Backoff(5, 1.5, 9),
                timeout=1 << 50,
                allow_failure=True,
            )
            specs = (first, TaskSpec("b", ("x",), needs=("först\x00é\u2028",), shell=True))
            job = JobSpec("näme\x00", (), Priority.HIGH, 5, "host", "/c", (("k", "v"),), True)
            accepted = JobAccepted(1, identity(1), job, 2, 4, AT, "kéy\x00", b"\x00\xff")
            await store.commit(epoch, Batch([TasksStaged(1, 0, specs, ((), (0,))), accepted]))
            row = await store.job(1)
            assert row is not None
            assert (row.job, row.id, row.spec, row.tasks, row.elements) == (1, identity(1), job, 2, 4)
            assert (row.state, row.accepted_at, row.ended_at, row.code) == (JobState.RUNNING, AT, 0, 0)
            assert (row.counts, row.reason, row.key, row.digest) == ((), "", "kéy\x00", b"\x00\xff")
            assert await store.job_by_id(identity(1)) == row
            assert await store.job_by_key("kéy\x00") == row
            assert await store.job_by_key("kéy") is None
            assert await store.jobs(Page(), name="näme\x00") == [row]
            assert await store.jobs(Page(), name="näme") == []
            tasks = await store.tasks(Page())
            assert [(task.spec, task.needs) for task in tasks] == [(specs[0], ()), (specs[1], (0,))]
            assert [(t.job, t.job_id, t.task, t.accepted_at, t.counts) for t in tasks] == [
                (1, identity(1), 0, AT, ()),
                (1, identity(1), 1, AT, ()),
            ]
            assert await store.task(1, 1) == tasks[1]
            assert await store.task(1, 2) is None
            assert await store.task(2, 0) is None
            assert await loaded(store) == [TasksStaged(1, 0, specs, ((), (0,))), accepted]

        self.run(tmp_path, scene)

    def test_a_job_staged_in_chunks_shows_once_it_is_accepted(self, tmp_path: Path) -> None:
        async def scene(store: Store, epoch: int) -> None:
            chunks: list[Record] = [TasksStaged(1, 0, (SPEC, SPEC), ((), ())), TasksStaged(1, 2, (SPEC,), ((0, 1),))]
            for chunk in chunks:
                await store.commit(epoch, Batch([chunk]))
            assert await store.jobs(Page()) == []
            assert await store.tasks(Page()) == []
            assert await store.task(1, 0) is None
            assert (await store.serials())[0] == 1
            await store.commit(epoch, Batch([JobAccepted(1, identity(1), JobSpec("j", ()), 3, 3, AT)]))
            assert [task.needs for task in await store.tasks(Page())] == [(), (), (0, 1)]
            staged = (await loaded(store))[0]
            assert isinstance(staged, TasksStaged)
            assert staged.needs == ((), (), (0, 1))

        self.run(tmp_path, scene)

    def test_what_was_never_accepted_is_gone_after_a_restart(self, tmp_path: Path) -> None:
        async def scene(store: Store, epoch: int) -> None:
            await store.commit(epoch, Batch([*submitted(1), TasksStaged(2, 0, (SPEC,), ((),))]))
            await store.commit(epoch, Batch([TasksStaged(3, 0, (SPEC,), ((),)), JobUnstagedRecord(3)]))
            await store.close()
            await store.open()
            assert await loaded(store) == submitted(1)
            assert (await store.serials())[0] == 3
            assert (await store.prune(ended_before=0))[0] == 0
            assert (await store.serials())[0] == 3
            assert [task.job for task in await store.tasks(Page())] == [1]

        self.run(tmp_path, scene)

    def test_a_cancelled_job(self, tmp_path: Path) -> None:
        async def scene(store: Store, epoch: int) -> None:
            cancelling = JobCancelling(1, AT + 1, "no longer needed")
            await store.commit(epoch, Batch([*submitted(1), cancelling]))
            row = await store.job(1)
            assert row is not None
            assert (row.state, row.reason) == (JobState.CANCELLING, "no longer needed")
            assert await loaded(store) == [*submitted(1), cancelling]
            assert len(await store.jobs(Page(), state=JobState.RUNNING)) == 1
            spans = SpansEnded(1, ((0, 0, 1),), TaskState.CANCELLED, AT + 2, 0, "no longer needed")
            end = JobEnded(1, JobState.CANCELLED, AT + 3, 130, tally(cancelled=1), "cancelled")
            await store.commit(epoch, Batch([spans, end]))
            row = await store.job(1)
            assert row is not None
            assert (row.state, row.ended_at, row.code, row.counts, row.reason) == (
                JobState.CANCELLED,
                AT + 3,
                130,
                tally(cancelled=1),
                "cancelled",
            )
            assert await loaded(store) == []
            assert split_spans(await store.history(1)) == [*submitted(1), cancelling, spans]

        self.run(tmp_path, scene)

    def test_a_job_that_is_run_again(self, tmp_path: Path) -> None:
        async def scene(store: Store, epoch: int) -> None:
            first: list[Record] = [assigned(1, 1), ended(1, 1, 0, 0, TaskState.FAILED)]
            fail = JobEnded(1, JobState.FAILED, AT + 1, 3, tally(failed=1), "exit 3")
            await store.commit(epoch, Batch([*submitted(1), *first, JobCancelling(1, AT, "c"), fail]))
            history = await store.history(1)
            assert history == [*submitted(1), JobCancelling(1, AT, "c"), *first]
            reset = SpansReset(1, ((0, 0, 1),), AT + 2, 1)
            await store.commit(epoch, Batch([JobRevived(1, AT + 2), reset]))
            row = await store.job(1)
            assert row is not None
            assert (row.state, row.ended_at, row.code, row.counts, row.reason) == (JobState.RUNNING, 0, 0, (), "")
            assert await loaded(store) == [*submitted(1), JobRevived(1, AT + 2), *first, reset]
            second: list[Record] = [assigned(2, 1, 0, 0, 2, AT + 3), ended(2, 1, 0, 0, TaskState.SUCCEEDED, AT + 4)]
            again: list[Record] = [
                *second,
                job_ended(1, AT + 4),
                JobRevived(1, AT + 5),
                SpansReset(1, ((0, 0, 1),), AT + 5, 2),
                JobCancelling(1, AT + 6, "stop"),
            ]
            await store.commit(epoch, Batch(again))
            row = await store.job(1)
            assert row is not None
            assert (row.state, row.reason) == (JobState.CANCELLING, "stop")
            assert (await loaded(store))[:4] == [*submitted(1), JobRevived(1, AT + 5), JobCancelling(1, AT + 6, "stop")]
            await store.commit(epoch, Batch([JobRevived(1, AT + 7), job_ended(1, AT + 8)]))
            row = await store.job(1)
            assert row is not None
            assert (row.state, row.ended_at) == (JobState.SUCCEEDED, AT + 8)

        self.run(tmp_path, scene)
