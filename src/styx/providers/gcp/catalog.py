"""The offers that come with the program, so that planning works offline: `catalog.json.gz` beside this file, made by
`scripts/catalog_gcp.py`, which says where each fact is from.

It holds what machine types have, and the rates that Google publishes: per vCPU and per GiB of memory for each family and region, per
accelerator and zone, per GiB of the Local SSD that comes with some types; on demand and for Spot VMs. A price is their sum, and
where a part of it is not published there is no offer. A boot disk is billed besides, and is in no price.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from importlib.resources import files

import msgspec

from styx.core.offers import Offer
from styx.core.resources import Resources
from styx.providers.gcp.kinds import Kind, attachments, quota, usable_memory
from styx.providers.gcp.settings import region_of

__all__ = ["Book", "Shape", "book", "builtin", "known_zones", "priced"]

_DEMAND, _SPOT = 1, 2


class Shape(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A machine type. `sold`: 1 on demand, 2 as spot, 3 both."""

    cpus: int  # thousandths
    memory: int  # MiB
    accelerators: tuple[tuple[str, int], ...] = ()
    ssd: int = 0  # GiB
    sold: int = 3

    def resources(self, disk: int) -> Resources:
        return Resources(self.cpus, usable_memory(self.memory), disk, self.accelerators)

    def attached(self, name: str) -> Iterator[tuple[str, Shape]]:
        """The type of this name as it is, and with each accelerator that may be attached to it."""
        yield name, self
        for suffix, accelerator, count in attachments(name, self.cpus, self.memory):
            yield f"{name}{suffix}", msgspec.structs.replace(self, accelerators=((accelerator, count),))


class Book(msgspec.Struct, frozen=True):
    """The file. Rates are nano-dollars an hour: [per vCPU, per GiB] by family (or series) and region, and [on demand, spot] per
    accelerator by zone and per GiB of Local SSD by region, 0 where there is none."""

    date: str
    source: str
    types: dict[str, Shape]
    zones: dict[str, str]  # the families that a zone has
    demand: dict[str, dict[str, tuple[int, int]]]
    spot: dict[str, dict[str, tuple[int, int]]]
    accelerators: dict[str, dict[str, tuple[int, int]]]
    ssd: dict[str, tuple[int, int]]


@cache
def book() -> Book:
    packed = files("styx.providers.gcp").joinpath("catalog.json.gz").read_bytes()
    return msgspec.json.decode(gzip.decompress(packed), type=Book)


def known_zones() -> tuple[str, ...]:
    return tuple(book().zones)


def builtin(zones: Iterable[str], disk: int) -> tuple[Sequence[Offer], str]:
    """All offers of these zones, each with so many bytes of disk, and the date and the source of their prices."""
    known = book()
    offers: list[Offer] = []
    for zone in zones:
        families = known.zones.get(zone, "").split()
        for name, shape in known.types.items():
            if name.partition("-")[0] in families:
                offers += _offers(zone, name, shape, disk)
    return offers, f"{known.date}: {known.source}"


def _offers(zone: str, name: str, shape: Shape, disk: int) -> Iterator[Offer]:
    arch = Kind(name).arch
    for instance_type, whole in shape.attached(name):
        metric = quota(instance_type, whole.accelerators)
        for spot in (False, True):
            price = priced(zone, name, whole, spot=spot)
            if price:
                holds = whole.resources(disk)
                yield Offer("gcp", region_of(zone), zone, instance_type, spot, price, holds, arch, quota=metric)


def priced(zone: str, name: str, shape: Shape, *, spot: bool) -> int:
    """Micros an hour, rounded up; 0 where a part of the price is not known."""
    known, region = book(), region_of(zone)
    if not shape.sold & (_SPOT if spot else _DEMAND):
        return 0
    rates = known.spot if spot else known.demand
    family = rates.get("-".join(name.split("-")[:2]), {}).get(region) or rates.get(name.partition("-")[0], {}).get(
        region
    )
    if not family:
        return 0
    parts = [family[0] * shape.cpus // 1_000, family[1] * shape.memory // 1_024]
    for accelerator, count in shape.accelerators:
        each = known.accelerators.get(accelerator, {}).get(zone, (0, 0))[spot]
        if not each:
            return 0
        parts.append(each * count)
    if shape.ssd:
        each = known.ssd.get(region, (0, 0))[spot]
        if not each:
            return 0
        parts.append(each * shape.ssd)
    return -(-sum(parts) // 1_000)
