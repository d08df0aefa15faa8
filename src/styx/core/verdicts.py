"""What is said of every offer in a catalog, for people who ask where a task would go: those that fit in the order of `ranking`, usable
or not, and how many of the others lost by what.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from styx.core.fit import missing
from styx.core.offers import Catalog, Offer, Spot
from styx.core.ranking import PLACE_LABELS, Candidate, how_many
from styx.core.resources import Resources
from styx.core.spec import Choice

__all__ = ["Judged", "Verdict", "judged"]

_WORDS = {"instance_type": "instance type", "arch": "architecture"}
_SPOT = ("spot", "true")


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """An offer that fits; `why` it cannot be used now, empty when it can. `machines` hold what waits at once."""

    candidate: Candidate
    machines: int
    why: str = ""


class Judged(msgspec.Struct, frozen=True):
    """`lost` counts the offers that fit no alternative by the reason that the nearest alternative gives, the most frequent first."""

    fitting: list[Verdict]
    lost: dict[str, int]

    @property
    def best(self) -> Verdict | None:
        """The one that would be taken."""
        return next((one for one in self.fitting if not one.why), None)


def judged(
    catalog: Catalog,
    choices: Sequence[Choice],
    ordered: bool,
    count: int,
    obstacle: Callable[[Offer], str] = lambda offer: "",
) -> Judged:
    """`obstacle` says why an offer of a usable provider cannot be had now (it was refused lately), or ""."""
    count = max(1, count)
    barred = dict(catalog.barred)
    usable = {
        provider: "" if provider in catalog.usable else barred.get(provider, "") or "its provider cannot be used"
        for provider in dict.fromkeys(offer.provider for offer in catalog.offers)
    }
    found: list[tuple[tuple[object, ...], Verdict]] = []
    lost: dict[str, int] = {}
    sizes = [_Sizes(choice) for choice in choices]
    spot_there = [False] * len(choices)
    for offer in catalog.offers:
        nearest = (len(_ORDER), "")
        why: str | None = None
        for at, choice in enumerate(choices):
            fits, reason = sizes[at].judge(offer, choice)
            if not fits:
                nearest = min(nearest, (_ORDER.index(reason[0]), reason[1]))
                continue
            if why is None:
                why = usable[offer.provider] or obstacle(offer)
            if offer.spot and not why:
                spot_there[at] = True
            machines = -(-count // fits)
            key = (offer.provider, offer.region, offer.zone, offer.instance_type)
            rank = (machines * offer.price, key, offer.spot, at)
            found.append((rank, Verdict(Candidate(offer, at, fits), machines, why)))
        if why is None and nearest[1]:
            lost[nearest[1]] = lost.get(nearest[1], 0) + 1
    any_usable = any(not verdict.why for _, verdict in found)
    spot_fits = {one.candidate.choice for _, one in found if one.candidate.offer.spot}

    def place(entry: tuple[tuple[object, ...], Verdict]) -> tuple[object, ...]:
        rank, verdict = entry
        at = verdict.candidate.choice
        there = spot_there[at] if any_usable else at in spot_fits
        late = choices[at].spot == Spot.PREFER and not verdict.candidate.offer.spot and there
        return (at if ordered else 0, late, *rank)

    found.sort(key=place)
    return Judged(
        [verdict for _, verdict in found], dict(sorted(lost.items(), key=lambda entry: (-entry[1], entry[0])))
    )


# From what is nearest to fitting to what is furthest from it.
_ORDER = ("price", "spot", "small", "place", "label")


class _Sizes:
    """What one alternative says of each size, worked out once."""

    def __init__(self, choice: Choice) -> None:
        self._demand = choice.resources
        self._known: dict[Resources, tuple[int, tuple[str, str]]] = {}

    def judge(self, offer: Offer, choice: Choice) -> tuple[int, tuple[str, str]]:
        """How many fit, or 0 and why: a word of `_ORDER`, and the reason for people."""
        for label in choice.labels:
            name, value = label
            if name in PLACE_LABELS:
                if getattr(offer, name) != value:
                    return 0, ("place", f"another {_WORDS.get(name, name)} than {value}")
            elif label != _SPOT:
                return 0, ("label", f"no machine that is brought up carries the label {name}={value}")
        known = self._known.get(offer.resources)
        if known is None:
            fits = how_many(self._demand, offer.resources)
            known = (fits, ("", "") if fits else ("small", _lacking(self._demand, offer.resources)))
            self._known[offer.resources] = known
        if not known[0]:
            return known
        if choice.spot == Spot.NO and offer.spot:
            return 0, ("spot", "a spot machine, and the task does not take one")
        if choice.spot == Spot.YES and not offer.spot:
            return 0, ("spot", "on demand, and the task wants a spot machine")
        if choice.max_hourly and offer.price > choice.max_hourly:
            return 0, ("price", "dearer than max_hourly_cost")
        return known


def _lacking(demand: Resources, room: Resources) -> str:
    """The part that is too small, the rarest first."""
    lacking = missing(demand, room)
    there = dict(room.accelerators)
    for name, _ in lacking.accelerators:
        return f"fewer {name} than asked for" if there.get(name) else f"no {name}"
    if lacking.memory:
        return "too little memory"
    return "too few CPUs" if lacking.cpus else "too little disk"
