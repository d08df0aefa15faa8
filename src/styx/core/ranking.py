"""Which offers could hold a task, the best first."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from styx.core.offers import Catalog, Offer, Spot
from styx.core.resources import Resources
from styx.core.spec import Choice

__all__ = ["Candidate", "how_many", "ranked"]

_PLACE = {"provider", "region", "zone", "instance_type", "arch"}


class Candidate(msgspec.Struct, frozen=True, gc=False):
    """An offer that could hold elements of alternative `choice`: `fits` of them at once."""

    offer: Offer
    choice: int
    fits: int


def ranked(
    catalog: Catalog, choices: Sequence[Choice], ordered: bool, count: int, avoid: Callable[[Offer], bool]
) -> list[Candidate]:
    """The usable offers for `count` elements, the cheapest first."""
    found: list[tuple[tuple[object, ...], Candidate]] = []
    for index, choice in enumerate(choices):
        for offer in catalog.offers:
            if offer.provider not in catalog.usable or not _holds(offer, choice) or avoid(offer):
                continue
            fits = how_many(choice.resources, offer.resources)
            machines = -(-count // fits)
            rank = (
                index if ordered else 0,
                choice.spot == Spot.PREFER and not offer.spot,
                machines * offer.price,
                offer.provider,
                offer.region,
                offer.zone,
                offer.instance_type,
            )
            found.append((rank, Candidate(offer, index, fits)))
    return [candidate for _, candidate in sorted(found, key=lambda entry: entry[0])]


def how_many(demand: Resources, room: Resources) -> int:
    """How many of these fit into the room."""
    if not demand.fits(room):
        return 0
    parts = [room.cpus // demand.cpus] if demand.cpus else []
    parts += [room.memory // demand.memory] if demand.memory else []
    parts += [room.disk // demand.disk] if demand.disk else []
    there = dict(room.accelerators)
    parts += [there.get(name, 0) // count for name, count in demand.accelerators]
    return min(parts, default=1)


def _holds(offer: Offer, choice: Choice) -> bool:
    if (choice.spot == Spot.NO and offer.spot) or (choice.spot == Spot.YES and not offer.spot):
        return False
    if choice.max_hourly and offer.price > choice.max_hourly:
        return False
    labels = offer.labels
    for name, value in choice.labels:
        if (name, value) != ("spot", "true") and (name not in _PLACE or labels.get(name) != value):
            return False
    return choice.resources.fits(offer.resources)
