"""What a provider refused lately, and which offers the same answer is likely for.

A lack of capacity is about one type in one zone; a quota about all machines in a region that count against the same allowance and are no
smaller than the one that was too much; what does not exist about a type in a region; credentials and the network about all of a provider.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from styx.core.offers import Offer
from styx.core.resources import Resources

if TYPE_CHECKING:
    from styx.core.instance import Refusal

__all__ = ["AFTER", "refused", "scope"]

Scope = tuple[str, ...]

AFTER = {
    "capacity": 600_000,
    "quota": 1_800_000,
    "denied": 300_000,
    "unreachable": 60_000,
    "invalid": 86_400_000,
    "throttled": 30_000,
}
"""Milliseconds for which such an answer is believed."""


def scope(kind: str, offer: Offer) -> Scope:
    """What an answer of this kind is about, as a key."""
    if kind in {"denied", "unreachable"}:
        return (offer.provider,)
    spot = "spot" if offer.spot else "demand"
    if kind == "quota":
        return offer.provider, offer.region, offer.quota or _family(offer.instance_type), spot
    if kind == "capacity":
        return offer.provider, offer.region, offer.zone, offer.instance_type, spot
    return offer.provider, offer.region, "", offer.instance_type, spot


def refused(refusals: dict[Scope, Refusal], offer: Offer, now: int) -> Refusal | None:
    """The answer that asking for this offer would likely get again, if it is still believed."""
    for kind in ("denied", "quota", "capacity", "invalid"):
        found = refusals.get(scope(kind, offer))
        if found is not None and found.until > now and (kind != "quota" or _no_smaller(offer.resources, found.size)):
            return found
    return None


def _no_smaller(one: Resources, than: Resources) -> bool:
    """Quotas count CPUs or accelerators, and what is left of one may still bear a smaller machine."""
    return one.cpus >= than.cpus and _count(one) >= _count(than)


def _count(one: Resources) -> int:
    return sum(count for _, count in one.accelerators)


def _family(instance_type: str) -> str:
    """`m5` of `m5.large`, `n2` of `n2-standard-8`."""
    return instance_type.partition(".")[0].partition("-")[0]
