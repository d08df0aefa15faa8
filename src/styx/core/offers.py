"""Offers: what a provider would bring up, where, and for how much.

Money is counted in micros, millionths of a US dollar, and prices in micros an hour, so that a world rebuilt from the tables
agrees to the last digit.
"""

from __future__ import annotations

from enum import IntEnum

import msgspec

from styx.core.resources import Resources

__all__ = ["MICROS", "Catalog", "Offer", "Spot"]

MICROS = 1_000_000
"""Micros in a dollar."""


class Spot(IntEnum):
    """What a task says of machines that the cloud may take back at any time."""

    NO = 0  # on demand only
    YES = 1  # spot only
    PREFER = 2  # spot where there is any, else on demand


class Offer(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One way to get one machine. `zone` is empty where the cloud chooses it; `minimum` are the seconds billed at least; `quota` is what the
    provider calls the allowance that such a machine counts against in its region, empty: one of its family (`m5` of `m5.large`)."""

    provider: str
    region: str
    zone: str
    instance_type: str
    spot: bool
    price: int  # micros an hour
    resources: Resources
    arch: str = "x86_64"  # or "arm64"
    minimum: int = 60
    quota: str = ""

    @property
    def labels(self) -> dict[str, str]:
        """What a node is labelled with that such a machine becomes; an empty part is no label."""
        parts = {
            "provider": self.provider,
            "region": self.region,
            "zone": self.zone,
            "instance_type": self.instance_type,
            "arch": self.arch,
        }
        return {name: value for name, value in parts.items() if value}


class Catalog(msgspec.Struct, frozen=True):
    """Every offer that is known. `usable` names the providers that can be used from here; `barred` says of the others why not.
    `at` is the age of the oldest price in it (milliseconds since the epoch), `source` where they are from, for people."""

    offers: tuple[Offer, ...] = ()
    usable: frozenset[str] = frozenset()
    barred: tuple[tuple[str, str], ...] = ()
    at: int = 0
    source: str = ""
