"""How long does it take to choose the cheapest of a thousand offers, of ten and of a hundred thousand?

CPU time of the core alone, for the slowest of five demands. A catalog (sizes, prices, regions, zones and spot drawn from a fixed seed;
accelerators on an eighth of the types) is asked the first time, which makes its index, and again; then for all that fit in their order, with a
memory of 200 refused offers; and for why each of the others lost, which `styx plan` shows."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from functools import partial

import msgspec
from kit import Figure, Options, main

from styx.core.offers import Catalog, Offer, Spot
from styx.core.ranking import best, ranked
from styx.core.resources import Resources
from styx.core.spec import Choice
from styx.core.verdicts import judged

GB = 1 << 30
KINDS = ("A100", "H100", "L4", "T4", "V100")
DEMANDS = (
    (Choice(),),
    (Choice(Resources(4_000, 16 * GB), spot=Spot.PREFER),),
    (Choice(Resources(1_000, 0, 0, (("A100", 8),)), spot=Spot.PREFER),),
    (
        Choice(Resources(8_000, 32 * GB), (("region", "r3"),)),
        Choice(Resources(1_000, 0, 0, (("L4", 1),)), spot=Spot.YES),
        Choice(Resources(16_000), max_hourly=2_000_000),
    ),
    (Choice(Resources(1_000, 0, 0, (("B300", 1),))),),  # fits none
)
COUNTS = (1_000, 10_000, 100_000)
REFUSED = 200


def offers(count: int) -> Iterator[Offer]:
    chance = random.Random(7)
    types = []
    for n in range(max(1, count // 20)):
        cpus = chance.choice((1, 2, 4, 8, 16, 32, 64, 96))
        kind = ((chance.choice(KINDS), chance.choice((1, 2, 4, 8))),) if not n % 8 else ()
        types.append(
            (f"type-{n}", Resources(cpus * 1_000, cpus * chance.choice((2, 4, 8)) * GB, 0, kind), cpus * 50_000)
        )
    for n in range(count):
        name, size, price = types[n // 20 % len(types)]
        region = n % 5
        here = round(price * chance.uniform(0.8, 1.3))
        spot = n % 2 == 1
        where = f"r{region}"
        yield Offer("cloud", where, f"{where}{'abcd'[n % 4]}", name, spot, here // (3 if spot else 1), size)


def milliseconds(work: Callable[[], object]) -> float:
    begin = time.thread_time()
    work()
    return (time.thread_time() - begin) * 1_000


def slowest(work: Callable[[tuple[Choice, ...]], object]) -> float:
    """Of the demands, the one that takes longest."""
    return max(milliseconds(partial(work, choices)) for choices in DEMANDS)


def measure(options: Options) -> list[Figure]:
    figures: list[Figure] = []
    for count in COUNTS:
        catalog = Catalog(tuple(offers(count)), frozenset({"cloud"}))
        refused = {id(offer) for offer in random.Random(3).sample(catalog.offers, min(REFUSED, count))}

        def avoid(offer: Offer, refused: set[int] = refused) -> bool:
            return id(offer) in refused

        def first(choices: tuple[Choice, ...], catalog: Catalog = catalog) -> object:
            return best(msgspec.structs.replace(catalog), choices, False, 1, avoid)

        def again(choices: tuple[Choice, ...], catalog: Catalog = catalog) -> object:
            return best(catalog, choices, False, 3, avoid)

        def sort(choices: tuple[Choice, ...], catalog: Catalog = catalog) -> object:
            return ranked(catalog, choices, False, 3, avoid)

        def explain(choices: tuple[Choice, ...], catalog: Catalog = catalog) -> object:
            return judged(catalog, choices, False, 3)

        for what, work in (
            ("the first time", first),
            ("again", again),
            ("all that fit, in order", sort),
            ("why each lost", explain),
        ):
            slowest(work)
            values = [slowest(work) for _ in range(options.rounds)]
            figures.append(Figure(f"of {count:,} offers, {what}", "ms", values, less=True))
    return figures


if __name__ == "__main__":
    main("How long does it take to choose the cheapest of many offers?", measure, rounds=5)
