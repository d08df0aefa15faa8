"""What does it cost to place a task among 1,000 nodes of 10 shapes when tasks of 100 shapes and 3 priorities wait, and does it grow
with what waits and does not fit?

CPU time of the core alone: a full house runs, ends of attempts make room, and each pass fills it again. Microseconds for each placed task, its
end included in the second figure."""

from __future__ import annotations

import gc
import time

from kit import Figure, Options, main

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
from styx.core.spec import JobSpec, Priority, TaskSpec
from styx.core.states import Outcome

NODES = 1_000
ROUNDS = 20
LONG, SHORT = 20_000, 10  # milliseconds that each attempt runs
ENDED = 2  # attempts that end on a node each round
WAITING = (10_000, 100_000, 1_000_000)
PRIORITIES = (Priority.LOW, Priority.NORMAL, Priority.HIGH)


def house(waiting: int) -> Engine:
    """1,000 nodes and 300 arrays that together have `waiting` elements more than fit, a third of which fits nowhere now."""
    engine = Engine()
    for number in range(NODES):
        room = Resources(cpus=4_000 + 2_000 * (number % 10), memory=(16 + 8 * (number % 10)) << 30)
        engine.step(AgentConnected(f"a{number}", f"a{number}", f"h{number}", "b", "v", room), 1)
    for serial, priority in enumerate(PRIORITIES, 1):
        specs = []
        for shape in range(100):
            large = shape % 3 == 2
            cpus = (
                20_000 + shape if large else 500 + 10 * shape
            )  # the large ones fit only an empty node of the largest kind
            specs.append(
                TaskSpec(
                    f"t{shape}",
                    ("true",),
                    array=waiting // 300,
                    resources=Resources(cpus=cpus, memory=(shape + 1) << 20),
                )
            )
        job = engine.step(JobStaged(0, 0, tuple(specs), ((),) * 100), 1).answer
        assert isinstance(job, int)
        engine.step(JobSubmitted(job, JobId(serial), JobSpec("bulk", (), priority=priority), "", b""), 1)
    settle(engine, 2)
    return engine


def settle(engine: Engine, now: int) -> int:
    """Step until nothing is due; the attempts placed."""
    before = engine.world.last_attempt
    while engine.unfinished or engine.placement_due:
        if engine.unfinished:
            engine.step(Continued(), now)
        if engine.placement_due:
            engine.step(PlacementDue(), now)
    return engine.world.last_attempt - before


def cost(waiting: int, runs: int) -> tuple[float, float, float]:
    """(µs a placed task, µs with the report of an end, ms of the longest pass)."""
    engine = house(waiting)
    gc.collect()
    gc.freeze()
    gc.set_threshold(5_000, 10, 2_000)  # as the server has it
    placing = reporting = longest = 0.0
    placed, now = 0, 10
    for _ in range(ROUNDS):
        now += runs
        begin = time.thread_time()
        for node in engine.world.nodes.values():
            ended = tuple(AttemptEnding(attempt, Outcome.EXITED, ran=runs) for attempt in list(node.held)[:ENDED])
            engine.step(AttemptsReported(node.id, (), ended), now)
        reporting += time.thread_time() - begin
        before = engine.world.last_attempt
        while engine.placement_due:
            begin = time.thread_time()
            engine.step(PlacementDue(), now)
            took = time.thread_time() - begin
            placing += took
            longest = max(longest, took)
        placed += engine.world.last_attempt - before
    gc.unfreeze()
    return placing / placed * 1e6, (placing + reporting) / placed * 1e6, longest * 1e3


def measure(options: Options) -> list[Figure]:
    figures = []
    for waiting in WAITING:
        for runs, what in ((LONG, "tasks of 20 s"), (SHORT, "tasks of 10 ms, sent ahead")):
            rows = [cost(waiting, runs) for _ in range(options.rounds)]
            end = f"{what}, {waiting:,} wait"
            figures += [
                Figure(
                    f"placing, {end}", "µs/task", [row[0] for row in rows], less=True, target=10.0,
                    curve=("placed, by how many wait that do not fit", what, waiting),
                ),
                Figure(f"placing and ending, {end}", "µs/task", [row[1] for row in rows], less=True),
                Figure(f"longest pass, {end}", "ms", [row[2] for row in rows], less=True, target=10.0),
            ]  # fmt: skip
    return figures


if __name__ == "__main__":
    main("What does it cost to place a task?", measure, rounds=3)
