"""What is live, as the records that a restart feeds through `apply`, and one job's for whoever runs it again.

The order is that of `Store.load` and of `store.rows`: within a job, ended attempts and spans as they were told; what is under way
comes last, over all jobs.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from styx.core.records import InstanceCharged, Record, TasksStaged
from styx.core.states import NodeState
from styx.store.memory.tables import Machine, Node, Tables
from styx.store.rows import CHUNK

__all__ = ["forsake_staged", "history", "live"]

_DAY = 86_400_000  # ms


def forsake_staged(tables: Tables) -> None:
    """Nobody is submitting now; what was staged and never accepted goes."""
    for serial in [serial for serial, job in tables.jobs.items() if job.accepted is None]:
        del tables.jobs[serial]


def live(tables: Tables) -> Iterator[Record]:
    for refusal in sorted(tables.refusals.values(), key=lambda record: record.at):
        yield msgspec.structs.replace(refusal, node=0)
    yield from _places(tables)
    under_way: list[int] = []
    for serial in sorted(tables.jobs):
        if tables.jobs[serial].ended is None:
            yield from _job(tables, serial, under_way)
    for attempt in sorted(under_way):
        yield tables.assigned[attempt]
        if attempt in tables.started:
            yield tables.started[attempt]
        if attempt in tables.stopping:
            yield tables.stopping[attempt]


def history(tables: Tables, job: int) -> list[Record]:
    return list(_job(tables, job, [])) if job in tables.jobs else []


def _places(tables: Tables) -> Iterator[Record]:
    """Machines, then nodes, then how the machines' state changed."""
    day = tables.last_at - _DAY
    machines = [
        machine
        for _, machine in sorted(tables.machines.items())
        if machine.shifted is None or machine.shifted.state != NodeState.GONE or machine.shifted.at > day
    ]
    for machine in machines:
        yield from _machine(machine, tables.cost_of_node(machine.intended.node))
    for serial in sorted(tables.nodes):
        yield from _node(tables.nodes[serial])
    for machine in machines:
        if machine.shifted is not None:
            yield msgspec.structs.replace(machine.shifted, reason=machine.reason)


def _machine(machine: Machine, micros: int) -> Iterator[Record]:
    yield machine.intended
    if machine.bound is not None:
        yield machine.bound
        yield InstanceCharged(machine.intended.node, ((machine.intended.job, micros),), machine.charged_at)


def _node(node: Node) -> Iterator[Record]:
    yield node.linked
    for record in (node.shifted, node.suspected, node.lost):
        if record is not None:
            yield record


def _job(tables: Tables, serial: int, under_way: list[int]) -> Iterator[Record]:
    """One job, ended attempts only; the others are added to `under_way`."""
    job = tables.jobs[serial]
    if job.accepted is None:
        return
    for first in range(0, len(job.tasks), CHUNK):
        specs, needs = zip(*job.tasks[first : first + CHUNK], strict=True)
        yield TasksStaged(serial, first, specs, needs)
    yield job.accepted
    if cost := tables.cost_of_job(serial):
        yield InstanceCharged(0, ((serial, cost),), 0)
    if job.revived is not None:
        yield job.revived
    if job.cancelling is not None:
        yield job.cancelling
    told: list[tuple[int, tuple[Record, ...]]] = [(number, (span,)) for number, span in job.spans]
    for attempts in job.attempts.values():
        for attempt in attempts:
            ended = tables.ended.get(attempt)
            if ended is None:
                under_way.append(attempt)
            else:
                told.append((tables.ended_told[attempt], (tables.assigned[attempt], ended)))
    told.sort(key=lambda entry: entry[0])
    for _, records in told:
        yield from records
