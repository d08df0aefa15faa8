"""What is durable: an account of every element, from the records that are on disk alone, by rules written down anew here.

Whatever does not add up is told to `wrong`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from styx.core.records import (
    AttemptAssigned,
    AttemptCancelling,
    AttemptEnded,
    AttemptStarted,
    JobAccepted,
    JobCancelling,
    JobEnded,
    JobRevived,
    JobUnstagedRecord,
    NodeLinked,
    Record,
    Span,
    SpansEnded,
    SpansReset,
    TasksStaged,
)
from styx.core.spec import When
from styx.core.states import JobState, Outcome, TaskState
from styx.testing.simulator.books import Books, Element, Entry, Job, Task

__all__ = ["Ledger"]


class Ledger:
    """`linked` hears of a machine that is back, and of what runs there and is nobody's by now."""

    def __init__(
        self,
        books: Books,
        wrong: Callable[[str], None],
        note: Callable[..., None],
        linked: Callable[[str, list[int]], None],
    ) -> None:
        self._books = books
        self._wrong = wrong
        self._note = note
        self._on_linked = linked
        self._handlers: dict[type, Callable[[Any], None]] = {
            TasksStaged: self._staged,
            JobUnstagedRecord: self._unstaged,
            JobAccepted: self._accepted,
            JobCancelling: self._cancelling,
            JobRevived: self._revived,
            JobEnded: self._job_ended,
            AttemptAssigned: self._assigned,
            AttemptStarted: self._started,
            AttemptCancelling: self._attempt_cancelling,
            AttemptEnded: self._ended,
            SpansEnded: self._spans_ended,
            SpansReset: self._spans_reset,
            NodeLinked: self._linked,
        }

    def durable(self, records: Sequence[Record]) -> None:
        """These are on disk."""
        handlers = self._handlers
        for record in records:
            handler = handlers.get(type(record))
            if handler is not None:
                handler(record)

    # -- jobs -------------------------------------------------------------------------------------------------------

    def _staged(self, record: TasksStaged) -> None:
        job = self._books.jobs.setdefault(record.job, Job())
        job.tasks += [Task(spec, needs) for spec, needs in zip(record.tasks, record.needs, strict=True)]

    def _unstaged(self, record: JobUnstagedRecord) -> None:
        job = self._books.jobs.pop(record.job, None)
        if job is not None and job.accepted:
            self._wrong(f"job {record.job} was dropped after it had been accepted")

    def _accepted(self, record: JobAccepted) -> None:
        self._note("job %d (%s) is accepted", record.job, record.spec.name)
        job = self._books.jobs[record.job]
        if job.accepted:
            self._wrong(f"job {record.job} was accepted twice")
        if len(job.tasks) != record.tasks:
            self._wrong(f"job {record.job} was accepted with {record.tasks} tasks, {len(job.tasks)} were staged")
        job.accepted = True
        if record.key:
            if record.key in self._books.keys:
                self._wrong(
                    f"jobs {self._books.keys[record.key]} and {record.job} came with the same key {record.key!r}"
                )
            self._books.keys[record.key] = record.job

    def _cancelling(self, record: JobCancelling) -> None:
        self._note("job %d is being cancelled: %s", record.job, record.reason)
        self._books.jobs[record.job].cancelling = True

    def _revived(self, record: JobRevived) -> None:
        job = self._books.jobs[record.job]
        if job.state is None:
            self._wrong(f"job {record.job} was revived, but it had not ended")
        job.state, job.cancelling = None, False

    def _job_ended(self, record: JobEnded) -> None:
        self._note("job %d has ended: %s", record.job, record.state)
        job = self._books.jobs[record.job]
        if job.state is not None:
            self._wrong(f"job {record.job} ended twice")
        job.state = record.state
        for task in job.tasks:
            if task.open:
                self._wrong(f"job {record.job} has ended, and elements of {task.spec.name} have not")
        if job.cancelling and record.state != JobState.CANCELLED:
            self._wrong(f"job {record.job} was cancelled and ended {record.state}")
        counts = [0] * len(TaskState)
        for task in job.tasks:
            for state in task.ended.values():
                counts[state] += 1
        if tuple(counts) != record.counts:
            self._wrong(f"job {record.job} ended with counts {record.counts}, its elements say {counts}")

    # -- elements ---------------------------------------------------------------------------------------------------

    def _assigned(self, record: AttemptAssigned) -> None:
        job = self._books.jobs[record.job]
        task = job.tasks[record.task]
        element = record.job, record.task, record.index
        name = f"attempt {record.attempt} of {element}"
        if not job.accepted or job.state is not None:
            self._wrong(f"{name} was given out, its job is not live")
        if job.cancelling:
            self._wrong(f"{name} was given out after its job was cancelled")
        if record.attempt in self._books.attempts:
            self._wrong(f"{name}: the number was given out before")
        if element in self._books.live:
            self._wrong(f"{name} was given out while attempt {self._books.live[element]} is under way")
        if record.index in task.ended:
            self._wrong(f"{name} was given out, but the element is {task.ended[record.index].name}")
        for need in task.needs:
            other = job.tasks[need]
            if other.open or (task.spec.when == When.SUCCESS and not other.satisfies):
                self._wrong(f"{name} was given out before {other.spec.name} had ended as it must")
        if record.number != task.numbers.get(record.index, 0) + 1:
            self._wrong(f"{name} has number {record.number} after {task.numbers.get(record.index, 0)}")
        task.numbers[record.index] = record.number
        self._books.attempts[record.attempt] = Entry(record, task.spec)
        self._books.live[element] = record.attempt

    def _started(self, record: AttemptStarted) -> None:
        entry = self._books.attempts[record.attempt]
        if entry.ended is not None:
            self._wrong(f"attempt {record.attempt} is said to have started after its end")
        if record.attempt not in self._books.programs:
            self._wrong(f"attempt {record.attempt} is said to have started, but nothing of it ever ran")

    def _attempt_cancelling(self, record: AttemptCancelling) -> None:
        self._books.attempts[record.attempt].cancelling = True

    def _ended(self, record: AttemptEnded) -> None:
        entry = self._books.attempts.get(record.attempt)
        name = f"attempt {record.attempt} of {record.job, record.task, record.index}"
        if entry is None:
            self._wrong(f"{name} ended and was never given out")
            return
        self._note("%s has ended: %s %d, it is %s", name, record.outcome.name, record.code, record.state.name)
        if entry.ended is not None:
            self._wrong(f"{name} has two ends: {entry.ended} and {record}")
        entry.ended = record
        self._books.live.pop(entry.element, None)
        task = self._books.jobs[record.job].tasks[record.task]
        if entry.cancelling and record.state != TaskState.CANCELLED:
            self._wrong(f"{name} was cancelled and became {record.state.name}")
        if record.outcome != Outcome.LOST:
            self._compare(record, name)
        if record.result:
            task.results[record.index] = record.result
        elif record.index in task.results:
            del task.results[record.index]
        self._count(record, task, name)
        if record.state.ended:
            self._close(task, record.index, record.state, name)

    def _compare(self, record: AttemptEnded, name: str) -> None:
        """An end that was reported is one that happened."""
        program = self._books.programs.get(record.attempt)
        if record.attempt in self._books.running:
            self._wrong(
                f"{name} is {record.outcome.name} in the books and runs on {self._books.running[record.attempt]}"
            )
        elif record.outcome in {Outcome.EXITED, Outcome.TIMED_OUT}:
            if program is None:
                self._wrong(f"{name} is {record.outcome.name}, but nothing of it ever ran")
            elif (program.outcome, program.code, program.written) != (record.outcome, record.code, record.stdout):
                self._wrong(
                    f"{name} is {record.outcome.name} {record.code} with {record.stdout} bytes in the books, it was "
                    f"{program.outcome!r} {program.code} with {program.written}"
                )
        elif record.outcome == Outcome.REJECTED and program is not None:
            self._wrong(f"{name} is REJECTED, but it ran")

    def _count(self, record: AttemptEnded, task: Task, name: str) -> None:
        spec, index = task.spec, record.index
        if record.state == TaskState.SUCCEEDED and (record.outcome, record.code) != (Outcome.EXITED, 0):
            self._wrong(f"{name} succeeded as {record.outcome.name} {record.code}")
        if record.spent:
            task.spent[index] = task.spent.get(index, 0) + 1
            if task.spent[index] > spec.retries:
                self._wrong(f"{name} used retry {task.spent[index]} of {spec.retries}")
        if record.outcome == Outcome.LOST:
            if record.spent:
                self._wrong(f"{name} was lost and used up a retry")
            task.lost[index] = task.lost.get(index, 0) + 1
            if not record.state.ended and task.lost[index] > spec.max_lost:
                self._wrong(f"{name} was lost {task.lost[index]} times and goes on, {spec.max_lost} are forgiven")
        if record.state == TaskState.FAILED:
            failed_for_good = record.outcome in {Outcome.EXITED, Outcome.TIMED_OUT}
            if failed_for_good and task.spent.get(index, 0) < spec.retries:
                self._wrong(f"{name} failed with retries left")

    def _close(self, task: Task, index: int, state: TaskState, name: str) -> None:
        if index in task.ended:
            self._wrong(f"{name} became {state.name} after it was {task.ended[index].name}")
        task.ended[index] = state

    def _elements(self, job: int, spans: tuple[Span, ...]) -> list[Element]:
        return [(job, task, index) for task, first, count in spans for index in range(first, first + count)]

    def _spans_ended(self, record: SpansEnded) -> None:
        job = self._books.jobs[record.job]
        for element in self._elements(record.job, record.spans):
            task = job.tasks[element[1]]
            if element in self._books.live:
                self._wrong(
                    f"{element} became {record.state.name} while attempt {self._books.live[element]} is under way"
                )
            if record.state == TaskState.SKIPPED and all(job.tasks[need].satisfies for need in task.needs):
                self._wrong(f"{element} was skipped although all it needs succeeded")
            self._close(task, element[2], record.state, str(element))

    def _spans_reset(self, record: SpansReset) -> None:
        for _, ordinal, index in self._elements(record.job, record.spans):
            task = self._books.jobs[record.job].tasks[ordinal]
            if task.ended.pop(index, None) is None:
                self._wrong(f"{record.job, ordinal, index} was reset and had not ended")
            task.spent.pop(index, None)
            task.lost.pop(index, None)

    def _linked(self, record: NodeLinked) -> None:
        name = self._books.machines[record.node] = record.name
        stale = [attempt for attempt, where in self._books.running.items() if where == name and self._over(attempt)]
        if stale:
            self._on_linked(name, stale)

    def _over(self, attempt: int) -> bool:
        entry = self._books.attempts.get(attempt)
        return entry is None or entry.ended is not None
