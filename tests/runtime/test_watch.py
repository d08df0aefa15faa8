from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import get_args

import msgspec
import pytest

from styx.core import ids
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
from styx.core.replay import replay
from styx.core.resources import Resources
from styx.core.spec import JobSpec, TaskSpec
from styx.core.states import JobState, NodeState, Outcome, TaskState
from styx.core.world import Job, Task, World
from styx.errors import TooSlow
from styx.protocol.http import Event
from styx.runtime.event_rows import TYPES
from styx.runtime.event_writer import RowWriter
from styx.runtime.watch import Subscription, Watch
from styx.store.base import Batch
from styx.store.memory import MemoryStore

AT = 1_700_000_000_000
COUNTS = tuple(1 if state == TaskState.SUCCEEDED else 0 for state in TaskState)


def job_id(job: int) -> ids.JobId:
    return ids.job_id(AT, job)


class Bench:
    """A Watch with a store behind it, and a turn as the loop makes one."""

    def __init__(self, store: MemoryStore | None = None, last_event: int = 0, **settings: int) -> None:
        self.store = store or MemoryStore()
        self.world = World()
        self.watch = Watch(self.world, self.store, last_event=last_event, **settings)
        self.epoch = 0

    async def open(self) -> Bench:
        self.epoch = (await self.store.open()).epoch
        return self

    async def turn(self, *records: Record, at: int = AT) -> None:
        payload, first, last = self.watch.encode(records, at)
        await self.store.commit(self.epoch, Batch(list(records), payload, first, last, at))
        self.watch.publish(payload, first, last, at, records)

    async def accept(self, job: int, *tasks: TaskSpec, node: bool = False) -> None:
        specs = tasks or (TaskSpec("a", ("true",)),)
        if node:
            await self.turn(NodeLinked(1, "agent", "n1", "h", "b", "1", Resources(8_000), (), AT))
        size = sum(spec.size for spec in specs)
        await self.turn(
            TasksStaged(job, 0, specs, ((),) * len(specs)),
            JobAccepted(job, job_id(job), JobSpec(f"job{job}", ()), len(specs), size, AT),
        )

    async def end(self, job: int) -> None:
        await self.turn(JobEnded(job, JobState.SUCCEEDED, AT + 5, 0, COUNTS))

    async def attempt(self, serial: int, job: int, index: int = 0) -> None:
        await self.turn(
            AttemptAssigned(serial, job, 0, index, 1, 1, AT),
            AttemptStarted(serial, AT + 1),
            AttemptEnded(serial, job, 0, index, Outcome.EXITED, 0, TaskState.SUCCEEDED, AT + 2, AT + 1),
        )


def run(body: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(60):
            await body()

    asyncio.run(limited())


async def all_there_is(watch: Watch, job: int = 0) -> list[Event]:
    return [event async for event in watch.subscribe(job, after=0, live=False)]


def test_every_record_has_a_handler_and_every_type_a_use() -> None:
    writer = RowWriter(World())
    assert set(writer._handlers) == set(get_args(Record))
    assert len(set(TYPES)) == len(TYPES)


def test_the_whole_life_of_a_job() -> None:
    async def body() -> None:
        bench = await Bench().open()
        live = bench.watch.subscribe()
        one, many = TaskSpec("one", ("true",)), TaskSpec("many", ("true",), array=5)
        await bench.accept(1, one, many, node=True)
        await bench.turn(TasksReady(1, (0, 1), AT + 1), NodeReserved(1, 3))
        await bench.turn(AttemptAssigned(7, 1, 1, 2, 3, 1, AT + 2), AttemptAdmitted(7), at=AT + 2)
        await bench.turn(
            AttemptStarted(7, AT + 3),
            AttemptCancelling(7, AT + 4, "stop it"),
            AttemptEnded(7, 1, 1, 2, Outcome.KILLED, 143, TaskState.CANCELLED, AT + 5, AT + 3, reason="stopped"),
            at=AT + 5,
        )
        await bench.turn(
            AttemptAssigned(8, 1, 0, 0, 1, 1, AT),
            AttemptEnded(8, 1, 0, 0, Outcome.LOST, 0, TaskState.BACKOFF, AT, due=AT + 9, reason="node lost"),
            ElementsDue(((1, 0, 0),)),
            SpansEnded(1, ((1, 3, 2),), TaskState.SKIPPED, AT, 8, "a task that it needs did not succeed"),
            SpansReset(1, ((1, 0, 1),), AT, 8),
            JobCancelling(1, AT, "enough"),
        )
        await bench.turn(NodeSuspected(1, AT), NodeShifted(1, NodeState.DRAINING, AT), NodeLost(1, AT))
        await bench.turn(JobEnded(1, JobState.CANCELLED, AT, 130, (0,) * 8 + (6, 0), "enough"))
        again = bench.world.jobs[1] = Job(1)  # a retry has put it back into memory
        again.id = job_id(1)
        again.tasks = [Task(again, 0, one, ()), Task(again, 1, many, ())]
        await bench.turn(JobRevived(1, AT), JobUnstagedRecord(99))

        job = ids.text(job_id(1))
        first, second = (ids.text(ids.join(job_id(1), ordinal)) for ordinal in (0, 1))
        attempt = {"job_id": job, "task_id": second, "task": "many", "index": 2, "attempt": 3, "node": "n1"}
        other = {"job_id": job, "task_id": first, "task": "one", "attempt": 1, "node": "n1"}
        expected = [
            {"type": "node.linked", "status": "UP", "node": "n1"},
            {"type": "job.accepted", "status": "RUNNING", "job_id": job, "count": 6},
            {"type": "task.ready", "status": "READY", "job_id": job, "task_id": first, "task": "one", "count": 1},
            {"type": "task.ready", "status": "READY", "job_id": job, "task_id": second, "task": "many", "count": 5},
            {"type": "attempt.assigned", "status": "ASSIGNED", **attempt},
            {"type": "attempt.started", "status": "RUNNING", **attempt},
            {"type": "attempt.cancelling", "status": "CANCELLING", **attempt, "reason": "stop it"},
            {"type": "attempt.ended", "status": "CANCELLED", **attempt, "outcome": "KILLED", "exit_code": 143,
             "reason": "stopped"},
            {"type": "attempt.assigned", "status": "ASSIGNED", **other},
            {"type": "attempt.ended", "status": "BACKOFF", **other, "outcome": "LOST", "reason": "node lost"},
            {"type": "element.ready", "status": "READY", "job_id": job, "task_id": first, "task": "one"},
            {"type": "elements.ended", "status": "SKIPPED", "job_id": job, "task_id": second, "task": "many", "index": 3,
             "count": 2, "reason": "a task that it needs did not succeed"},
            {"type": "elements.reset", "status": "PENDING", "job_id": job, "task_id": second, "task": "many", "index": 0,
             "count": 1},
            {"type": "job.cancelling", "status": "CANCELLING", "job_id": job, "reason": "enough"},
            {"type": "node.suspected", "status": "SUSPECT", "node": "n1"},
            {"type": "node.shifted", "status": "DRAINING", "node": "n1"},
            {"type": "node.lost", "status": "LOST", "node": "n1"},
            {"type": "job.ended", "status": "CANCELLED", "job_id": job, "exit_code": 130, "count": 6, "reason": "enough"},
            {"type": "job.revived", "status": "RUNNING", "job_id": job},
        ]  # fmt: skip
        events = [await anext(live) for _ in expected]
        shown = [msgspec.to_builtins(event) for event in events]
        assert [event.id for event in events] == list(range(1, len(expected) + 1))
        assert {event.type for event in events} == {kind for kind in TYPES if not kind.startswith("instance.")}
        assert [{k: v for k, v in event.items() if k not in {"id", "at"}} for event in shown] == expected
        assert events[6].at == (AT + 4) / 1_000
        assert events[4].at == (AT + 2) / 1_000
        # and the same is on disk
        assert await all_there_is(bench.watch) == events

    run(body)


def test_an_attempt_that_came_and_went_in_one_turn_has_its_number_and_node() -> None:
    async def body() -> None:
        bench = await Bench().open()
        await bench.accept(1, node=True)
        async with bench.watch.subscribe() as events:
            await bench.attempt(5, 1)
            for name in ("attempt.assigned", "attempt.started", "attempt.ended"):
                event = await anext(events)
                assert (event.type, event.attempt, event.node, event.index) == (name, 1, "n1", None)

    run(body)


def test_a_job_that_came_and_went_in_one_turn_has_its_names() -> None:
    async def body() -> None:
        bench = await Bench().open()
        async with bench.watch.subscribe() as events:
            await bench.turn(
                TasksStaged(1, 0, (TaskSpec("a", ("true",)),), ((),)),
                JobAccepted(1, job_id(1), JobSpec("job", ()), 1, 1, AT),
                SpansEnded(1, ((0, 0, 1),), TaskState.CANCELLED, AT, 0),
                JobEnded(1, JobState.CANCELLED, AT, 130, COUNTS),
            )
            assert [(e.type, e.task, bool(e.job_id)) for e in await events.batch()] == [
                ("job.accepted", "", True),
                ("elements.ended", "a", True),
                ("job.ended", "", True),
            ]

    run(body)


def test_ids_are_consecutive_and_go_on_after_a_restart() -> None:
    async def body() -> None:
        bench = await Bench().open()
        await bench.accept(1, node=True)
        await bench.turn(AttemptAssigned(5, 1, 0, 0, 2, 1, AT), AttemptStarted(5, AT))
        again = Bench(bench.store, last_event=(await bench.store.open()).last_event)
        again.epoch = 2
        async for records in bench.store.load():
            replay(again.world, records)
        await again.watch.recover()
        await again.turn(AttemptEnded(5, 1, 0, 0, Outcome.EXITED, 3, TaskState.FAILED, AT, AT))
        await again.end(1)
        events = await all_there_is(again.watch)
        assert [event.id for event in events] == [1, 2, 3, 4, 5, 6]
        ended = events[4]
        assert (ended.type, ended.task, ended.attempt, ended.node, ended.exit_code) == (
            "attempt.ended",
            "a",
            2,
            "n1",
            3,
        )
        assert all(event.job_id for event in events[1:])

    run(body)


def test_turns_without_events_take_no_ids() -> None:
    async def body() -> None:
        bench = await Bench().open()
        assert bench.watch.encode([NodeReserved(1, 0)], AT) == (b"", 0, 0)
        bench.watch.publish(b"", 0, 0, AT, [])
        await bench.accept(1)
        assert bench.watch.published == 1

    run(body)


def test_a_reader_of_the_past_joins_the_present_without_a_gap_or_a_repetition() -> None:
    async def body() -> None:
        bench = await Bench().open()
        await bench.accept(1, TaskSpec("many", ("true",), array=1_000), node=True)
        for index in range(200):
            await bench.attempt(index + 1, 1, index)
        readers = [bench.watch.subscribe(after=after) for after in (0, 1, 100, 301, 599)]
        tasks = [asyncio.create_task(_until(reader, 1_202)) for reader in readers]
        for index in range(200, 400):  # goes on while they read
            await bench.attempt(index + 1, 1, index)
            await asyncio.sleep(0)
        for task, after in zip(tasks, (0, 1, 100, 301, 599), strict=True):
            assert await task == list(range(after + 1, 1_203))
        assert bench.watch.readers == len(readers)
        for reader in readers:
            reader.close()
        assert bench.watch.readers == 0

    run(body)


async def _until(reader: Subscription, last: int) -> list[int]:
    seen: list[int] = []
    while not seen or seen[-1] < last:
        seen.append((await anext(reader)).id)
    return seen


def test_from_now_on_means_from_the_call() -> None:
    async def body() -> None:
        bench = await Bench().open()
        await bench.accept(1)
        reader = bench.watch.subscribe()
        await bench.accept(2)
        assert (await anext(reader)).job_id == ids.text(job_id(2))

    run(body)


def test_a_reader_of_one_job_sees_only_that_and_comes_to_its_end() -> None:
    async def body() -> None:
        bench = await Bench().open()
        await bench.accept(1, node=True)
        live = asyncio.create_task(_types(bench.watch.subscribe(1)))
        await asyncio.sleep(0)
        await bench.accept(2)
        past = asyncio.create_task(_types(bench.watch.subscribe(2, after=0)))
        await bench.attempt(1, 1)
        await bench.attempt(2, 2)
        await bench.end(1)
        attempts = ["attempt.assigned", "attempt.started", "attempt.ended"]
        assert await live == [*attempts, "job.ended"]
        await asyncio.sleep(0)
        assert not past.done()
        await bench.end(2)
        assert await past == ["job.accepted", *attempts, "job.ended"]
        # and once more from disk alone, with the names from the tables
        assert await _types(bench.watch.subscribe(2, after=0)) == ["job.accepted", *attempts, "job.ended"]
        assert {event.task for event in await all_there_is(bench.watch, 2)} == {"", "a"}
        assert bench.watch.readers == 0

    run(body)


async def _types(reader: Subscription) -> list[str]:
    return [event.type async for event in reader]


def test_a_job_that_was_revived_goes_on_for_a_reader_of_the_past() -> None:
    async def body() -> None:
        bench = await Bench().open()
        await bench.accept(1)
        await bench.end(1)
        await bench.turn(JobRevived(1, AT))
        reader = asyncio.create_task(_types(bench.watch.subscribe(1, after=0)))
        await asyncio.sleep(0)
        await bench.end(1)
        assert await reader == ["job.accepted", "job.ended", "job.revived", "job.ended"]

    run(body)


def test_a_slow_reader_is_dropped_and_may_resume() -> None:
    async def body() -> None:
        bench = await Bench(backlog=10).open()
        await bench.accept(1, TaskSpec("many", ("true",), array=100), node=True)
        slow, quick = bench.watch.subscribe(), bench.watch.subscribe()
        await bench.attempt(1, 1, 0)
        assert (await anext(slow)).id == 3
        seen = [event.id for event in await quick.batch()]
        for index in range(1, 6):
            await bench.attempt(index + 1, 1, index)
            seen += [event.id for event in await quick.batch()]
        assert seen == list(range(3, 21))
        assert [(await anext(slow)).id, (await anext(slow)).id] == [4, 5]  # what it had taken already
        with pytest.raises(TooSlow) as caught:
            await anext(slow)
        assert caught.value.resume == 5
        assert bench.watch.readers == 1
        again = bench.watch.subscribe(after=caught.value.resume)
        assert await _until(again, 20) == list(range(6, 21))

    run(body)


def test_a_single_turn_may_be_larger_than_the_backlog() -> None:
    async def body() -> None:
        bench = await Bench(backlog=2).open()
        await bench.accept(1, node=True)
        reader = bench.watch.subscribe()
        await bench.attempt(1, 1)
        assert len(await reader.batch()) == 3

    run(body)


def test_who_waits_for_the_end_of_a_job_hears_of_it() -> None:
    async def body() -> None:
        bench = await Bench().open()
        await bench.accept(1)
        await bench.accept(2)
        waiters = [bench.watch.ended(1) for _ in range(3)]
        other = bench.watch.ended(2)
        waiters[0].cancel()
        await bench.end(1)
        assert (await waiters[1]).state == JobState.SUCCEEDED
        assert (await waiters[2]).job == 1
        assert not other.done()
        other.cancel()
        await asyncio.sleep(0)
        assert bench.watch._ends == {}

    run(body)


def test_a_job_that_is_live_again_in_the_same_turn_has_not_ended() -> None:
    async def body() -> None:
        bench = await Bench().open()
        await bench.accept(1)
        waiter = bench.watch.ended(1)
        await bench.turn(JobEnded(1, JobState.FAILED, AT, 1, COUNTS), JobRevived(1, AT))
        assert not waiter.done()
        await bench.end(1)
        assert (await waiter).state == JobState.SUCCEEDED

    run(body)


def test_trimmed_events_are_passed_over() -> None:
    async def body() -> None:
        bench = await Bench().open()
        await bench.accept(1, node=True)
        await bench.attempt(1, 1)
        del bench.store.tables.events[:2]
        assert [event.id for event in await all_there_is(bench.watch)] == [3, 4, 5]
        bench.store.tables.events.clear()
        assert await all_there_is(bench.watch) == []
        reader = bench.watch.subscribe(after=0)
        waiting = asyncio.create_task(reader.batch())
        await asyncio.sleep(0)
        await bench.end(1)
        assert [event.id for event in await waiting] == [6]

    run(body)


def test_encoding_is_small() -> None:
    async def body() -> None:
        bench = await Bench().open()
        await bench.accept(1, TaskSpec("many", ("true",), array=1_000), node=True)
        records: list[Record] = []
        for index in range(1_000):
            records.append(AttemptAssigned(index + 1, 1, 0, index, 1, 1, AT))
            records.append(AttemptStarted(index + 1, AT))
            records.append(AttemptEnded(index + 1, 1, 0, index, Outcome.EXITED, 0, TaskState.SUCCEEDED, AT))
        payload, first, last = bench.watch.encode(records, AT)
        assert last - first + 1 == 3_000
        assert len(payload) < 14 * 3_000
        bench.watch.publish(payload, first, last, AT, records)

    run(body)
