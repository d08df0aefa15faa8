"""What the project's own APIs show that there is, and what it costs, for `styx offers --refresh`.

Compute Engine says what each zone has: machine types with what they hold, and accelerators that can be attached. The Cloud Billing catalog
has the prices, as SKUs: one per vCPU and one per GiB of memory of each family and region, one per accelerator, one per GiB of Local SSD,
on demand and for Spot VMs. A SKU says what it is for in its description alone, which is English prose of fixed forms; what is not of
one of these forms (commitments, custom machines, sole tenancy) is passed over. Where a part of a price is not found there, or the
catalog cannot be read at all, the built-in price counts; a type without any is no offer.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from styx.core.offers import Offer
from styx.providers.base import Refused, Unsure
from styx.providers.gcp.api import Api
from styx.providers.gcp.catalog import Shape, book, priced
from styx.providers.gcp.kinds import ACCELERATORS, plain_name, quota
from styx.providers.gcp.settings import Settings, region_of

__all__ = ["Prices", "offered", "survey"]

_LIMIT = 120.0  # seconds for one page
_PAGE = 500  # entries: a page is decoded in one go, in the loop
_SKUS = "services/6F81-5844-456A/skus"  # of Compute Engine
_TYPE_FIELDS = (
    "items(name,guestCpus,memoryMb,isSharedCpu,architecture,accelerators,bundledLocalSsds,deprecated),nextPageToken"
)
_SSD = 375  # GiB of one Local SSD, but for those of the family Z3
_HOURS = 730  # in a month, for what is priced by it

_PART = re.compile(
    r"(?:Spot Preemptible )?(?:(?P<family>[A-Z]\d[A-Z]?)(?: Predefined| AMD| Arm| Memory-optimized)? Instance|(?P<named>Compute optimized|"
    r"Memory-optimized Instance)) (?P<part>Core|Ram) running in .+"
)
_NAMED = {"Compute optimized": "c2", "Memory-optimized Instance": "m1"}
_CARD = re.compile(
    r"Nvidia (?P<card>Tesla [APTV]\d+(?: 80GB)?|L4|H100 80GB|H100 80GB Mega|H200 141GB|B200) GPU(?: attached to Spot Preemptible VMs)? "
    r"running in .+"
)
_CARDS = {
    "Tesla T4": "T4",
    "Tesla P4": "P4",
    "Tesla P100": "P100",
    "Tesla V100": "V100",
    "Tesla A100": "A100",
    "Tesla A100 80GB": "A100-80GB",
    "L4": "L4",
    "H100 80GB": "H100",
    "H100 80GB Mega": "H100-MEGA",
    "H200 141GB": "H200",
    "B200": "B200",
}
_LOCAL = re.compile(r"SSD backed Local Storage(?: attached to Spot Preemptible VMs)?(?: in .+)?")


class Prices(msgspec.Struct):
    """Nano-dollars an hour by (what, region, spot): per vCPU and per GiB by family, per accelerator, per GiB of Local SSD."""

    cores: dict[tuple[str, str, bool], int] = {}
    memory: dict[tuple[str, str, bool], int] = {}
    cards: dict[tuple[str, str, bool], int] = {}
    ssd: dict[tuple[str, bool], int] = {}

    def read(self, sku: Mapping[str, Any]) -> None:
        """Take what one SKU says, if it is of use."""
        category = sku.get("category") or {}
        usage = category.get("usageType")
        if category.get("resourceFamily") not in {"Compute", "Storage"} or usage not in {"OnDemand", "Preemptible"}:
            return
        text, spot = str(sku.get("description") or ""), usage == "Preemptible"
        unit, nanos = _rate(sku)
        for region in (sku.get("serviceRegions") or []) if nanos else ():
            if (part := _PART.fullmatch(text)) is not None:
                family = _NAMED[part["named"]] if part["named"] else part["family"].lower()
                rates = self.cores if part["part"] == "Core" else self.memory
                rates[family, region, spot] = nanos
            elif (card := _CARD.fullmatch(text)) is not None:
                self.cards[_CARDS[card["card"]], region, spot] = nanos
            elif _LOCAL.fullmatch(text) is not None:
                self.ssd[region, spot] = nanos // _HOURS if unit.endswith("mo") else nanos

    def price(self, zone: str, name: str, shape: Shape, *, spot: bool) -> int:
        """Micros an hour, rounded up; 0 where a part of it is not known, or what is sold otherwise alone."""
        if not shape.sold & (2 if spot else 1):
            return 0
        family, region = name.partition("-")[0], region_of(zone)
        core, memory = self.cores.get((family, region, spot), 0), self.memory.get((family, region, spot), 0)
        cards = [(self.cards.get((card, region, spot), 0), count) for card, count in shape.accelerators]
        ssd = self.ssd.get((region, spot), 0)
        if not core or not memory or not all(each for each, _ in cards) or (shape.ssd and not ssd):
            return 0
        whole = core * shape.cpus // 1_000 + memory * shape.memory // 1_024 + sum(each * count for each, count in cards)
        return -(-(whole + ssd * shape.ssd) // 1_000)


def _rate(sku: Mapping[str, Any]) -> tuple[str, int]:
    """The unit, and nano-dollars of it; the price that is valid now is the last that is listed."""
    for info in reversed(sku.get("pricingInfo") or []):
        expression = info.get("pricingExpression") or {}
        for tier in reversed(expression.get("tieredRates") or []):
            price = tier.get("unitPrice") or {}
            if price.get("currencyCode", "USD") == "USD":
                return str(expression.get("usageUnit") or ""), int(price.get("units") or 0) * 10**9 + int(
                    price.get("nanos") or 0
                )
    return "", 0


async def survey(api: Api, settings: Settings) -> list[Offer]:
    """Errors: Refused, Unsure; of the first zone that has one, since a catalog without it would hide it."""
    try:
        async with asyncio.TaskGroup() as tasks:
            prices = tasks.create_task(_prices(api))
            zones = {zone: tasks.create_task(_zone(api, zone)) for zone in settings.zones}
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
    found: list[Offer] = []
    for zone, task in zones.items():
        types, cards = task.result()
        found += offered(zone, types, cards, prices.result(), settings.disk)
    return found


async def _prices(api: Api) -> Prices:
    """What can be read of them: the catalog is open to every account, but its API may not be enabled."""
    found, token = Prices(), ""
    try:
        while True:
            query = {"pageSize": str(_PAGE), "currencyCode": "USD", **({"pageToken": token} if token else {})}
            page = await api.billing(_SKUS, "skus.list", query)
            for sku in page.get("skus") or []:
                found.read(sku)
            token = str(page.get("nextPageToken") or "")
            if not token:
                return found
    except (Refused, Unsure):
        return Prices()


async def _zone(api: Api, zone: str) -> tuple[dict[str, tuple[Shape, str]], dict[str, int]]:
    """Its machine types, and the accelerators that may be attached, with how many at most."""
    types: dict[str, tuple[Shape, str]] = {}
    query = {"maxResults": str(_PAGE), "fields": _TYPE_FIELDS}
    async for page in api.pages(
        f"zones/{zone}/machineTypes", f"machineTypes.list in {zone}", query=query, limit=_LIMIT
    ):
        for said in page.get("items") or []:
            shape = _shape(said)
            if shape is not None:
                types[str(said["name"])] = shape, "arm64" if said.get("architecture") == "ARM64" else "x86_64"
    cards: dict[str, int] = {}
    async for page in api.pages(f"zones/{zone}/acceleratorTypes", f"acceleratorTypes.list in {zone}", limit=_LIMIT):
        for said in page.get("items") or []:
            cards[str(said.get("name"))] = int(said.get("maximumCardsPerInstance") or 0)
    return types, cards


def _shape(said: Mapping[str, Any]) -> Shape | None:
    """None for what is not sold any more, has an accelerator without a common name, or a price of which a part cannot be known."""
    name = str(said.get("name") or "")
    known = book().types.get(name)
    if known is not None:
        return known
    if said.get("isSharedCpu") or (said.get("deprecated") or {}).get("state") in {"OBSOLETE", "DELETED"}:
        return None
    has: dict[str, int] = {}
    for guest in said.get("accelerators") or []:
        plain = plain_name(str(guest.get("guestAcceleratorType") or ""))
        if not plain:
            return None
        has[plain] = has.get(plain, 0) + int(guest.get("guestAcceleratorCount") or 0)
    drives = int((said.get("bundledLocalSsds") or {}).get("partitionCount") or 0)
    if drives and name.startswith("z3-"):
        return None
    return Shape(int(said["guestCpus"]) * 1_000, int(said["memoryMb"]), tuple(sorted(has.items())), drives * _SSD)


def offered(
    zone: str, types: Mapping[str, tuple[Shape, str]], cards: Mapping[str, int], prices: Prices, disk: int
) -> Iterable[Offer]:
    """Offers of one zone; `cards` by Google's names."""
    for name, (alone, arch) in sorted(types.items()):
        for instance_type, shape in alone.attached(name):
            if shape is not alone and not _attachable(shape, cards):
                continue
            for spot in (False, True):
                price = prices.price(zone, name, shape, spot=spot) or priced(zone, name, shape, spot=spot)
                if price:
                    holds, metric = shape.resources(disk), quota(instance_type, shape.accelerators)
                    yield Offer("gcp", region_of(zone), zone, instance_type, spot, price, holds, arch, quota=metric)


def _attachable(shape: Shape, cards: Mapping[str, int]) -> bool:
    return all(count <= cards.get(ACCELERATORS[name], 0) for name, count in shape.accelerators)
