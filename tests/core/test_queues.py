"""Ready queues: order, laziness, and what they cost."""

from __future__ import annotations

import sys
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from styx.core.queues import ReadyQueues, Shape
from styx.core.resources import Resources
from styx.core.spec import JobSpec, TaskSpec
from styx.core.states import TaskState
from styx.core.world import Job, Task

READY, ASSIGNED, PENDING, SUCCEEDED = TaskState.READY, TaskState.ASSIGNED, TaskState.PENDING, TaskState.SUCCEEDED


def make_job(serial: int, *sizes: int) -> Job:
    job = Job(serial)
    job.spec = JobSpec("j", ())
    job.tasks = [
        Task(job, ordinal, TaskSpec(f"t{ordinal}", ("x",), array=size), ()) for ordinal, size in enumerate(sizes)
    ]
    return job


def push(queues: ReadyQueues, task: Task, shape: Shape) -> None:
    task.shape = shape
    for index, state in enumerate(task.states):
        if state == PENDING:
            task.states[index] = READY
    queues.push_task(task, 0)


def take(queues: ReadyQueues, shape: Shape) -> tuple[int, int, int] | None:
    """What placement does to the head."""
    head = queues.head(shape)
    if head is None:
        return None
    task, index = head
    task.states[index] = ASSIGNED
    task.job.usage += shape.weight
    queues.take(shape, task, index)
    queues.usage_shrank(task.job)
    return task.job.serial, task.ordinal, index


def test_shapes_are_interned() -> None:
    queues = ReadyQueues()
    one = queues.shape(1, Resources(1_000), ())
    assert queues.shape(1, Resources(1_000), ()) is one
    assert queues.shape(2, Resources(1_000), ()) is not one
    assert queues.shape(1, Resources(1_000), (("zone", "a"),)) is not one
    assert [shape.key for shape in queues.shapes] == [0, 1, 2]
    assert queues.shapes[one.key] is one


def test_a_job_is_served_in_order_and_what_came_back_first() -> None:
    queues = ReadyQueues()
    shape = queues.shape(1, Resources(1_000), ())
    job = make_job(1, 2, 2)
    push(queues, job.tasks[1], shape)
    push(queues, job.tasks[0], shape)
    assert take(queues, shape) == (1, 0, 0)
    assert take(queues, shape) == (1, 0, 1)
    assert take(queues, shape) == (1, 1, 0)
    job.tasks[0].states[1] = READY
    queues.push(job.tasks[0], 1, 0)
    assert take(queues, shape) == (1, 0, 1)
    assert take(queues, shape) == (1, 1, 1)
    assert take(queues, shape) is None
    assert not queues.waiting(shape)


def test_jobs_share_by_what_they_hold() -> None:
    queues = ReadyQueues()
    shape = queues.shape(1, Resources(1_000), ())
    first, second = make_job(1, 10), make_job(2, 10)
    push(queues, first.tasks[0], shape)
    push(queues, second.tasks[0], shape)
    assert [take(queues, shape)[0] for _ in range(6)] == [1, 2, 1, 2, 1, 2]  # type: ignore[index]
    second.usage -= 2_000  # two of its attempts ended
    queues.usage_shrank(second)
    assert [take(queues, shape)[0] for _ in range(5)] == [2, 2, 1, 2, 1]  # type: ignore[index]


def test_elements_that_are_ready_no_more_are_skipped() -> None:
    queues = ReadyQueues()
    shape = queues.shape(1, Resources(1_000), ())
    job = make_job(1, 5, 3)
    push(queues, job.tasks[0], shape)
    push(queues, job.tasks[1], shape)
    for index in (0, 1, 3):
        job.tasks[0].states[index] = TaskState.CANCELLED
    assert take(queues, shape) == (1, 0, 2)
    job.tasks[0].states[4] = TaskState.CANCELLED
    job.tasks[0].open = 0
    assert take(queues, shape) == (1, 1, 0)


def test_a_forgotten_job_leaves_no_trace() -> None:
    queues = ReadyQueues()
    shape, other = queues.shape(1, Resources(1_000), ()), queues.shape(1, Resources(2_000), ())
    job, stays = make_job(1, 5, 5), make_job(2, 1)
    push(queues, job.tasks[0], shape)
    push(queues, job.tasks[1], other)
    push(queues, stays.tasks[0], shape)
    before = sys.getrefcount(job)
    queues.forget(job)
    assert sys.getrefcount(job) < before
    assert queues.head(other) is None
    assert take(queues, shape) == (2, 0, 0)


def test_shapes_that_nobody_uses_are_used_again() -> None:
    queues = ReadyQueues()
    for serial in range(1, 500):
        job = make_job(serial, 1)
        shape = queues.shape(1, Resources(serial), ())
        push(queues, job.tasks[0], shape)
        assert take(queues, shape) == (serial, 0, 0)
        queues.forget(job)
    assert len(queues.shapes) == 1
    late = make_job(1_000, 1)
    late.tasks[0].shape = queues.shapes[0]  # retired; the task waits all the same, under its successor
    push(queues, late.tasks[0], queues.shapes[0])
    successor = queues.shape(1, Resources(499), ())
    assert take(queues, successor) == (1_000, 0, 0)


def test_a_million_elements_are_one_entry() -> None:
    queues = ReadyQueues()
    shape = queues.shape(1, Resources(1_000), ())
    job = make_job(1, 1_000_000)
    task = job.tasks[0]
    task.states = bytearray([READY]) * task.size
    task.shape = shape
    queues.push_task(task, 0)
    (line,) = shape.lines.values()
    assert len(line.ranges) == len(shape.heap) == 1
    task.states[:999_999] = bytes([SUCCEEDED]) * 999_999
    assert take(queues, shape) == (1, 0, 999_999)


def test_usage_that_goes_up_and_down_does_not_pile_up_keys() -> None:
    queues = ReadyQueues()
    shape = queues.shape(1, Resources(1_000), ())
    for serial in range(1, 11):
        push(queues, make_job(serial, 5_000).tasks[0], shape)
    for _ in range(20_000):
        head = queues.head(shape)
        assert head is not None
        job = head[0].job
        job.usage += 1_000
        queues.usage_shrank(job)
        queues.head(shape)
        job.usage -= 1_000
        queues.usage_shrank(job)
    assert len(shape.heap) < 200


Op = tuple[int, int, int]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3), st.integers(0, 7)), max_size=80))
def test_heads_are_those_of_the_plain_rule(ops: list[Op]) -> None:
    """Against a list of all that is READY, sorted anew each time."""
    queues = ReadyQueues()
    shapes = [queues.shape(1, Resources(1_000 * (n + 1)), ()) for n in range(2)]
    jobs = [make_job(serial, 3, 1, 4) for serial in range(1, 5)]
    back: dict[tuple[int, int, int], None] = {}  # what came back, in the front part
    forgotten: set[int] = set()

    def expected(shape: Shape) -> tuple[int, int, int] | None:
        ready = [
            (job.usage, job.serial, (job.serial, task.ordinal, index) not in back, task.ordinal, index)
            for job in jobs
            for task in job.tasks
            if task.shape is shape and job.serial not in forgotten
            for index, state in enumerate(task.states)
            if state == READY
        ]
        if not ready:
            return None
        _, serial, _, ordinal, index = min(ready)
        return serial, ordinal, index

    def ready(job: Job, pick: int) -> None:
        task = job.tasks[pick % 3]
        if all(state == PENDING for state in task.states):
            push(queues, task, shapes[(job.serial + pick) % 2])

    def come_back(job: Job, pick: int) -> None:
        for task in job.tasks:
            for index, state in enumerate(task.states):
                if state == ASSIGNED and (index + pick) % 2:
                    assert task.shape is not None
                    task.states[index] = READY
                    job.usage -= task.shape.weight
                    queues.push(task, index, 0)
                    queues.usage_shrank(job)
                    back[job.serial, task.ordinal, index] = None
                    return

    def end(job: Job, pick: int) -> None:
        for task in job.tasks:
            for index, state in enumerate(task.states):
                if state == ASSIGNED:
                    assert task.shape is not None
                    task.states[index] = SUCCEEDED
                    task.open -= 1
                    job.usage -= task.shape.weight
                    queues.usage_shrank(job)
                    return

    def cancel(job: Job, pick: int) -> None:
        task = job.tasks[pick % 3]
        for index, state in enumerate(task.states):
            if state == READY and (index + pick) % 3:
                task.states[index] = TaskState.CANCELLED
                task.open -= 1

    def forget(job: Job, pick: int) -> None:
        if pick == 7:
            queues.forget(job)
            forgotten.add(job.serial)

    def place(job: Job, pick: int) -> None:
        taken = take(queues, shapes[pick % 2])
        if taken is not None:
            back.pop(taken, None)

    actions: list[Callable[[Job, int], None]] = [ready, place, come_back, end, cancel, forget]
    for action, who, pick in ops:
        if jobs[who].serial not in forgotten:
            actions[action](jobs[who], pick)
        for shape in shapes:
            if shape.retired:
                continue
            head = queues.head(shape)
            found = None if head is None else (head[0].job.serial, head[0].ordinal, head[1])
            assert found == expected(shape)
