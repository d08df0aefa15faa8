"""Places beyond the agents that are there: what providers offer, whether they can be used, and what they have of ours.

At the start every provider that is in the settings is checked, and the core is told what may be brought up, and what could be if it were
not for an outage (CatalogKnown). One that cannot be used is checked again now and then. Without a public URL nothing is brought up: machines
would not find this server.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from styx.core.events import CatalogKnown, DownRequested
from styx.core.offers import Catalog
from styx.core.outages import Outage, Outages, Promised
from styx.core.ranking import best
from styx.core.spec import Choice
from styx.errors import NotFound, StyxError
from styx.providers.base import Check, Machine, MachineState, Provider, Refused, Unsure
from styx.providers.catalogs import FOLDER, Catalogs, Known, merged
from styx.runtime.orders import Archives, Orders
from styx.runtime.provisioning import Provisioning
from styx.runtime.shell import Shell
from styx.runtime.vault import Vault
from styx.telemetry.log import get

__all__ = ["Provisioner"]

log = get("places")

SOON, LATER, AGAIN = (
    2.0,
    60.0,
    300.0,
)  # seconds until providers are checked again: while one cannot be used at first, and at most; else
DOWN_TOGETHER = 100  # machines
PATIENCE = 3.0  # seconds that a check may take
NO_URL = "no public_url is set, so machines would not find this server"


class Provisioner:
    """Made by `open`; `shell.provisioner` when there are providers."""

    def __init__(self, shell: Shell, providers: Mapping[str, Provider], orders: Orders, home: Path) -> None:
        self._shell = shell
        self._providers = providers
        self._home = home
        self._orders = orders
        self.catalogs = Catalogs(home / FOLDER)
        self._known: dict[str, Known] = {}
        self.catalog = Catalog()  # everything that is known; the core is told of what machines could run an agent on
        self.architectures: frozenset[str] = frozenset()  # for which there is an archive to run the agent from
        self.checks: dict[str, Check] = {}
        self._since: dict[str, int] = {}  # of providers that cannot be used: when that was found first
        self._wait, self._next = SOON, 0  # seconds until the next look while one cannot be used, and when that is
        self._telling = asyncio.Lock()
        self.looked = asyncio.Event()  # the core has been told what may be brought up, for the first time
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
    def providers(self) -> Mapping[str, Provider]:
        """By name, those that stand in the settings."""
        return self._providers

    async def check(self) -> dict[str, Check]:
        """Whether each provider can be used, all asked side by side."""
        names = list(self._providers)
        found = await asyncio.gather(*(self._check(self._providers[name]) for name in names))
        self.checks = dict(zip(names, found, strict=True))
        self._next = self._shell.clock.now() + round(self._wait * 1_000)
        await self._tell()
        return self.checks

    async def check_one(self, name: str) -> Check:
        """The same of one provider; the core hears of it soon when the answer is another than before."""
        found = await self._check(self._providers[name])
        before = self.checks.get(name)
        if before is not None and (before.usable, before.problems) != (found.usable, found.problems):
            self.checks[name] = found
            self._shell.supervisor.start("places", self._tell())  # whoever asks need not wait for that
        return found

    async def refresh(self) -> Catalog:
        """What the clouds' own APIs say now, in place of what came with the program, all asked side by side. A provider that does not
        answer keeps what it had; `carrier.troubles` says why. Raises StoreError when it cannot be kept."""
        await asyncio.gather(*(self._refresh(name) for name in self._providers))
        await self._tell()
        return self.catalog

    async def _refresh(self, name: str) -> None:
        provider = self._providers[name]
        if provider.provisioner is None:
            return
        try:
            offers = await provider.provisioner.offers()
        except (Refused, Unsure) as error:
            self.carrier.troubles[name] = error.message
            return
        if not offers:
            self.carrier.troubles[name] = "it says that it offers nothing; what was known before is kept"
            return
        self.carrier.troubles.pop(name, None)
        await asyncio.to_thread(self.catalogs.keep, provider, offers, self._shell.clock.now())
        self._known.pop(name, None)

    async def down(
        self, nodes: Sequence[int], *, force: bool = False, strangers: Iterable[tuple[str, str]] = ()
    ) -> int:
        """End the machines of these nodes, and `strangers`, (provider, ref) of machines that nobody stands for; how many are on their
        way out by this. Raises NotFound for a node without a machine."""
        world = self._shell.engine.world
        for serial in nodes:
            node = world.nodes.get(serial)
            if node is None or node.instance is None:
                raise NotFound(f"node {serial} is no machine that a provider brought up", hint="see `styx instances`")
        count = 0
        for first in range(0, len(nodes), DOWN_TOGETHER):  # a step stays short however many there are
            answer = await self._shell.loop.ask(DownRequested(tuple(nodes[first : first + DOWN_TOGETHER]), force))
            count += answer if type(answer) is int else 0
        for name, ref in strangers:
            self.carrier.end(name, ref)
            count += 1
        return count

    def orphans(self) -> list[tuple[str, Machine]]:
        """(provider, machine): what the last listings showed alive and that no node stands for, of this incarnation or another. A
        machine whose order is still being called for has no name here yet, but a token."""
        nodes = self._shell.engine.world.nodes.values()
        stood_for = {
            (node.instance.offer.provider, mark)
            for node in nodes
            if node.instance is not None
            for mark in (node.instance.ref, node.instance.token)
        }
        return [
            (name, machine)
            for name, listing in sorted(self.carrier.listings.items())
            for machine in listing.machines
            if machine.state is not MachineState.ENDED
            and stood_for.isdisjoint(((name, machine.ref), (name, machine.token)))
        ]

    async def close(self) -> None:
        for provider in self._providers.values():
            await provider.close()

    async def _check(self, provider: Provider) -> Check:
        if provider.provisioner is not None and not self._orders.public_url:
            return Check(False, problems=(NO_URL,), hints=("set [places] public_url in styx.toml",), lasting=True)
        try:
            async with asyncio.timeout(PATIENCE):
                return await provider.check()
        except TimeoutError:
            return Check(False, problems=(f"it did not answer within {PATIENCE:g} s",))

    async def _tell(self) -> None:
        """Tell the core what may be brought up, and what cannot be used."""
        async with self._telling:  # what is told last is what was found last
            await self._load()
            usable = frozenset(
                name
                for name, check in self.checks.items()
                if check.usable and self._providers[name].provisioner is not None
            )
            barred = {name: "; ".join(check.problems) for name, check in self.checks.items() if not check.usable}
            self.catalog = merged(self._known, usable, barred)
            outages = self._outages()
            lasting = {one.provider for one in outages if one.lasting}
            if usable or any(self._providers[one.provider].provisioner for one in outages if not one.lasting):
                try:
                    self.architectures = await self._orders.architectures()
                except StyxError as error:
                    log.warning("nothing can be brought up", reason=error.message)
                    self.architectures = frozenset()
            own = [offer for offer in self.catalog.offers if offer.arch in self.architectures]
            catalog = msgspec.structs.replace(self.catalog, offers=tuple(own))
            away = [one for one in own if one.provider in barred and one.provider not in lasting]
            away += [one for one in self.catalog.offers if one.provider in lasting]
            known = Outages(outages, Catalog(tuple(away), frozenset(barred)), self._runners())
            for one in (catalog, known.catalog):  # puts it in order, off the loop
                await asyncio.to_thread(best, one, (Choice(),), False, 1, lambda offer: False)
            self._shell.loop.post(CatalogKnown(catalog, known))
        await self._shell.loop.settled()
        self.looked.set()

    async def _load(self) -> None:
        """The offers of providers that have been asked for none yet."""
        for name, provider in self._providers.items():
            if name not in self._known and provider.provisioner is not None:
                self._known[name] = await asyncio.to_thread(self.catalogs.load, provider)
                if name in self.catalogs.problems:
                    log.warning("stored offers passed over", provider=name, reason=self.catalogs.problems[name])

    def _outages(self) -> tuple[Outage, ...]:
        """Of the checks as they are; those that are new begin now."""
        now = self._shell.clock.now()
        down = {name: check for name, check in self.checks.items() if not check.usable}
        self._since = {name: self._since.get(name, now) for name in down}
        return tuple(
            Outage(name, "; ".join(check.problems), check.hints, self._since[name], self._next, check.lasting)
            for name, check in down.items()
        )

    def _runners(self) -> tuple[Promised, ...]:
        return tuple(
            Promised(f"{name}/{key}", runner.capacity, runner.labels)
            for name, provider in self._providers.items()
            for key, runner in provider.runners.items()
        )

    async def _keep_looking(self) -> None:
        """Check at the start, and again now and then: soon at first while one cannot be used, since it may only have been slow."""
        told: dict[str, tuple[str, ...]] = {}
        while True:
            await self.check()
            barred = {name: check.problems for name, check in self.checks.items() if not check.usable}
            for name, problems in barred.items():
                if told.get(name) != problems:
                    log.warning("provider cannot be used", provider=name, reason="; ".join(problems))
            told = barred
            wait = self._wait if barred else AGAIN
            self._wait = min(2 * self._wait, LATER)
            await asyncio.sleep(wait)
