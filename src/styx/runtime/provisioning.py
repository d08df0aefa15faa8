"""Carries the core's orders to the providers, and what they answer back to the core. It decides nothing: when to call again, what a
listing means and what is to be ended is the core's.

Calls to one provider are limited in number, endings are gathered into few calls, and a provider that is being asked for a listing is
not asked for another. Whatever goes wrong in a provider ends as one of three answers: refused, unsure, or a listing that is not
complete. A provider is somebody's plug-in: a bug in it must not take the control plane down, so it counts as unsure.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from styx.aiokit import Supervisor
from styx.core.effects import EndInstances, EndMachines, LaunchInstance, ListMachines, PlaceEffect
from styx.core.events import (
    Event,
    InstanceLaunched,
    InstanceRefusedByCloud,
    InstanceUnsure,
    MachineSeen,
    MachinesListed,
)
from styx.core.states import NodeState
from styx.core.world import World
from styx.errors import StyxError
from styx.providers.base import Listing, Machine, MachineState, Order, Provider, Provisioner, Refused, Unsure
from styx.runtime.clock import Clock
from styx.runtime.orders import Orders
from styx.telemetry.log import get

__all__ = ["Provisioning"]

log = get("places")

AT_ONCE = 32  # calls to one provider
PATIENCE = 120.0  # seconds for one call
ENDED_TOGETHER = 50  # machines in one call

T = TypeVar("T")


class Provisioning:
    """`post` feeds the loop. `perform` is what Dispatch is given for the orders to providers."""

    def __init__(
        self,
        providers: Mapping[str, Provider],
        orders: Orders,
        world: World,
        clock: Clock,
        supervisor: Supervisor,
        post: Callable[[Event], object],
        *,
        cluster: str,
    ) -> None:
        self.providers = providers
        self._orders = orders
        self._world = world
        self._clock = clock
        self._supervisor = supervisor
        self._post = post
        self._cluster = cluster
        self._gates = {name: asyncio.Semaphore(AT_ONCE) for name in providers}
        self._listing: set[str] = set()
        self._ending: dict[str, dict[str, None]] = {name: {} for name in providers}
        self.listings: dict[str, Listing] = {}  # the last one of each provider, for people
        self.troubles: dict[str, str] = {}  # what went wrong with each provider last; empty once it answers again

    def perform(self, effect: PlaceEffect) -> None:
        """Begin to carry out an order; returns at once."""
        match effect:
            case LaunchInstance(node, again):
                self._supervisor.start("launch", self._launch(node, again))
            case EndInstances(provider, nodes):
                found = (self._world.nodes[node].instance for node in nodes if node in self._world.nodes)
                self._end(provider, [instance.ref for instance in found if instance is not None and instance.ref])
            case EndMachines(provider, refs):
                self._end(provider, list(refs))
            case ListMachines(provider):
                if provider in self.providers and provider not in self._listing:
                    self._listing.add(provider)
                    self._supervisor.start("listing", self._list(provider))

    def _provisioner(self, name: str) -> Provisioner | None:
        provider = self.providers.get(name)
        return provider.provisioner if provider is not None else None

    async def _launch(self, node: int, again: bool) -> None:
        found = self._world.nodes.get(node)
        instance = found.instance if found is not None else None
        if found is None or instance is None or found.state != NodeState.REQUESTED:
            return
        name = instance.offer.provider
        provisioner = self._provisioner(name)
        if provisioner is None:
            detail = f"provider {name!r} is not in the settings any more"
            # Whether it was asked before is not known to this process: `again` says that an earlier one may have.
            self._post(InstanceUnsure(node, detail) if again else InstanceRefusedByCloud(node, "denied", detail))
            return
        try:
            order = await self._orders.make(instance)
        except StyxError as error:
            self._post(InstanceRefusedByCloud(node, "invalid", error.message))
            return
        look_first = again and not self.providers[name].promises.idempotent
        try:
            async with self._gates[name]:
                machine = await self._call(name, _bring_up(provisioner, order, look_first))
        except Refused as error:
            self._post(InstanceRefusedByCloud(node, error.kind, error.message, round(error.retry_after * 1_000)))
        except Unsure as error:
            self._post(InstanceUnsure(node, error.message, error.spent))
        else:
            self._post(InstanceLaunched(node, machine.ref))

    def end(self, provider: str, ref: str) -> None:
        """End a machine that a person wants ended and no node stands for."""
        self._end(provider, [ref])

    def _end(self, provider: str, refs: list[str]) -> None:
        waiting = self._ending.get(provider)
        if waiting is None:
            return
        begins = not waiting
        waiting.update(dict.fromkeys(refs))
        if begins and waiting:
            self._supervisor.start("ending", self._end_all(provider, waiting))

    async def _end_all(self, provider: str, waiting: dict[str, None]) -> None:
        """End what has gathered. What fails here is ordered again after the next listing that still shows it."""
        provisioner = self._provisioner(provider)
        if provisioner is None:
            waiting.clear()
            return
        await asyncio.sleep(0)  # what the same turn orders one by one goes out together
        while waiting:
            some = list(waiting)[:ENDED_TOGETHER]
            try:
                async with self._gates[provider]:
                    await self._call(provider, provisioner.terminate(some))
            except (Refused, Unsure) as error:
                log.warning("machines not ended yet", provider=provider, count=len(some), reason=error.message)
            for ref in some:
                waiting.pop(ref, None)

    async def _list(self, provider: str) -> None:
        asked_at = self._clock.now()
        provisioner = self._provisioner(provider)
        try:
            if provisioner is None:
                return
            async with self._gates[provider]:
                # Of every incarnation: a restored database knows machines by the marks of the one it was copied from.
                listing = await self._call(provider, provisioner.listing(""))
        except (Refused, Unsure) as error:
            log.warning("no listing", provider=provider, reason=error.message)
            return
        finally:
            self._listing.discard(provider)
        self.listings[provider] = listing
        for problem in listing.problems:
            log.warning("listing not complete", provider=provider, reason=problem)
        machines = tuple(map(self._seen, listing.machines))
        self._post(MachinesListed(provider, asked_at, listing.complete, machines))

    def _seen(self, machine: Machine) -> MachineSeen:
        ended = machine.state is MachineState.ENDED
        stopped = machine.state is MachineState.STOPPED
        ours = machine.cluster == self._cluster
        return MachineSeen(machine.ref, machine.token, ended, machine.launched_at, machine.detail, stopped, ours)

    async def _call(self, provider: str, call: Awaitable[T]) -> T:
        """The answer of a provider, within PATIENCE. Raises Refused and Unsure, whatever it does."""
        try:
            async with asyncio.timeout(PATIENCE):
                result = await call
        except (Refused, Unsure) as error:
            self.troubles[provider] = error.message
            raise
        except TimeoutError:
            self.troubles[provider] = f"it did not answer within {PATIENCE:g} s"
            raise Unsure(self.troubles[provider]) from None
        except Exception as error:  # a plug-in's bug must not take the control plane down
            self.troubles[provider] = f"{type(error).__name__}: {error}"
            log.crash(f"provider {provider!r} failed", error)
            raise Unsure(self.troubles[provider]) from error
        self.troubles.pop(provider, None)
        return result


async def _bring_up(provisioner: Provisioner, order: Order, look_first: bool) -> Machine:
    if look_first:
        found = await provisioner.find(order)
        if found is not None:
            return found
    return await provisioner.launch(order)
