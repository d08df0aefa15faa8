"""What the account's own APIs say there is and what it costs, for `styx offers --refresh`.

For each region, side by side: what its types hold (DescribeInstanceTypes), which zones have them (DescribeInstanceTypeOfferings),
what spot machines cost there now (DescribeSpotPriceHistory), and what machines on demand cost (the Pricing API, which answers for
all regions in us-east-1). An account that may not use the Pricing API gets the built-in prices; a type without a price is no offer.
"""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime
from typing import Any

import msgspec

from styx.core.offers import MICROS, Offer
from styx.providers.aws.catalog import prices as builtin_prices
from styx.providers.aws.clients import Clients, side_by_side
from styx.providers.aws.kinds import InstanceType, described, quota
from styx.providers.aws.settings import Settings
from styx.providers.base import Refused, Unsure

__all__ = ["micros", "offered", "survey"]

_LIMIT = 120.0  # seconds for one page
_LINUX = "Linux/UNIX"
_AMOUNT = re.compile(r"\d{1,9}(?:\.\d{1,12})?")


async def survey(clients: Clients, settings: Settings) -> list[Offer]:
    """Errors: Refused, Unsure; of the first region that has one, since a catalog without it would hide it."""
    async with side_by_side() as tasks:
        found = [tasks.create_task(_region(clients, region, settings.disk)) for region in settings.regions]
    return [offer for offers in found for offer in offers.result()]


async def _region(clients: Clients, region: str, disk: int) -> list[Offer]:
    async with side_by_side() as tasks:
        types = tasks.create_task(_types(clients, region))
        zones = tasks.create_task(_zones(clients, region))
        spot = tasks.create_task(_spot_prices(clients, region))
        demand = tasks.create_task(_prices(clients, region))
    return offered(region, types.result(), zones.result(), spot.result(), demand.result(), disk)


def offered(
    region: str,
    types: dict[str, InstanceType],
    zones: set[tuple[str, str]],
    spot: dict[tuple[str, str], int],
    demand: dict[str, int],
    disk: int,
) -> list[Offer]:
    """Offers of one region; keys are (type, zone) and types, prices are micros an hour."""
    offers: list[Offer] = []
    for name, zone in sorted(zones):
        kind = types.get(name)
        if kind is None:
            continue
        for is_spot, price in ((False, demand.get(name, 0)), (True, spot.get((name, zone), 0))):
            if price:
                holds, group = kind.resources(disk), quota(name, spot=is_spot)
                offers.append(Offer("aws", region, zone, name, is_spot, price, holds, kind.arch, quota=group))
    return offers


async def _types(clients: Clients, region: str) -> dict[str, InstanceType]:
    found: dict[str, InstanceType] = {}
    async for page in clients.pages("ec2", region, "describe_instance_types", limit=_LIMIT):
        for said in page.get("InstanceTypes") or []:
            kind = described(said)
            if kind is not None:
                found[kind.name] = kind
    return found


async def _zones(clients: Clients, region: str) -> set[tuple[str, str]]:
    found: set[tuple[str, str]] = set()
    pages = clients.pages(
        "ec2", region, "describe_instance_type_offerings", limit=_LIMIT, LocationType="availability-zone"
    )
    async for page in pages:
        found |= {(str(o["InstanceType"]), str(o["Location"])) for o in page.get("InstanceTypeOfferings") or []}
    return found


async def _spot_prices(clients: Clients, region: str) -> dict[tuple[str, str], int]:
    """With a start that is now the answer has each type's and zone's latest price."""
    found: dict[tuple[str, str], tuple[datetime, int]] = {}
    pages = clients.pages(
        "ec2",
        region,
        "describe_spot_price_history",
        limit=_LIMIT,
        StartTime=datetime.now(UTC),
        ProductDescriptions=[_LINUX, f"{_LINUX} (Amazon VPC)"],
    )
    async for page in pages:
        for said in page.get("SpotPriceHistory") or []:
            key = (str(said["InstanceType"]), str(said["AvailabilityZone"]))
            price, at = micros(str(said.get("SpotPrice") or "")), said["Timestamp"]
            if price and (key not in found or at >= found[key][0]):
                found[key] = (at, price)
    return {key: price for key, (_, price) in found.items()}


async def _prices(clients: Clients, region: str) -> dict[str, int]:
    wanted = {
        "regionCode": region,
        "operatingSystem": "Linux",
        "tenancy": "Shared",
        "preInstalledSw": "NA",
        "capacitystatus": "Used",
    }
    filters = [{"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in wanted.items()]
    found: dict[str, int] = {}
    try:
        pages = clients.pages(
            "pricing", "us-east-1", "get_products", limit=_LIMIT, ServiceCode="AmazonEC2", Filters=filters
        )
        async for page in pages:
            for text in page.get("PriceList") or []:
                name, price = _product(msgspec.json.decode(text))
                if price:
                    found[name] = price
    except (Refused, Unsure, msgspec.DecodeError):
        found = {}
    return found or await asyncio.to_thread(builtin_prices, region)


def _product(said: Any) -> tuple[str, int]:
    """The instance type and its price on demand of one entry of the price list."""
    name = str(said["product"]["attributes"].get("instanceType") or "")
    for term in (said.get("terms", {}).get("OnDemand") or {}).values():
        for dimension in term["priceDimensions"].values():
            if dimension.get("unit") == "Hrs":
                return name, micros(str(dimension["pricePerUnit"].get("USD") or ""))
    return name, 0


def micros(dollars: str) -> int:
    """0 for what is no amount. Rounded up, so that nothing costs more than it says."""
    if not _AMOUNT.fullmatch(dollars.strip()):
        return 0
    whole, _, part = dollars.strip().partition(".")
    return int(whole) * MICROS + -(-int(part.ljust(12, "0")) // 1_000_000)
