"""Talking to the core in tests: say what happened, read what it wants done, in virtual time.

    talk = Dialogue()
    node = talk.connect("a", cpus=2)
    job = talk.submit(job("j", task("x")))
    (attempt,) = talk.expect_start(node)
    talk.ended(attempt)
    talk.expect_job(job, "SUCCEEDED")
    talk.nothing_else()

Each step checks every invariant. What the core wanted done waits in a list until the test has read it, so
`nothing_else` means just that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

from styx.core.effects import (
    Accepted,
    Answer,
    Effect,
    ForgetAttempts,
    RecallAttempts,
    StartAttempts,
    Step,
    StopAttempts,
)
from styx.core.engine import Engine
from styx.core.events import (
    AgentConnected,
    AgentLost,
    AgentSuspected,
    AttemptEnding,
    AttemptsReported,
    CancelRequested,
    Continued,
    Event,
    Held,
    JobStaged,
    JobSubmitted,
    PlacementDue,
    TimerFired,
)
from styx.core.graph import check as check_graph
from styx.core.ids import job_id
from styx.core.invariants import check
from styx.core.records import JobEnded, Record
from styx.core.resources import Resources
from styx.core.settings import CoreSettings
from styx.core.spec import JobSpec, TaskSpec
from styx.core.states import Outcome, TaskState

__all__ = ["Dialogue", "job", "task"]

E = TypeVar("E")

START = 1_700_000_000_000  # any time will do; the core never asks for it


def task(name: str, *, cpus: float = 1, memory: int = 0, **options: Any) -> TaskSpec:
    """A task of the given name that asks for `cpus` CPUs; other options are TaskSpec's fields."""
    options.setdefault("command", ("true",))
    options.setdefault("resources", Resources(int(cpus * 1_000), memory))
    if "needs" in options:
        options["needs"] = tuple(options["needs"])
    return TaskSpec(name, **options)


def job(name: str, *tasks: TaskSpec, **options: Any) -> JobSpec:
    return JobSpec(name, tasks, **options)


class Dialogue:
    """One engine, a clock that the test moves, and all that the core said."""

    def __init__(self, *, settings: CoreSettings | None = None, engine: Engine | None = None) -> None:
        self.engine = engine or Engine(settings=settings)
        self.now = START
        self.records: list[Record] = []
        self.effects: list[Effect] = []
        self._entropy = 0

    @property
    def world(self) -> Any:
        return self.engine.world

    def step(self, event: Event) -> Answer:
        """One event through the core; invariants are checked, what it wants is kept."""
        step = self._keep(self.engine.step(event, self.now))
        check(self.engine.world)
        return step.answer

    def _keep(self, step: Step) -> Step:
        self.records += step.records
        self.effects += step.effects
        return step

    def settle(self) -> None:
        """Let the core go on until it asks for nothing more at this time."""
        for _ in range(100_000):
            if self.engine.placement_due:
                self.step(PlacementDue())
            elif self.engine.unfinished:
                self.step(Continued())
            else:
                return
        raise AssertionError("the core never comes to rest")

    def say(self, event: Event) -> Answer:
        """A step, and all that follows from it at once."""
        answer = self.step(event)
        self.settle()
        return answer

    def sleep(self, milliseconds: int) -> None:
        """Time passes; timers fire when they are due."""
        until = self.now + milliseconds
        while (wake := self.engine.wake_at) is not None and wake <= until:
            self.now = max(self.now, wake)
            self.say(TimerFired())
        self.now = until

    def connect(
        self,
        agent: str,
        *,
        cpus: float = 1,
        memory: int = 1 << 40,
        boot: str = "boot-1",
        held: Sequence[Held] = (),
        **options: Any,
    ) -> int:
        """An agent says hello; returns the node's serial."""
        options.setdefault("capacity", Resources(int(cpus * 1_000), memory))
        options.setdefault("labels", ())
        answer = self.say(
            AgentConnected(
                agent, agent, f"host-{agent}", boot, "1", options["capacity"], options["labels"], tuple(held)
            )
        )
        assert isinstance(answer, int)
        return answer

    def suspect(self, node: int) -> None:
        self.say(AgentSuspected(node))

    def lose(self, node: int) -> None:
        self.say(AgentLost(node))

    def submit(self, spec: JobSpec, *, key: str = "") -> int:
        """Submit a job that must be accepted; returns its serial."""
        answer = self.try_submit(spec, key=key)
        assert isinstance(answer, Accepted), answer
        return answer.job

    def try_submit(self, spec: JobSpec, *, key: str = "", chunk: int = 1_000) -> Answer:
        needs, problems = check_graph(spec)
        assert not problems, problems
        serial: Answer = 0
        for first in range(0, len(spec.tasks), chunk):
            assert isinstance(serial, int)
            part = slice(first, first + chunk)
            serial = self.step(JobStaged(serial, first, spec.tasks[part], tuple(needs[part])))
            if not isinstance(serial, int):
                return serial
        self._entropy += 1
        header = msgspec.structs.replace(spec, tasks=())
        assert isinstance(serial, int)
        return self.say(JobSubmitted(serial, job_id(self.now, self._entropy), header, key))

    def started(self, *attempts: int) -> None:
        self.say(AttemptsReported(self._node(attempts), attempts))

    def ended(
        self, *attempts: int, code: int = 0, outcome: Outcome = Outcome.EXITED, node: int = 0, **more: Any
    ) -> None:
        endings = tuple(AttemptEnding(attempt, outcome, code, **more) for attempt in attempts)
        self.say(AttemptsReported(node or self._node(attempts), (), endings))

    def _node(self, attempts: Sequence[int]) -> int:
        (node,) = {self.world.attempts[attempt].node.id for attempt in attempts}
        return int(node)

    def cancel(self, job: int, task: int = -1, index: int = -1) -> Answer:
        return self.say(CancelRequested(job, task, index))

    def _take(self, kind: type[E]) -> E:
        for place, effect in enumerate(self.effects):
            if isinstance(effect, kind):
                del self.effects[place]
                return effect
        raise AssertionError(f"no {kind.__name__} among {self.effects}")

    def expect_start(self, node: int, count: int | None = None) -> tuple[int, ...]:
        """The node is told to start attempts; which ones."""
        effect = self._take(StartAttempts)
        assert effect.node == node, effect
        assert count is None or len(effect.attempts) == count, effect
        return effect.attempts

    def expect_stop(self, node: int, *attempts: int) -> None:
        effect = self._take(StopAttempts)
        assert (effect.node, effect.attempts) == (node, attempts), effect

    def expect_recall(self, node: int) -> tuple[int, ...]:
        effect = self._take(RecallAttempts)
        assert effect.node == node, effect
        return effect.attempts

    def expect_forget(self, node: int, *attempts: int) -> None:
        effect = self._take(ForgetAttempts)
        assert (effect.node, effect.attempts) == (node, attempts), effect

    def expect_job(self, job: int, state: str, *, code: int | None = None) -> JobEnded:
        """The job has ended so."""
        for record in self.records:
            if isinstance(record, JobEnded) and record.job == job:
                assert record.state == state, record
                assert code is None or record.code == code, record
                return record
        raise AssertionError(f"job {job} has not ended; its states are {self.states(job)}")

    def states(self, job: int) -> dict[str, list[str]]:
        """The states of a live job's elements, by task name."""
        return {task.spec.name: [TaskState(state).name for state in task.states] for task in self.world.jobs[job].tasks}

    def nothing_else(self) -> None:
        """Everything that the core wanted done has been read."""
        assert not self.effects, self.effects
