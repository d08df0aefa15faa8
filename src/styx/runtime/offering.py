"""What could be brought up, and whether it can from here: of the providers in the settings, and, for planning, of those that are
installed and not in them. Works without a server too: then the settings are the caller's, and nothing can be brought up.

Nothing is loaded before somebody asks, and the offers of providers that are not set up are dropped again when nobody has asked for a
while: they are large, and a server has better use for its memory.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from styx.core.offers import MICROS, Catalog, Offer
from styx.core.ranking import how_many
from styx.core.refusals import refused
from styx.core.resources import Resources
from styx.core.units import accelerator_counts, byte_count, micros, thousandths
from styx.core.wording import time_text
from styx.errors import SpecError, UsageError
from styx.protocol.places import CheckView, OffersQuery, OffersView, OfferView, RefreshView
from styx.providers.base import Check, Context, Provider, Refused, Unsure
from styx.providers.catalogs import FOLDER, Catalogs, Known, merged
from styx.runtime.clock import Handle
from styx.runtime.shell import Shell

__all__ = ["Offering", "offer_view", "why_refused"]

PATIENCE = 3.0  # seconds that a check may take
KEPT = 60_000  # milliseconds that tables of offers are kept for whoever asks next
_NO_SERVER = "no server is running here; `styx up` or `styx-server` with a public_url brings machines up"


class _Installed(NamedTuple):
    """The providers in the settings, the others as they are without settings, and what those ask for that are nothing without."""

    own: Mapping[str, Provider]
    others: Mapping[str, Provider]
    silent: Mapping[str, list[str]]


class Offering:
    """`home` is where refreshed offers are kept and `tables` are the providers' settings, both for use without a provisioner."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._one_at_a_time = asyncio.Lock()
        self._kept: dict[str, Known] = {}
        self._drop: Handle | None = None
        self.home: Path | None = None
        self.tables: Mapping[str, Mapping[str, Any]] = {}

    async def catalog(self) -> Catalog:
        """Everything that is known, with what can be used from here and why not the rest. Raises SpecError for settings that are
        wrong."""
        async with self._providers() as installed:
            return await self._catalog(installed.own, installed.others)

    async def offers(self, query: OffersQuery) -> OffersView:
        """The cheapest of what was asked for. Raises UsageError for a query that cannot be read."""
        wanted = _filter(query)
        catalog = await self.catalog()
        obstacle = self.obstacle()
        barred = dict(catalog.barred)

        def work() -> OffersView:
            found = sorted(
                (offer for offer in catalog.offers if wanted(offer)),
                key=lambda one: (one.price, one.provider, one.region, one.zone, one.instance_type, one.spot),
            )
            items = [
                offer_view(one, "" if one.provider in catalog.usable else barred.get(one.provider, "") or _NO_SERVER)
                for one in found[: query.limit]
            ]
            items = [
                view if view.why else offer_view(one, obstacle(one)) for view, one in zip(items, found, strict=False)
            ]
            usable = sorted(catalog.usable)
            return OffersView(
                items, len(found), len(catalog.offers), catalog.at / 1_000, catalog.source, usable, barred
            )

        return await asyncio.to_thread(work)

    async def refresh(self) -> list[RefreshView]:
        """Ask the clouds of the providers in the settings for their offers, side by side, and keep the answers. Raises StoreError."""
        provisioner = self._shell.provisioner
        if provisioner is not None:
            catalog = await provisioner.refresh()
            return [
                RefreshView(name, sum(offer.provider == name for offer in catalog.offers), troubles)
                for name, provider in provisioner.providers.items()
                if provider.provisioner is not None
                for troubles in [provisioner.carrier.troubles.get(name, "")]
            ]
        async with self._providers() as installed:
            catalogs = self._catalogs()
            self._kept.clear()
            asked = [provider for provider in installed.own.values() if provider.provisioner is not None]
            return list(await asyncio.gather(*(_refresh(provider, catalogs) for provider in asked)))

    async def check(self) -> list[CheckView]:
        """Whether each provider can be used, all asked side by side, each within PATIENCE."""
        async with self._providers() as installed:
            asked = [
                *((name, provider, True) for name, provider in installed.own.items()),
                *((name, provider, False) for name, provider in installed.others.items()),
            ]
            found = await asyncio.gather(*(self._check(*one) for one in asked))
            silent = [
                CheckView(name, False, False, problems=[_absent(name)], hints=[_add(name), *hints])
                for name, hints in installed.silent.items()
            ]
            return [*found, *silent]

    def obstacle(self) -> Callable[[Offer], str]:
        """Why an offer that could be used cannot be had now, as it is in this moment; "" when it can."""
        refusals = dict(self._shell.engine.world.refusals)
        now = self._shell.clock.now()
        provisioner = self._shell.provisioner
        runs = provisioner.architectures if provisioner is not None else frozenset()

        def why(offer: Offer) -> str:
            if offer.arch not in runs:
                return (
                    f"no archive for {offer.arch} machines is on the server: styx bootstrap fetch --arch {offer.arch}"
                )
            found = refused(refusals, offer, now) if refusals else None
            return "" if found is None else why_refused(found.detail, found.until - now)

        return why

    async def _check(self, name: str, provider: Provider, configured: bool) -> CheckView:
        start = time.monotonic()
        provisioner = self._shell.provisioner
        if configured and provisioner is not None:
            found = await provisioner.check_one(name)
        else:
            found = await _ask(provider)
        problems, hints, usable = list(found.problems), list(found.hints), found.usable
        if not configured:
            usable = False
            problems.insert(0, _absent(name))
            hints.insert(0, _add(name))
        return CheckView(name, usable, configured, found.identity, problems, hints, time.monotonic() - start)

    async def _catalog(self, own: Mapping[str, Provider], others: Mapping[str, Provider]) -> Catalog:
        provisioner = self._shell.provisioner
        known: dict[str, Known] = {}
        barred: dict[str, str] = {}
        usable: frozenset[str] = frozenset()
        if provisioner is not None:
            now = provisioner.catalog
            usable, barred = now.usable, dict(now.barred)
            known[""] = Known(now.offers, now.at, now.source)
        async with self._one_at_a_time:  # a table of offers is large while it is read
            for name, provider in [*(own.items() if provisioner is None else ()), *others.items()]:
                try:
                    known[name] = await self._load(provider)
                except OSError as error:  # its table cannot be read: planning goes on without it
                    barred[name] = f"its offers cannot be read: {error.strerror or error}"
                    continue
                barred[name] = _NO_SERVER if name in own else _absent(name)
        return merged(known, usable, barred)

    async def _load(self, provider: Provider) -> Known:
        found = self._kept.get(provider.name)
        if found is None:
            found = self._kept[provider.name] = await asyncio.to_thread(self._catalogs().load, provider)
        if self._drop is not None:
            self._drop.cancel()
        self._drop = self._shell.clock.call_later(KEPT, self._kept.clear)
        return found

    def _catalogs(self) -> Catalogs:
        return Catalogs(None if self.home is None else self.home / FOLDER)

    @asynccontextmanager
    async def _providers(self) -> AsyncIterator[_Installed]:
        from styx.providers.registry import QUIET, available, make_all

        provisioner = self._shell.provisioner
        context = Context(self.home or Path(os.devnull), os.environ, self._shell.clock.now, asyncio.sleep)
        made: list[Provider] = []
        try:
            if provisioner is not None:
                own = provisioner.providers
            else:
                own = make_all(self.tables, context)
                made += own.values()
            others: dict[str, Provider] = {}
            silent: dict[str, list[str]] = {}
            for name in available():
                if name not in own and name not in QUIET:
                    try:
                        others |= make_all({name: {}}, context)
                    except SpecError as error:
                        silent[name] = [problem.hint for problem in error.problems if problem.hint]
            made += others.values()
            yield _Installed(own, others, silent)
        finally:
            for provider in made:
                await provider.close()


def _absent(name: str) -> str:
    return f"[providers.{name}] is not in styx.toml"


def _add(name: str) -> str:
    return f"add [providers.{name}] to styx.toml to use it"


async def _ask(provider: Provider) -> Check:
    try:
        async with asyncio.timeout(PATIENCE):
            return await provider.check()
    except TimeoutError:
        return Check(False, problems=(f"it did not answer within {PATIENCE:g} s",))


async def _refresh(provider: Provider, catalogs: Catalogs) -> RefreshView:
    assert provider.provisioner is not None
    try:
        offers = await provider.provisioner.offers()
    except (Refused, Unsure) as error:
        return RefreshView(provider.name, 0, error.message)
    if not offers:
        return RefreshView(provider.name, 0, "it says that it offers nothing; what was known before is kept")
    await asyncio.to_thread(catalogs.keep, provider, offers, time.time_ns() // 1_000_000)
    return RefreshView(provider.name, len(offers))


def offer_view(offer: Offer, why: str = "", *, fits: int = 0, machines: int = 0, chosen: bool = False) -> OfferView:
    resources = offer.resources
    return OfferView(
        offer.provider,
        offer.region,
        offer.zone,
        offer.instance_type,
        offer.spot,
        offer.price / MICROS,
        resources.cpus / 1_000,
        resources.memory,
        dict(resources.accelerators),
        resources.disk,
        offer.arch,
        why,
        fits,
        machines,
        machines * offer.price / MICROS,
        chosen,
    )


def why_refused(detail: str, left: int) -> str:
    """`left` are milliseconds."""
    return f"refused lately: {detail} (asked again in {time_text(left)})"


def _filter(query: OffersQuery) -> Callable[[Offer], bool]:
    demand, limit = _demand(query)
    exact = [
        (name, value)
        for name in ("provider", "region", "zone", "instance_type", "arch")
        if (value := getattr(query, name))
    ]
    sizes: dict[Resources, int] = {}

    def wanted(offer: Offer) -> bool:
        if any(getattr(offer, name) != value for name, value in exact):
            return False
        if (query.spot and offer.spot != (query.spot == "true")) or (limit and offer.price > limit):
            return False
        holds = sizes.get(offer.resources)
        if holds is None:
            holds = sizes[offer.resources] = how_many(demand, offer.resources)
        return holds > 0

    return wanted


def _demand(query: OffersQuery) -> tuple[Resources, int]:
    """What an offer must hold, and micros that it may cost (0: no limit)."""
    parts: dict[str, Any] = {"cpus": 0}
    limit = 0
    readers: dict[str, Callable[[object], Any]] = {
        "cpus": thousandths, "memory": byte_count, "accelerators": accelerator_counts, "max_hourly_cost": micros,
    }  # fmt: skip
    for name, read in readers.items():
        text = getattr(query, name).strip().removesuffix("+")
        if not text:
            continue
        try:
            value = read(text)
        except ValueError as error:
            raise UsageError(f"{name} must be {error}") from None
        if name == "max_hourly_cost":
            limit = value
        else:
            parts[name] = value
    return Resources(**parts), limit
