"""What must hold of a simulated cluster, looked at from outside: each of these says what is wrong to `wrong`, or nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from styx.core.engine import Engine
from styx.core.invariants import snapshot
from styx.core.states import NodeState, TaskState
from styx.core.world import World
from styx.protocol.codec import decode_server
from styx.protocol.messages import Ack, Forget, OutputAck, Start, Welcome
from styx.testing.simulator.books import Books
from styx.testing.simulator.disk import Disk

__all__ = ["durable_first", "lost_alone", "nobody_waits_for_nothing", "same"]

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


def same(lived: World, rebuilt: World, wrong: Wrong) -> None:
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
