"""What every Store promises, as tests: derive from StoreContract, name a store, and pytest runs them all against it.

    class TestMyStore(StoreContract):
        def make(self, folder: Path) -> Store:
            return MyStore(folder)

Each test gets an empty folder. A restart is `close` and `open` of the same store object.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

from styx.core.ids import JobId, job_id
from styx.core.records import (
    AttemptAdmitted,
    AttemptAssigned,
    AttemptCancelling,
    AttemptEnded,
    AttemptStarted,
    ElementsDue,
    JobAccepted,
    JobCancelling,
    JobEnded,
    JobRevived,
    JobUnstagedRecord,
    NodeLinked,
    NodeLost,
    NodeReserved,
    NodeShifted,
    NodeSuspected,
    Record,
    SpansEnded,
    SpansReset,
    TasksReady,
    TasksStaged,
)
from styx.core.resources import Resources
from styx.core.spec import Backoff, JobSpec, Priority, TaskSpec
from styx.core.states import JobState, NodeState, Outcome, TaskState
from styx.errors import StaleEpoch, StoreError
from styx.store.base import Batch, EventRow, OutputRow, Page, ReportMark, SecretsRow, Store, TokenRow

__all__ = ["StoreContract", "ended", "loaded", "refused", "split_spans", "submitted", "tally"]

AT = 1_700_000_000_000
SPEC = TaskSpec("a", ("true",))


def identity(job: int) -> JobId:
    return job_id(AT + job, job * 7_919)


def submitted(
    job: int, *specs: TaskSpec, needs: tuple[tuple[int, ...], ...] = (), key: str = "", name: str = "job"
) -> list[Record]:
    """A whole submission: one TasksStaged and its JobAccepted."""
    specs = specs or (SPEC,)
    needs = needs or ((),) * len(specs)
    elements = sum(spec.size for spec in specs)
    accepted = JobAccepted(
        job, identity(job), JobSpec(name, ()), len(specs), elements, AT + job, key, b"digest" if key else b""
    )
    return [TasksStaged(job, 0, specs, needs), accepted]


def assigned(attempt: int, job: int, task: int = 0, index: int = 0, number: int = 1, at: int = AT) -> Record:
    return AttemptAssigned(attempt, job, task, index, number, 1, at)


def ended(
    attempt: int, job: int, task: int = 0, index: int = 0, state: TaskState = TaskState.SUCCEEDED, at: int = AT
) -> AttemptEnded:
    return AttemptEnded(attempt, job, task, index, Outcome.EXITED, 0, state, at, at - 5)


def tally(**states: int) -> tuple[int, ...]:
    return tuple(states.get(state.name.lower(), 0) for state in TaskState)


def job_ended(job: int, at: int, state: JobState = JobState.SUCCEEDED, elements: int = 1) -> JobEnded:
    return JobEnded(job, state, at, 0, tally(succeeded=elements), "")


def split_spans(records: Iterable[Record]) -> list[Record]:
    """The same facts with one span a record: a store may divide them otherwise than they were told."""
    flat: list[Record] = []
    for record in records:
        if isinstance(record, SpansEnded):
            flat += [
                SpansEnded(record.job, (span,), record.state, record.at, record.after, record.reason)
                for span in record.spans
            ]
        elif isinstance(record, SpansReset):
            flat += [SpansReset(record.job, (span,), record.at, record.after) for span in record.spans]
        else:
            flat.append(record)
    return flat


async def loaded(store: Store) -> list[Record]:
    return split_spans([record async for chunk in store.load() for record in chunk])


async def refused(awaitable: Awaitable[object], kind: type[StoreError]) -> StoreError:
    """The error that this raises, which must be of that kind."""
    try:
        await awaitable
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__} was raised")


class StoreContract:
    def make(self, folder: Path) -> Store:
        raise NotImplementedError

    def run(self, folder: Path, scene: Callable[[Store, int], Awaitable[None]]) -> None:
        """Play a scene on an open store and its epoch."""

        async def play() -> None:
            store = self.make(folder)
            opened = await store.open()
            try:
                await scene(store, opened.epoch)
            finally:
                await store.close()

        asyncio.run(play())

    # --- opening and committing ----------------------------------------------------------------------------------

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

    # --- jobs ----------------------------------------------------------------------------------------------------

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

    # --- attempts and elements -----------------------------------------------------------------------------------

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

    # --- nodes, events, outputs, marks, tokens -------------------------------------------------------------------

    def test_nodes(self, tmp_path: Path) -> None:
        async def scene(store: Store, epoch: int) -> None:
            room = Resources(4_000, 8 << 30, 0, (("T4", 1),))

            def link(node: int, at: int, boot: str = "b") -> NodeLinked:
                return NodeLinked(node, f"agent-{node}", "näme", "host", boot, "0.1", room, (("k", "v"),), at)

            told: list[Record] = [
                link(1, AT),
                link(2, AT),
                NodeSuspected(2, AT + 1),
                NodeLost(2, AT + 2),
                link(3, AT),
                NodeShifted(3, NodeState.DRAINING, AT + 3),
                link(4, AT),
                NodeSuspected(4, AT + 4),
            ]
            await store.commit(epoch, Batch(told))
            assert await loaded(store) == told
            rows = await store.nodes()
            assert [(row.node, row.state, row.seen_at) for row in rows] == [
                (1, "UP", AT),
                (2, "LOST", AT + 1),
                (3, "DRAINING", AT + 3),
                (4, "UP", AT + 4),
            ]
            assert (rows[0].agent, rows[0].name, rows[0].host, rows[0].version) == ("agent-1", "näme", "host", "0.1")
            await store.commit(epoch, Batch([link(2, AT + 5, "c"), NodeShifted(3, NodeState.GONE, AT + 6)]))
            rows = await store.nodes()
            assert [(row.node, row.state) for row in rows] == [(1, "UP"), (2, "UP"), (3, "GONE"), (4, "UP")]
            assert (await loaded(store))[1] == link(2, AT + 5, "c")
            assert await store.serials() == (0, 0, 4)

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

    def test_outputs(self, tmp_path: Path) -> None:
        async def scene(store: Store, epoch: int) -> None:
            pieces = tuple(OutputRow(1, 1, 10 * k, 10, 1 + k // 3, 100 * k) for k in range(5))
            other = OutputRow(1, 2, 0, 7, 2, 900)
            await store.commit(epoch, Batch([], outputs=(*pieces, other, OutputRow(2, 1, 0, 1, 1, 0))))
            assert await store.outputs(1, 1, 0) == list(pieces)
            assert await store.outputs(1, 1, 0, 2) == list(pieces[:2])
            assert await store.outputs(1, 1, 9) == list(pieces)
            assert await store.outputs(1, 1, 10) == list(pieces[1:])
            assert await store.outputs(1, 1, 25) == list(pieces[2:])
            assert await store.outputs(1, 1, 50) == []
            assert await store.outputs(1, 2, 0) == [other]
            assert await store.last_segment() == 2
            again = OutputRow(1, 2, 0, 9, 5, 0)
            await store.commit(epoch, Batch([], outputs=(again,)))
            assert await store.outputs(1, 2, 0) == [again]
            assert await store.last_segment() == 5

        self.run(tmp_path, scene)

    def test_marks_keep_the_latest_session_of_an_agent(self, tmp_path: Path) -> None:
        async def scene(store: Store, epoch: int) -> None:
            await store.commit(epoch, Batch([], marks=(ReportMark("a", "s", 3), ReportMark("b", "s", 1))))
            await store.commit(epoch, Batch([], marks=(ReportMark("a", "s", 4), ReportMark("b", "t", 1))))
            await store.commit(epoch, Batch([], marks=(ReportMark("a", "s", 5), ReportMark("a", "s", 6))))
            marks = sorted(await store.marks(), key=lambda mark: mark.agent)
            assert marks == [ReportMark("a", "s", 6), ReportMark("b", "t", 1)]

        self.run(tmp_path, scene)

    def test_tokens(self, tmp_path: Path) -> None:
        async def scene(store: Store, epoch: int) -> None:
            first = await store.add_token(TokenRow(0, "me", "admin", b"\x00" * 32, AT, 0))
            second = await store.add_token(TokenRow(0, "you", "viewer", b"\x01" * 32, AT, AT + 9))
            assert 0 < first.token < second.token
            assert await store.tokens() == [first, second]
            assert await store.revoke_token(first.token, AT + 1)
            assert not await store.revoke_token(first.token, AT + 2)
            assert not await store.revoke_token(99, AT + 2)
            assert [row.revoked_at for row in await store.tokens()] == [AT + 1, 0]
            assert (first.name, first.role, first.digest) == ("me", "admin", b"\x00" * 32)

        self.run(tmp_path, scene)

    def test_a_token_is_bound_to_the_first_agent(self, tmp_path: Path) -> None:
        async def scene(store: Store, epoch: int) -> None:
            join = await store.add_token(TokenRow(0, "j", "join", b"\x00" * 32, AT, 0, pool="p", single=True))
            assert await store.tokens() == [join]
            assert await store.bind_token(join.token, "a") == "a"
            assert await store.bind_token(join.token, "b") == "a"
            assert await store.bind_token(99, "b") == ""
            assert [(row.agent, row.pool, row.single) for row in await store.tokens()] == [("a", "p", True)]
            assert await store.enrolled("a") == b""
            assert await store.enrol("a", b"key") == b"key"
            assert await store.enrolled("a") == b"key"
            assert await store.enrol("a", b"other") == b"key"
            await store.forget_enrolment("a")
            assert await store.enrol("a", b"other") == b"other"

        self.run(tmp_path, scene)

    def test_ended_credentials_are_dropped_and_revoked_ones_stay(self, tmp_path: Path) -> None:
        async def scene(store: Store, epoch: int) -> None:
            rows = [
                TokenRow(0, "plain", "agent", b"\x00" * 32, AT, AT + 1),
                TokenRow(0, "ended", "agent", b"\x01" * 32, AT, AT + 1, parent=1),
                TokenRow(0, "good", "agent", b"\x02" * 32, AT, AT + 9, parent=1),
                TokenRow(0, "revoked", "agent", b"\x03" * 32, AT, AT + 1, AT, parent=1),
            ]
            for row in rows:
                await store.add_token(row)
            await store.drop_credentials(AT + 5)
            assert [row.name for row in await store.tokens()] == ["plain", "good", "revoked"]

        self.run(tmp_path, scene)

    # --- secrets -------------------------------------------------------------------------------------------------

    def test_secrets_come_with_the_acceptance_and_go_with_the_job(self, tmp_path: Path) -> None:
        async def scene(store: Store, epoch: int) -> None:
            assert await store.secrets(1) == b""
            sealed = (SecretsRow(1, b"one"), SecretsRow(2, b"two"))
            await store.commit(epoch, Batch([*submitted(1), *submitted(2)], secrets=sealed))
            await store.commit(epoch, Batch([job_ended(1, AT + 1)]))
            assert (await store.secrets(1), await store.secrets(2)) == (b"one", b"two")
            assert (await store.prune(ended_before=AT + 2))[0] == 1
            assert (await store.secrets(1), await store.secrets(2)) == (b"", b"two")

        self.run(tmp_path, scene)

    # --- retention -----------------------------------------------------------------------------------------------

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
