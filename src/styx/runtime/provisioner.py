"""Places beyond the agents that are there: what providers offer, whether they can be used, and what they have of ours.

At the start every provider that is in the settings is checked, and the core is told what may be brought up (CatalogKnown). One that
cannot be used is checked again now and then. Without a public URL nothing is brought up: machines would not find this server.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

from styx.core.events import CatalogKnown, DownRequested
from styx.core.offers import Catalog, Offer
from styx.errors import NotFound
from styx.providers.base import Check, Machine, MachineState, Provider, Refused, Unsure
from styx.runtime.orders import Archives, Orders
from styx.runtime.provisioning import Provisioning
from styx.runtime.shell import Shell
from styx.runtime.vault import Vault
from styx.telemetry.log import get

__all__ = ["Provisioner"]

log = get("places")

AGAIN = 300.0  # seconds until a provider that cannot be used is checked again
PATIENCE = 3.0  # seconds that a check may take
NO_URL = "no public_url is set, so machines would not find this server"


class Provisioner:
    """Made by `open`; `shell.provisioner` when there are providers."""

    def __init__(self, shell: Shell, providers: Mapping[str, Provider], orders: Orders, home: Path) -> None:
        self._shell = shell
        self._providers = providers
        self._home = home
        self._orders = orders
        self._offers: dict[str, tuple[Sequence[Offer], str]] = {}
        self.checks: dict[str, Check] = {}
        self.carrier = Provisioning(
            providers,
            orders,
            shell.engine.world,
            shell.clock,
            shell.supervisor,
            shell.loop.post,
            cluster=shell.incarnation,
        )

    @classmethod
    def open(
        cls,
        shell: Shell,
        providers: Mapping[str, Provider],
        home: Path,
        vault: Vault,
        archives: Archives,
        *,
        public_url: str,
        ca: str = "",
    ) -> Provisioner:
        """Put it behind the shell's dispatch and begin to look around."""
        orders = Orders(
            shell.store, shell.clock, vault, archives, cluster=shell.incarnation, public_url=public_url, ca=ca
        )
        made = cls(shell, providers, orders, home)
        shell.dispatch.places = made.carrier.perform
        shell.provisioner = made
        shell.supervisor.start("places", made._keep_looking())
        return made

    @property
    def catalog(self) -> Catalog:
        return self._shell.engine.places.catalog

    async def check(self) -> dict[str, Check]:
        """Whether each provider can be used, all asked side by side."""
        names = list(self._providers)
        found = await asyncio.gather(*(self._check(self._providers[name]) for name in names))
        self.checks = dict(zip(names, found, strict=True))
        await self._tell()
        return self.checks

    async def refresh(self) -> Catalog:
        """What the clouds' own APIs say now, in place of what came with the program. A provider that does not answer keeps what it
        had; `carrier.troubles` says why."""
        for name, provider in self._providers.items():
            if provider.provisioner is None:
                continue
            try:
                offers = await provider.provisioner.offers()
            except (Refused, Unsure) as error:
                self.carrier.troubles[name] = error.message
                continue
            self._offers[name] = (offers, f"{name}: asked just now")
        await self._tell()
        return self.catalog

    async def down(self, nodes: Sequence[int], *, force: bool = False, orphans: bool = False) -> int:
        """End the machines of these nodes (and those that nobody stands for); how many are on their way out by this. Raises
        NotFound for a node without a machine."""
        world = self._shell.engine.world
        for serial in nodes:
            node = world.nodes.get(serial)
            if node is None or node.instance is None:
                raise NotFound(f"node {serial} is no machine that a provider brought up", hint="see `styx instances`")
        answer = await self._shell.loop.ask(DownRequested(tuple(nodes), force))
        count = answer if type(answer) is int else 0
        if orphans:
            for name, machine in self.orphans():
                self.carrier.end(name, machine.ref)
                count += 1
        return count

    def orphans(self) -> list[tuple[str, Machine]]:
        """(provider, machine): what the last listings showed alive and that no node stands for, of this incarnation or another."""
        refs = {
            (node.instance.offer.provider, node.instance.ref)
            for node in self._shell.engine.world.nodes.values()
            if node.instance is not None
        }
        return [
            (name, machine)
            for name, listing in sorted(self.carrier.listings.items())
            for machine in listing.machines
            if machine.state is not MachineState.ENDED and (name, machine.ref) not in refs
        ]

    async def close(self) -> None:
        for provider in self._providers.values():
            await provider.close()

    async def _check(self, provider: Provider) -> Check:
        if provider.provisioner is not None and not self._orders.public_url:
            return Check(False, problems=(NO_URL,), hints=("set [places] public_url in styx.toml",))
        try:
            async with asyncio.timeout(PATIENCE):
                return await provider.check()
        except TimeoutError:
            return Check(False, problems=(f"it did not answer within {PATIENCE:g} s",))

    async def _tell(self) -> None:
        """Tell the core what may be brought up."""
        for name, provider in self._providers.items():
            if name not in self._offers and provider.provisioner is not None:
                self._offers[name] = await asyncio.to_thread(provider.catalog)
        usable = frozenset(
            name
            for name, check in self.checks.items()
            if check.usable and self._providers[name].provisioner is not None
        )
        barred = tuple((name, "; ".join(check.problems)) for name, check in self.checks.items() if not check.usable)
        offers = tuple(offer for known, _ in self._offers.values() for offer in known)
        source = "; ".join(dict.fromkeys(source for _, source in self._offers.values()))
        catalog = Catalog(offers, usable, barred, self._shell.clock.now(), source)
        self._shell.loop.post(CatalogKnown(catalog))
        await self._shell.loop.settled()

    async def _keep_looking(self) -> None:
        while True:
            await self.check()
            for name, check in self.checks.items():
                if not check.usable:
                    log.warning("provider cannot be used", provider=name, reason="; ".join(check.problems))
            await asyncio.sleep(AGAIN)
