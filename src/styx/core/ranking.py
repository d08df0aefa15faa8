"""Which offers could hold a task, the cheapest first.

An offer fits when it holds at least one element, meets the place labels, and is within the spot policy and `max_hourly`. Of those that
fit, whatever holds all that waits for the least money an hour is the best: n elements of which an offer holds k at once cost
ceil(n / k) times its price, so that tasks share a large machine where that is cheaper. Ties go by provider, region, zone, type,
spot and alternative, so that the same question always has the same answer.

`ordered` alternatives come one after the other; else all compete. With `Spot.PREFER` the machines on demand of an alternative come
after everything else, as long as there is a spot machine for that alternative.

A catalog has ten thousand offers of about a thousand different sizes, and is asked often. So it is indexed once: offers of one
size are sorted by price, and what holds a demand is worked out a size at a time and remembered. Candidates are then drawn from the
heads of these lists, and only what is drawn is looked at. `benchmarks/offers.py` measures it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import heapify, heappop, heapreplace, merge
from itertools import chain

import msgspec

from styx.core.offers import Catalog, Offer, Spot
from styx.core.resources import Resources
from styx.core.spec import Choice

__all__ = ["PLACE_LABELS", "Avoid", "Candidate", "best", "candidates", "cheapest_for", "how_many", "ranked", "within"]

PLACE_LABELS = ("provider", "region", "zone", "instance_type", "arch")
"""Labels that an offer can meet. No machine that is brought up carries another one."""

Avoid = Callable[[Offer], bool]
_Labels = tuple[tuple[str, str], ...]
_Key = tuple[str, ...]
_Rank = tuple[int, int, _Key, bool, int, int, int]
_Sizes = list[tuple[int, list[Offer], list[_Key]]]

_SPOT = ("spot", "true")  # lets a task onto spot machines; `Choice.spot` says whether one is asked for
_VIEWS, _DEMANDS, _CATALOGS = (
    32,
    128,
    4,
)  # that are remembered; of catalogs those in use, and those that come in their place


class Candidate(msgspec.Struct, frozen=True, gc=False):
    """An offer that could hold elements of alternative `choice`: `fits` of them at once."""

    offer: Offer
    choice: int
    fits: int

    def machines(self, count: int) -> int:
        """How many of them hold so many elements at once."""
        return -(-count // self.fits)


def ranked(catalog: Catalog, choices: Sequence[Choice], ordered: bool, count: int, avoid: Avoid) -> list[Candidate]:
    """The usable offers for `count` elements, the cheapest first."""
    return list(candidates(catalog, choices, ordered, count, avoid))


def best(catalog: Catalog, choices: Sequence[Choice], ordered: bool, count: int, avoid: Avoid) -> Candidate | None:
    """The first of `ranked`, in a fraction of the time."""
    return next(candidates(catalog, choices, ordered, count, avoid), None)


def cheapest_for(
    catalog: Catalog, choices: Sequence[Choice], ordered: bool, count: int, avoid: Avoid, most: int
) -> tuple[Candidate, int] | None:
    """The best offer for `count` elements, and how many machines of it to bring up, at most `most`: what these do not hold at once
    follows on them, which costs the same."""
    found = best(catalog, choices, ordered, count, avoid) if most > 0 else None
    return None if found is None else (found, min(most, found.machines(count)))


def candidates(
    catalog: Catalog, choices: Sequence[Choice], ordered: bool, count: int, avoid: Avoid
) -> Iterator[Candidate]:
    """`ranked`, one at a time; `avoid` is asked about those only that are drawn."""
    index = _index_of(catalog)
    streams = [_of_choice(index, at, choice, max(1, count), avoid) for at, choice in enumerate(choices)]
    drawn = chain.from_iterable(streams) if ordered else merge(*streams)
    return (candidate for _, candidate in drawn)


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


def within(offer: Offer, labels: _Labels) -> bool:
    """Whether a machine of this offer would carry these labels."""
    for label in labels:
        if label != _SPOT and (label[0] not in PLACE_LABELS or getattr(offer, label[0]) != label[1]):
            return False
    return True


def _of_choice(index: _Index, at: int, choice: Choice, count: int, avoid: Avoid) -> Iterator[tuple[_Rank, Candidate]]:
    """What fits one alternative, in the order of the ranks."""
    late = 0
    if choice.spot != Spot.NO:
        for drawn in _draw(index.view(choice.labels, True), at, choice, count, avoid, 0):
            late = 1
            yield drawn
    if choice.spot != Spot.YES:
        yield from _draw(index.view(choice.labels, False), at, choice, count, avoid, late)


def _draw(
    view: _View, at: int, choice: Choice, count: int, avoid: Avoid, late: int
) -> Iterator[tuple[_Rank, Candidate]]:
    limit = choice.max_hourly
    sizes = view.holding(choice.resources)
    heads = [
        (-(-count // fits) * offers[0].price, keys[0], number, 0)
        for number, (fits, offers, keys) in enumerate(sizes)
        if not limit or offers[0].price <= limit
    ]
    heapify(heads)
    while heads:
        cost, key, number, position = heads[0]
        fits, offers, keys = sizes[number]
        offer = offers[position]
        further = position + 1
        if further < len(offers) and (not limit or offers[further].price <= limit):
            heapreplace(heads, (-(-count // fits) * offers[further].price, keys[further], number, further))
        else:
            heappop(heads)
        if not avoid(offer):
            yield (late, cost, key, offer.spot, at, number, position), Candidate(offer, at, fits)


class _View:
    """The usable offers that carry some labels, spot ones or the others, by their size."""

    def __init__(self, offers: Iterable[tuple[_Key, Offer]]) -> None:
        sizes: dict[Resources, tuple[list[Offer], list[_Key]]] = {}
        for key, offer in offers:  # these are sorted by price
            some = sizes.get(offer.resources)
            if some is None:
                some = sizes[offer.resources] = ([], [])
            some[0].append(offer)
            some[1].append(key)
        self._sizes = [(size, *some) for size, some in sizes.items()]
        self._holding: dict[Resources, _Sizes] = {}

    def holding(self, demand: Resources) -> _Sizes:
        """(how many it holds, offers, their keys) for each size that holds at least one."""
        known = self._holding.get(demand)
        if known is None:
            cpus, memory = demand.cpus, demand.memory
            known = [
                (how_many(demand, size), offers, keys)
                for size, offers, keys in self._sizes
                if cpus <= size.cpus and memory <= size.memory and demand.fits(size)
            ]
            if len(self._holding) >= _DEMANDS:
                self._holding.clear()
            self._holding[demand] = known
        return known


class _Index:
    """The usable offers of one catalog, sorted once; views of them are made when they are first asked for."""

    def __init__(self, catalog: Catalog) -> None:
        usable = catalog.usable
        found = [
            (one.price, (one.provider, one.region, one.zone, one.instance_type), at)
            for at, one in enumerate(catalog.offers)
            if one.provider in usable
        ]
        self._offers = [(key, catalog.offers[at]) for _, key, at in sorted(found)]
        self._views: dict[tuple[_Labels, bool], _View] = {}

    def view(self, labels: _Labels, spot: bool) -> _View:
        known = self._views.get((labels, spot))
        if known is None:
            known = _View(pair for pair in self._offers if pair[1].spot == spot and within(pair[1], labels))
            if len(self._views) >= _VIEWS:
                self._views.clear()
            self._views[labels, spot] = known
        return known


_indexes: list[tuple[Catalog, _Index]] = []
"""Of the catalogs asked last. What is remembered follows from the catalog alone, and a catalog never changes."""


def _index_of(catalog: Catalog) -> _Index:
    for known, index in _indexes:
        if known is catalog:
            return index
    index = _Index(catalog)
    _indexes.insert(0, (catalog, index))
    del _indexes[_CATALOGS:]
    return index
