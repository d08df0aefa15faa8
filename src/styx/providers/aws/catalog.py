"""The offers that come with the program, so that planning works offline: `catalog.json.gz` beside this file, made by
`scripts/catalog_aws.py`, which says where each fact is from.

It holds every instance type that is known (what it holds, and its architecture), regions with their zones, and prices on demand for
Linux with shared tenancy by region. A type that has no price in a region is no offer there: no price is made up. Spot prices change by
the minute, so those here are estimates, the published average ratio to the price on demand of each class of machines, and the
source says so. Zones are named a, b, c of each region, which every account has; what is really where, `styx offers --refresh` tells.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.resources import files

import msgspec

from styx.core.offers import Offer
from styx.providers.aws.kinds import InstanceType, quota

__all__ = ["Book", "book", "builtin", "known_regions", "prices"]


class Book(msgspec.Struct, frozen=True):
    """The file. A type is [vCPUs, MiB, arm64?, [[accelerator, count], ...], spot price as thousandths of the one on demand];
    prices are micros an hour by region and type."""

    date: str
    source: str
    types: dict[str, tuple[int, int, bool, tuple[tuple[str, int], ...], int]]
    zones: dict[str, tuple[str, ...]]
    prices: dict[str, dict[str, int]]


def book() -> Book:
    """Read anew each time, in 20 ms: it is wanted rarely, and would be 2 MB to keep."""
    packed = files("styx.providers.aws").joinpath("catalog.json.gz").read_bytes()
    return msgspec.json.decode(gzip.decompress(packed), type=Book)


@cache
def known_regions() -> tuple[str, ...]:
    return tuple(book().zones)


def prices(region: str) -> dict[str, int]:
    """Micros an hour on demand by type; empty for a region that is not known."""
    return dict(book().prices.get(region, {}))


def builtin(regions: Iterable[str], disk: int) -> tuple[Sequence[Offer], str]:
    """All offers of these regions, each with so many bytes of disk, and the date and the source of their prices."""
    known = book()
    offers: list[Offer] = []
    for region in regions:
        zones = known.zones.get(region, ())
        for name, price in known.prices.get(region, {}).items():
            vcpus, memory, arm, accelerators, ratio = known.types[name]
            arch = "arm64" if arm else "x86_64"
            holds = InstanceType(name, vcpus, memory, arch, accelerators).resources(disk)
            on_demand, as_spot = quota(name, spot=False), quota(name, spot=True)
            for zone in zones:
                offers.append(Offer("aws", region, zone, name, False, price, holds, arch, quota=on_demand))
                if ratio:
                    estimate = price * ratio // 1_000
                    offers.append(Offer("aws", region, zone, name, True, estimate, holds, arch, quota=as_spot))
    return offers, f"{known.date}: {known.source}"
