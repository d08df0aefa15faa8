"""What was spent, to the second: what is on record as charged, and what the machines that are up owe by now."""

from __future__ import annotations

from styx.core.budget import spent
from styx.core.ids import text
from styx.core.offers import MICROS
from styx.core.states import NodeState
from styx.protocol.http import JobView
from styx.protocol.places import CostView, JobCost, MachineCost
from styx.runtime.queries import Queries
from styx.runtime.refs import Refs
from styx.runtime.shell import Shell
from styx.store.base import InstanceRow

__all__ = ["Costs"]

_RECENT = 200  # jobs that an account of everything looks back on


class Costs:
    def __init__(self, shell: Shell, refs: Refs, queries: Queries) -> None:
        self._shell = shell
        self._refs = refs
        self._queries = queries

    async def of(self, ref: str) -> CostView:
        """What one job has cost, and on which machines. Raises NotFound and AmbiguousId."""
        job = await self._refs.job(ref)
        view = await self._queries.job(text(job.id))
        by_machine = await self._by_machine(job.job)
        rows = {row.node: row for row in await self._shell.store.instances()}
        machines = [
            self._machine(rows[node], micros) for node, micros in sorted(by_machine.items()) if node in rows and micros
        ]
        total = sum(by_machine.values())
        nodes = self._shell.engine.world.nodes
        hourly = sum(
            node.instance.offer.price
            for node in nodes.values()
            if node.instance is not None
            and node.state != NodeState.GONE
            and (node.instance.job == job.job or job.job in node.instance.loads)
        )
        return CostView(total / MICROS, hourly / MICROS, [_job(view, total)], machines)

    async def all(self) -> CostView:
        """What all machines that are kept on record have cost, those that are not gone, and the jobs that paid, newest first."""
        await self._shell.loop.settled()
        rows = await self._shell.store.instances()
        world, now = self._shell.engine.world, self._shell.clock.now()
        total, hourly = 0, 0
        machines = []
        for row in rows:
            node = world.nodes.get(row.node)
            instance = node.instance if node is not None else None
            micros = row.micros
            if node is not None and instance is not None and node.state != NodeState.GONE:
                micros = instance.cost + sum(instance.due(now).values())
                hourly += row.offer.price
                machines.append(self._machine(row, micros))
            total += micros
        jobs = []
        views, _ = await self._queries.jobs(limit=_RECENT, cursor="", status="", name="")
        for view in views:
            serial = (await self._refs.job(view.job_id)).job
            live = world.jobs.get(serial)
            cost = spent(world, live, now) if live is not None else await self._shell.store.cost(serial)
            if cost:
                jobs.append(_job(view, cost))
        return CostView(total / MICROS, hourly / MICROS, jobs, machines)

    async def _by_machine(self, job: int) -> dict[int, int]:
        """Micros by node. What is owed becomes a charge now and then: both are read again when that happened in between."""
        while True:
            await self._shell.loop.settled()
            before = self._charged()
            found = dict(await self._shell.store.costs(job))
            if self._charged() == before:
                break
        for node, micros in self._due(job).items():
            found[node] = found.get(node, 0) + micros
        return found

    def _charged(self) -> dict[int, int]:
        nodes = self._shell.engine.world.nodes.values()
        return {node.id: node.instance.charged_at for node in nodes if node.instance is not None}

    def _due(self, job: int) -> dict[int, int]:
        """Micros that a job owes by now and that are not on record yet, by node."""
        now = self._shell.clock.now()
        nodes = self._shell.engine.world.nodes.values()
        due = {
            node.id: node.instance.due(now).get(job, 0)
            for node in nodes
            if node.instance is not None and node.instance.bound_at and node.state != NodeState.GONE
        }
        return {node: micros for node, micros in due.items() if micros}

    def _machine(self, row: InstanceRow, micros: int) -> MachineCost:
        node = self._shell.engine.world.nodes.get(row.node)
        offer = row.offer
        state = node.state.value if node is not None else row.state or NodeState.GONE.value
        return MachineCost(
            str(row.node),
            row.ref,
            offer.provider,
            offer.zone or offer.region,
            offer.instance_type,
            offer.spot,
            offer.price / MICROS,
            state,
            micros / MICROS,
        )


def _job(view: JobView, cost: int) -> JobCost:
    return JobCost(view.job_id, view.name, view.status, cost / MICROS, view.budget)
