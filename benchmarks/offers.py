"""How long does it take to choose the cheapest of ten thousand offers?

    python benchmarks/offers.py [--offers N] [--rounds N]

A catalog of N offers (sizes, prices, regions, zones and spot drawn from a fixed seed; accelerators on an eighth of the types) is asked
for several demands. `first` is a catalog that has not been asked before, so that its index is made; `best` finds the one that is taken,
`ranked` sorts all that fit, both with a memory of 200 refused offers; `explained` says of every other offer why it lost.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable, Iterator

import msgspec

from styx.core.offers import Catalog, Offer, Spot
from styx.core.ranking import best, ranked
from styx.core.resources import Resources
from styx.core.spec import Choice
from styx.core.verdicts import judged

GB = 1 << 30
KINDS = ("A100", "H100", "L4", "T4", "V100")
DEMANDS = {
    "one CPU": (Choice(),),
    "4 CPUs, 16 GiB, spot preferred": (Choice(Resources(4_000, 16 * GB), spot=Spot.PREFER),),
    "8 x A100, spot preferred": (Choice(Resources(1_000, 0, 0, (("A100", 8),)), spot=Spot.PREFER),),
    "any of three": (
        Choice(Resources(8_000, 32 * GB), (("region", "r3"),)),
        Choice(Resources(1_000, 0, 0, (("L4", 1),)), spot=Spot.YES),
        Choice(Resources(16_000), max_hourly=2_000_000),
    ),
    "nothing fits": (Choice(Resources(1_000, 0, 0, (("B300", 1),))),),
}


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


def milliseconds(work: Callable[[], object], rounds: int) -> dict[str, float]:
    spans = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        spans.append((time.perf_counter() - start) * 1_000)
    return {"median": round(statistics.median(spans), 3), "worst": round(max(spans), 3)}


def _of(
    catalog: Catalog, choices: tuple[Choice, ...], avoid: Callable[[Offer], bool], rounds: int
) -> dict[str, dict[str, float]]:
    return {
        "first": milliseconds(lambda: best(msgspec.structs.replace(catalog), choices, False, 1, avoid), 9),
        "best": milliseconds(lambda: best(catalog, choices, False, 3, avoid), rounds),
        "ranked": milliseconds(lambda: ranked(catalog, choices, False, 3, avoid), rounds),
        "explained": milliseconds(lambda: judged(catalog, choices, False, 3), 9),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--offers", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=50)
    options = parser.parse_args()
    catalog = Catalog(tuple(offers(options.offers)), frozenset({"cloud"}))
    refused = {id(offer) for offer in random.Random(3).sample(catalog.offers, min(200, options.offers))}

    def avoid(offer: Offer) -> bool:
        return id(offer) in refused

    result: dict[str, object] = {"offers": len(catalog.offers), "milliseconds": {}}
    for name, choices in DEMANDS.items():
        result["milliseconds"][name] = _of(catalog, choices, avoid, options.rounds)  # type: ignore[index]
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
