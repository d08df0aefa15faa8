"""What must hold of a simulated cluster, looked at from outside: each of these says what is wrong to `wrong`, or nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from styx.core.engine import Engine
from styx.core.events import Continued
from styx.core.invariants import check, snapshot
from styx.core.settings import CoreSettings
from styx.core.states import NodeState, Outcome, TaskState
from styx.core.world import World
from styx.protocol.codec import decode_server
from styx.protocol.messages import Ack, Forget, OutputAck, Start, Welcome
from styx.runtime.output.store import OutputStore
from styx.runtime.shell import Shell
from styx.testing.simulator.books import Books
from styx.testing.simulator.disk import Disk
from styx.testing.simulator.program import output_of

__all__ = [
    "balanced",
    "durable_first",
    "lost_alone",
    "nobody_waits_for_nothing",
    "same_when_rebuilt",
    "started_in_time",
]

Wrong: TypeAlias = Callable[[str], None]

_BACKOFF, _READY = bytes([TaskState.BACKOFF]), bytes([TaskState.READY])


def lost_alone(engine: Engine, lost: int, wrong: Wrong) -> None:
    """A node that vanished together with many others is not given up: it is the network that is gone."""
    settings = engine.settings
    nodes = [node for node in engine.world.nodes.values() if node.state != NodeState.GONE]
    since = engine.world.nodes[lost].suspect_at
    vanished = sum(1 for node in nodes if node.suspect_at and abs(node.suspect_at - since) <= settings.mass_loss_window)
    if vanished >= max(settings.mass_loss_count, settings.mass_loss_share * len(nodes)):
        wrong(f"node {lost} is given up, {vanished} of {len(nodes)} vanished together")


def nobody_waits_for_nothing(engine: Engine, wrong: Wrong) -> None:
    """No task waits while a node that could take it at once has room and no other plans."""
    world = engine.world
    if not world.counts[TaskState.READY]:
        return
    idle = [
        node
        for node in world.nodes.values()
        if node.connected
        and node.state == NodeState.UP
        and node.reserved < 0
        and not node.lost
        and not node.admission.waiting
    ]
    if not idle:
        return
    for job in world.jobs.values():
        if job.cancelling:
            continue
        for task in job.tasks:
            if TaskState.READY in task.states:
                for node in idle:
                    fits = task.spec.resources.fits(node.admission.free)
                    if fits and all(node.labels.get(name) == value for name, value in task.spec.labels):
                        wrong(f"{task.spec.name} of job {job.serial} waits, and {node.name} has room for it")


def durable_first(machine: str, frame: bytes, disk: Disk, books: Books, wrong: Wrong) -> None:
    """The server says something: what it says must be durable."""
    for message in decode_server(frame):
        kind = type(message)
        if kind is Start:
            for run in message.runs:  # type: ignore[union-attr]
                if run.attempt not in books.attempts:
                    wrong(f"attempt {run.attempt} is sent to {machine} before it is durable")
        elif kind is Ack or kind is Welcome:
            number = message.number if isinstance(message, Ack) else message.acked  # type: ignore[union-attr]
            mark = disk.mark(f"agent-{machine}")
            if number and (mark is None or mark.number < number):
                wrong(f"report {number} of {machine} is acknowledged, on disk is {mark}")
        elif kind is OutputAck:
            entry = books.attempts.get(message.attempt)  # type: ignore[union-attr]
            if entry is not None and books.machines[entry.record.node] == machine:
                there = disk.committed_output(message.attempt, message.stream)  # type: ignore[union-attr]
                if message.offset > there:  # type: ignore[union-attr]
                    wrong(f"output of attempt {entry.record.attempt} is acknowledged too far: {message}, {there}")
        elif kind is Forget:
            for attempt in message.attempts:  # type: ignore[union-attr]
                entry = books.attempts.get(attempt)
                if entry is not None and entry.ended is None and books.machines[entry.record.node] == machine:
                    wrong(f"{machine} is to forget attempt {attempt}, whose end is not durable")


def _same(lived: World, rebuilt: World, wrong: Wrong) -> None:
    """A world that was rebuilt from the store is the one that was lived."""
    there, again = _facts(lived), _facts(rebuilt)
    for part, value in there.items():
        if value != again[part]:
            wrong(f"the rebuilt world differs in {part}: lived {value}, rebuilt {again[part]}")


def _facts(world: World) -> dict[str, Any]:
    """A snapshot for comparison. That a backoff is over is known only once its timer has fired."""
    facts = snapshot(world)
    counts = facts["counts"]
    counts[TaskState.READY] += counts[TaskState.BACKOFF]
    counts[TaskState.BACKOFF] = 0
    for job in facts["jobs"].values():
        job["tasks"] = [
            tuple(part.replace(_BACKOFF, _READY) if isinstance(part, bytes) else part for part in task)
            for task in job["tasks"]
        ]
    return facts


def same_when_rebuilt(shell: Shell, disk: Disk, settings: CoreSettings, wrong: Wrong) -> None:
    """The world that a restart would make of what is on the disk equals the one that was lived. Raises BrokenInvariant where it is
    none at all."""
    now = shell.clock.now()
    engine = Engine(settings=settings)
    engine.recover(disk.live_records())
    engine.recovered(disk.highest, now)
    while engine.unfinished:
        engine.step(Continued(), now)
    _same(shell.engine.world, engine.world, wrong)
    check(engine.world)


async def balanced(books: Books, kept: OutputStore, wrong: Wrong) -> None:
    """At the end: all that was accepted has ended, every attempt has its end, and what is kept of its output is what it printed."""
    for serial, job in books.jobs.items():
        if job.accepted and job.state is None:
            wrong(f"job {serial} has not ended")
    for attempt, entry in books.attempts.items():
        if entry.ended is None:
            wrong(f"attempt {attempt} has no end")
        program = books.programs.get(attempt)
        piece = await kept.read(attempt, 1, limit=1 << 20)
        printed = output_of(attempt, program.written) if program is not None else b""
        lost = entry.ended is not None and entry.ended.outcome == Outcome.LOST
        if program is not None and not program.owner.alive:
            lost = True  # what its owner had not handed over went with it
        if piece.data != printed and not (lost and printed.startswith(piece.data)):
            wrong(f"attempt {attempt} printed {len(printed)} bytes, kept are {len(piece.data)}")


def started_in_time(books: Books, name: str, limit: int, wrong: Wrong) -> None:
    """A task that others would starve has started within a time."""
    started = [program.began for program in books.programs.values() if program.spec.name == name]
    if not started or min(started) > limit:
        wrong(f"{name} started at {started}, it should have by {limit}")
