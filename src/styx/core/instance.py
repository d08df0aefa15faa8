"""What the world knows of a machine that a provider brings up, and what it costs whom.

A machine costs by the second from the moment the cloud named it until a listing says that it is gone. Whoever has attempts on it
pays by dominant share: the largest part of the machine, in any resource, that an attempt takes. Shares that come to more than
the whole (work was sent ahead) are scaled down to it; what nobody takes is paid by the job that the machine was brought up for.
The meter keeps what is owed in shares times milliseconds, so that nothing is lost to rounding before it is charged.
"""

from __future__ import annotations

from styx.core.offers import Offer
from styx.core.resources import Resources

__all__ = ["IDLE", "WHOLE", "Instance", "Refusal", "share"]

WHOLE = 1_000_000
"""A whole machine, in shares."""

IDLE = 0
"""Stands in a meter for the job that the machine was brought up for."""

_HOUR = 3_600_000


class Refusal:
    """An answer that the same question would likely get again until `until` (milliseconds since the epoch). `size` is of the machine
    that was asked for."""

    __slots__ = ("detail", "kind", "size", "until")

    def __init__(self, kind: str, detail: str, until: int, size: Resources) -> None:
        self.kind = kind
        self.detail = detail
        self.until = until
        self.size = size


class Instance:
    """The machine of a node. Only `apply` writes here."""

    __slots__ = (
        "bound_at",
        "charged_at",
        "cost",
        "doubted",
        "idle_since",
        "intended_at",
        "job",
        "lifetime",
        "loads",
        "offer",
        "owed",
        "reason",
        "ref",
        "released_at",
        "token",
        "used_at",
    )

    def __init__(self, token: str, offer: Offer, job: int, at: int, lifetime: int = 0) -> None:
        self.token = token
        self.offer = offer
        self.job = job  # that it was brought up for
        self.lifetime = lifetime  # seconds, 0: no limit
        self.ref = ""  # the cloud's name for it
        self.intended_at = at
        self.bound_at = 0
        self.released_at = 0
        self.doubted = False  # a call may or may not have brought it up: only listings can tell
        self.idle_since = 0  # 0: something is held there, or its agent has not come yet
        self.reason = ""  # why it is released, or gone
        self.cost = 0  # micros charged so far
        self.charged_at = 0  # up to when
        self.used_at = 0  # up to when the meter has counted
        self.loads: dict[int, int] = {}  # job -> shares of the machine that its attempts take
        self.owed: dict[int, int] = {}  # job, or IDLE -> shares x milliseconds since `charged_at`

    def advance(self, at: int) -> None:
        """Count up to now with the loads as they are."""
        since = at - self.used_at
        if since <= 0 or not self.used_at:
            return
        self.used_at = at
        total = sum(self.loads.values())
        owed = self.owed
        for job, load in self.loads.items():
            owed[job] = owed.get(job, 0) + since * load * WHOLE // max(total, WHOLE)
        if total < WHOLE:
            owed[IDLE] = owed.get(IDLE, 0) + since * (WHOLE - total)

    def load(self, job: int, shares: int) -> None:
        """An attempt of this job came (shares > 0) or went (< 0)."""
        left = self.loads.get(job, 0) + shares
        if left:
            self.loads[job] = left
        else:
            self.loads.pop(job, None)

    def due(self, at: int) -> dict[int, int]:
        """Micros by job that are owed at this moment; what is idle is the job's that it was brought up for."""
        since = max(0, at - self.used_at) if self.used_at else 0
        total = sum(self.loads.values())
        owed = dict(self.owed)
        for job, load in self.loads.items():
            owed[job] = owed.get(job, 0) + since * load * WHOLE // max(total, WHOLE)
        if total < WHOLE:
            owed[IDLE] = owed.get(IDLE, 0) + since * (WHOLE - total)
        idle = owed.pop(IDLE, 0)
        owed[self.job] = owed.get(self.job, 0) + idle
        price = self.offer.price
        return {job: amount * price // (_HOUR * WHOLE) for job, amount in owed.items()}


def share(demand: Resources, capacity: Resources) -> int:
    """The dominant share of a machine that a demand takes, at least one."""
    parts = [
        demand.cpus * WHOLE // max(1, capacity.cpus),
        demand.memory * WHOLE // capacity.memory if capacity.memory else 0,
        demand.disk * WHOLE // capacity.disk if capacity.disk else 0,
    ]
    there = dict(capacity.accelerators)
    parts += [count * WHOLE // there[name] for name, count in demand.accelerators if there.get(name)]
    return max(1, *parts)
