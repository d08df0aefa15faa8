"""Offers and money as text for people: what could be brought up, for how much, and why not the rest."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from styx.cli.table import Column, table
from styx.cli.words import count, size, visible

if TYPE_CHECKING:
    from styx.protocol.places import OfferView, RankedView

__all__ = ["age_text", "dollars", "hardware", "lost_text", "offers_table", "ranked_text"]

_DAY = 86_400
_OLD = 90 * _DAY  # prices that should be asked for again
_SHOWN_REASONS = 6
_SHOWN_TASKS = 4


def dollars(amount: float) -> str:
    """`$32.77`; below a dollar with four digits behind the point, since machines cost fractions of a cent."""
    return f"${amount:,.2f}" if amount >= 1 or not amount else f"${amount:.4f}"


def hardware(cpus: float, memory: int, accelerators: Mapping[str, int]) -> str:
    """`96 CPUs, 1.2TB, 8 A100`."""
    parts = [f"{cpus:g} {'CPU' if cpus == 1 else 'CPUs'}", size(memory)]
    return ", ".join(parts + [f"{number} {name}" for name, number in accelerators.items()])


def offers_table(offers: Sequence[OfferView]) -> str:
    """A row each. How many elements a machine holds is shown when any holds more than one or more than one is needed."""
    several = any(offer.machines > 1 or offer.fits > 1 for offer in offers)
    rows = []
    for offer in offers:
        needed = f"{offer.machines} x {offer.fits}" if offer.machines else "-"
        rows.append(
            [
                offer.provider,
                offer.zone or offer.region or "-",
                offer.instance_type,
                f"{offer.cpus:g}",
                size(offer.memory),
                ", ".join(f"{number} {name}" for name, number in offer.accelerators.items()) or "-",
                dollars(offer.price),
                "spot" if offer.spot else "on demand",
                *([needed, dollars(offer.hourly)] if several else []),
                "would be taken" if offer.chosen else f"no: {offer.why}" if offer.why else "yes",
            ]
        )
    columns = [
        Column("PROVIDER"), Column("PLACE"), Column("TYPE"), Column("CPUS", right=True), Column("MEMORY", right=True),
        Column("ACCELERATORS"), Column("$/HOUR", right=True), Column("SPOT"),
    ]  # fmt: skip
    if several:
        columns += [Column("MACHINES x HOLDS", right=True), Column("TOGETHER", right=True)]
    return table((*columns, Column("USABLE", folds=True)), rows)


def ranked_text(ranked: RankedView, *, most: int = 0) -> str:
    """The offers for some tasks: the best `most` (0: as many as there are), and what the others lost by."""
    names = ", ".join(map(visible, ranked.tasks[:_SHOWN_TASKS]))
    more = f" and {len(ranked.tasks) - _SHOWN_TASKS} more" if ranked.tasks[_SHOWN_TASKS:] else ""
    title = f"offers for {names}{more}: {ranked.fitting:,} of {ranked.known:,} fit"
    if ranked.free:
        title += "; a connected place takes it without them"
    lines = [title]
    offers = [offer for n, offer in enumerate(ranked.offers) if not most or n < most or offer.chosen]
    if offers:
        lines.append(offers_table(offers).rstrip())
    if ranked.lost:
        lines.append(f"the others lost: {lost_text(ranked.lost)}")
    return "\n".join(lines) + "\n"


def lost_text(lost: Mapping[str, int]) -> str:
    """`no A100 (5,001), too little memory (12)`."""
    found = [f"{visible(why)} ({number:,})" for why, number in lost.items()]
    rest = sum(list(lost.values())[_SHOWN_REASONS:])
    return ", ".join(found[:_SHOWN_REASONS]) + (f", otherwise ({rest:,})" if rest else "")


def age_text(at: float, source: str, now: float | None = None) -> str:
    """How old the prices are and where they are from."""
    if not at:
        return f"prices: {visible(source)}" if source else "prices: none are known"
    age = (time.time() if now is None else now) - at
    days = int(age // _DAY)
    old = count(days, "day") + " old" if days > 0 else "of today"
    hint = "; `styx offers --refresh` asks the clouds again" if age > _OLD else ""
    return f"prices: the oldest are {old}{hint}\n  from {visible(source)}"
