"""The machines that Styx believes in beside what the clouds say, and taking them down; and all places as the scheduler sees them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from styx.core.ids import text
from styx.core.offers import MICROS, Offer
from styx.core.states import NodeState
from styx.core.suggest import did_you_mean
from styx.core.world import Node
from styx.errors import AmbiguousId, NotFound, UsageError
from styx.protocol.places import InstanceView, NodeView
from styx.providers.base import Machine
from styx.runtime.shell import Shell
from styx.runtime.views import node_state
from styx.store.base import InstanceRow

__all__ = ["Instances"]

_NOT_LISTED = "not in the last listing"
_NOT_YET = "not listed yet"
_COMING = (NodeState.REQUESTED, NodeState.BOOTING)


class Instances:
    def __init__(self, shell: Shell) -> None:
        self._shell = shell

    async def listed(self, *, gone: bool = False) -> list[InstanceView]:
        """Newest first: those that are asked for, coming, up or on their way out, then what the clouds have that nobody stands for;
        with `gone` also those that are no more, as far as they are kept."""
        await self._shell.loop.settled()
        nodes = self._shell.engine.world.nodes
        live = [node for _, node in sorted(nodes.items(), reverse=True) if node.instance is not None]
        views = [self._view(node) for node in live if node.state != NodeState.GONE]
        views += [self._orphan(name, machine) for name, machine in self._orphans()]
        if gone:
            shown = {view.instance_id for view in views}
            for row in await self._shell.store.instances():
                if str(row.node) not in shown:
                    views.append(self._ended(row))
        return views

    async def down(self, ids: Sequence[str], *, everything: bool, orphans: bool, force: bool) -> int:
        """End machines: those named (by the number of a node, the name of its agent, or the provider's name for it or the last part of
        that), `everything` that is up or coming, and `orphans` of this server. What another server has brought up is ended only when
        it is named. Returns how many are on their way out by this. Raises NotFound, AmbiguousId, and UsageError."""
        provisioner = self._shell.provisioner
        if not ids and not everything and not orphans:
            raise UsageError("there is nothing to take down", hint="name instances, or give --all or --orphans")
        if provisioner is None:
            if ids:
                raise NotFound(
                    f"there is no instance {ids[0][:80]!r}", hint="no provider is set up, so nothing was brought up"
                )
            return 0
        await self._shell.loop.settled()
        nodes = [
            node
            for _, node in sorted(self._shell.engine.world.nodes.items())
            if node.instance is not None and node.state != NodeState.GONE
        ]
        strangers = self._orphans()
        chosen = {node.id: node for node in nodes if everything}
        ended = {(name, machine.ref) for name, machine in strangers if orphans and self._ours(machine)}
        for wanted in ids:
            found = _named(wanted, nodes, strangers)
            if isinstance(found, Node):
                chosen[found.id] = found
            else:
                ended.add(found)
        return await provisioner.down(sorted(chosen), force=force, strangers=sorted(ended))

    async def nodes(self) -> list[NodeView]:
        """All places, whoever brought them here, in the order in which they came; without those that are gone."""
        await self._shell.loop.settled()
        world = self._shell.engine.world
        return [_node_view(node) for _, node in sorted(world.nodes.items()) if node.state != NodeState.GONE]

    def _orphans(self) -> list[tuple[str, Machine]]:
        provisioner = self._shell.provisioner
        return provisioner.orphans() if provisioner is not None else []

    def _ours(self, machine: Machine) -> bool:
        return machine.cluster == self._shell.incarnation

    def _view(self, node: Node) -> InstanceView:
        instance = node.instance
        assert instance is not None
        now = self._shell.clock.now()
        job = self._shell.engine.world.jobs.get(instance.job)
        return InstanceView(
            instance_id=str(node.id),
            ref=instance.ref,
            **_place(instance.offer),
            state=node.state.value,
            cloud=self._said(instance.offer.provider, instance.ref, _NOT_YET if node.state in _COMING else _NOT_LISTED),
            age=max(0, now - instance.intended_at) / 1_000,
            cost=(instance.cost + sum(instance.due(now).values())) / MICROS,
            job_id=text(job.id) if job is not None else "",
            job_name=job.spec.name if job is not None else "",
            agent=node.name if node.agent else "",
            running=sum(1 for attempt in node.held.values() if attempt.started_at),
            reason=instance.reason or ("whether it was brought up is not known yet" if instance.doubted else ""),
        )

    def _ended(self, row: InstanceRow) -> InstanceView:
        job = self._shell.engine.world.jobs.get(row.job)
        end = row.shifted_at or row.charged_at or row.intended_at
        return InstanceView(
            instance_id=str(row.node),
            ref=row.ref,
            **_place(row.offer),
            state=row.state or NodeState.GONE.value,
            cloud=self._said(row.offer.provider, row.ref, _NOT_LISTED),
            age=max(0, end - row.intended_at) / 1_000,
            cost=row.micros / MICROS,
            job_id=text(job.id) if job is not None else "",
            job_name=job.spec.name if job is not None else "",
            reason=row.reason,
        )

    def _orphan(self, provider: str, machine: Machine) -> InstanceView:
        now = self._shell.clock.now()
        ours = self._ours(machine)
        return InstanceView(
            instance_id=machine.ref,
            ref=machine.ref,
            provider=provider,
            region=machine.region,
            zone=machine.zone,
            instance_type=machine.instance_type,
            spot=machine.spot,
            price=0.0,
            state="ORPHAN" if ours else "FOREIGN",
            cloud=machine.state.value,
            age=max(0, now - machine.launched_at) / 1_000 if machine.launched_at else 0.0,
            cost=0.0,
            reason="" if ours else "another Styx server, or this one before a restore, has brought it up",
            orphan=True,
        )

    def _said(self, provider: str, ref: str, without: str) -> str:
        """What the last listing of a provider says of a machine; `without` it, that word."""
        provisioner = self._shell.provisioner
        listing = provisioner.carrier.listings.get(provider) if provisioner is not None else None
        if listing is None or not ref:
            return ""
        for machine in listing.machines:
            if machine.ref == ref:
                return machine.state.value
        return without if listing.complete else ""


def _place(offer: Offer) -> dict[str, Any]:
    return {
        "provider": offer.provider,
        "region": offer.region,
        "zone": offer.zone,
        "instance_type": offer.instance_type,
        "spot": offer.spot,
        "price": offer.price / MICROS,
    }


def _named(wanted: str, nodes: Iterable[Node], strangers: Iterable[tuple[str, Machine]]) -> Node | tuple[str, str]:
    """The node, or the (provider, ref) of a machine that nobody stands for."""
    exact: list[Node | tuple[str, str]] = []
    known: list[str] = []
    for node in nodes:
        instance = node.instance
        assert instance is not None
        names = {str(node.id), node.name, instance.token, instance.ref, instance.ref.rpartition("/")[2]}
        known += names - {""}
        if wanted in names - {""}:
            exact.append(node)
    for provider, machine in strangers:
        names = {machine.ref, machine.ref.rpartition("/")[2]}
        known += names
        if wanted in names:
            exact.append((provider, machine.ref))
    if len(exact) > 1:
        raise AmbiguousId(f"{wanted[:80]!r} fits several instances", hint="give its whole name, or its number")
    if not exact:
        hint = did_you_mean(wanted, known) or "see `styx instances`"
        raise NotFound(f"there is no instance {wanted[:80]!r}", hint=hint)
    return exact[0]


def _node_view(node: Node) -> NodeView:
    running = sum(1 for attempt in node.held.values() if attempt.started_at)
    offer = node.instance.offer if node.instance is not None else None
    kind = "machine" if offer is not None else "agent" if node.agent else "runner"
    if offer is None and "runs" in node.labels:
        kind = "runner"
    where = "" if offer is None else f"{offer.provider} {offer.zone or offer.region}".strip()
    return NodeView(
        str(node.id),
        node.name,
        kind,
        node_state(node),
        node.capacity.cpus / 1_000,
        node.capacity.memory,
        dict(node.capacity.accelerators),
        max(0, node.admission.free.cpus) / 1_000,
        running,
        len(node.held) - running,
        dict(node.labels),
        sorted(f"{name}={value}" for name, value in node.taints),
        where,
    )
