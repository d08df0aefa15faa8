"""What does a waiting task cost, and does it stay the same as they grow to a million?

CPU time of the core alone, in this process: jobs are staged and accepted as the server does it, with no place to go. Memory is what the
process grew by, for each task; each count is measured in a process of its own."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import time
from collections.abc import Iterator

from kit import Figure, Options, main, pss

from styx.core.effects import Accepted
from styx.core.engine import Engine
from styx.core.events import (
    AgentConnected,
    AttemptEnding,
    AttemptsReported,
    Continued,
    JobStaged,
    JobSubmitted,
    PlacementDue,
)
from styx.core.ids import JobId
from styx.core.resources import Resources
from styx.core.spec import JobSpec, TaskSpec
from styx.core.states import Outcome

CHUNK = 1_000
FULL = 1_000_000
FORMS = ("one array", "1,000 arrays", "different tasks")
TARGETS = {"one array": 16, "1,000 arrays": 24, "different tasks": 900}
JOB = 100_000  # different tasks in one job


def jobs(form: str, count: int) -> Iterator[list[TaskSpec]]:
    """The jobs that make up `count` tasks in this form, one list of specs a job."""
    if form == "one array":
        yield [TaskSpec("t", ("true",), array=count)]
    elif form == "1,000 arrays":
        yield [TaskSpec(f"t{number}", ("true",), array=max(1, count // 1_000)) for number in range(1_000)]
    else:
        for first in range(0, count, JOB):
            last = min(first + JOB, count)
            yield [TaskSpec(f"t{number}", ("echo", str(number))) for number in range(first, last)]


def submit(engine: Engine, serial: int, specs: list[TaskSpec]) -> None:
    job = 0
    for first in range(0, len(specs), CHUNK):
        some = tuple(specs[first : first + CHUNK])
        answer = engine.step(JobStaged(job, first, some, ((),) * len(some)), 1).answer
        assert isinstance(answer, int)
        job = answer
    answer = engine.step(JobSubmitted(job, JobId(serial), JobSpec("bulk", ()), "", b""), 1).answer
    assert isinstance(answer, Accepted)
    settle(engine)


def settle(engine: Engine) -> None:
    while engine.unfinished:
        engine.step(Continued(), 1)


def fill(form: str, count: int) -> None:
    """In a process of its own: print bytes a task, tasks submitted a second and tasks drained a second."""
    engine = Engine()
    gc.disable()
    gc.collect()
    before = pss(os.getpid())
    begin = time.thread_time()
    for serial, specs in enumerate(jobs(form, count), 1):
        submit(engine, serial, specs)
        del specs
    took = time.thread_time() - begin
    gc.collect()
    grown = (pss(os.getpid()) - before) * 1e6
    print(grown / count, count / took, drained(engine, min(count, 100_000)))


def drained(engine: Engine, count: int) -> float:
    """Tasks a second, placed on one large node and ended, while the rest waits behind them."""
    room = Resources(cpus=500_000, memory=1 << 40)
    engine.step(AgentConnected("a", "a", "h", "b", "v", room), 2)
    node = next(iter(engine.world.nodes))
    now, done = 2, 0
    begin = time.thread_time()
    while done < count:
        now += 1
        engine.step(PlacementDue(), now)
        held = tuple(AttemptEnding(attempt, Outcome.EXITED) for attempt in list(engine.world.nodes[node].held)[:500])
        done += len(held)
        engine.step(AttemptsReported(node, (), held), now)
        settle(engine)
    return done / (time.thread_time() - begin)


def measure(options: Options) -> list[Figure]:
    figures: list[Figure] = []
    for form in FORMS:
        for count in dict.fromkeys(options.of(int(FULL * share), 10_000) for share in (0.01, 0.1, 1.0)):
            rows = []
            for _ in range(options.rounds):
                run = subprocess.run(
                    [sys.executable, __file__, "--fill", form, str(count)], check=True, capture_output=True, text=True
                )
                rows.append([float(word) for word in run.stdout.split()])
            names = f"{count:,} as {form}"
            target = TARGETS[form] if count >= FULL // 10 else None  # below, the interpreter's own steps show
            figures += [
                Figure(
                    f"memory, {names}", "bytes/task", [row[0] for row in rows], less=True, target=target,
                    curve=("memory of a waiting task", form, count),
                ),
                Figure(
                    f"submitted, {names}", "tasks/s", [row[1] for row in rows],
                    # an array is one row, whatever its size
                    curve=("submitted, core", form, count) if form == "different tasks" else None,
                ),
                Figure(
                    f"drained, {names}", "tasks/s", [row[2] for row in rows],
                    curve=("placed and ended while the rest waits, core", form, count),
                ),
            ]  # fmt: skip
            print(names, rows[-1], file=sys.stderr)
    return figures


if __name__ == "__main__":
    if sys.argv[1:2] == ["--fill"]:
        fill(sys.argv[2], int(sys.argv[3]))
    else:
        main("What does a waiting task cost as they grow to a million?", measure, rounds=1)
