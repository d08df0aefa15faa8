"""Who may start on a node: a strict first-in, first-out queue in front of a vector of free resources.

The scheduler and the owner process on the node run this same code over the same sequence of arrivals. The head waits
until it fits, and nothing overtakes it. So what is admitted is always a prefix of what arrived, and the side that has
heard of fewer ends has admitted a shorter prefix: the two can lag, but never contradict each other.
"""

from __future__ import annotations

from collections import OrderedDict

from styx.core.resources import Resources

__all__ = ["Admission"]


class Admission:
    """`free` is what the admitted leave over; `waiting` holds the others in order. It is an OrderedDict because its head is taken
    over and over: a dict would look past all that was taken before."""

    __slots__ = ("admitted", "free", "waiting")

    def __init__(self, capacity: Resources) -> None:
        self.free = capacity
        self.waiting: OrderedDict[int, Resources] = OrderedDict()
        self.admitted: dict[int, Resources] = {}

    def resize(self, before: Resources, after: Resources) -> None:
        """The capacity changed; what is admitted stays admitted, so `free` may go below zero for a while."""
        self.free = self.free.plus(after).minus(before)

    def arrive(self, key: int, demand: Resources) -> None:
        self.waiting[key] = demand

    def enter(self, key: int, demand: Resources) -> bool:
        """Arrive, and be admitted at once when nobody waits and it fits. Whether it was."""
        if self.waiting or not demand.fits(self.free):
            self.waiting[key] = demand
            return False
        self.admitted[key] = demand
        self.free = self.free.minus(demand)
        return True

    def head(self) -> int | None:
        """The next one to admit, or None when nobody waits or the head does not fit."""
        for key, demand in self.waiting.items():
            return key if demand.fits(self.free) else None
        return None

    def line_up(self) -> None:
        """Have all arrive anew in the order of their keys: nobody is admitted until the caller admits the head."""
        for demand in self.admitted.values():
            self.free = self.free.plus(demand)
        self.waiting = OrderedDict(sorted((self.admitted | self.waiting).items()))
        self.admitted.clear()

    def admit(self, key: int) -> None:
        """Take the head in. The caller got `key` from `head`."""
        demand = self.waiting.pop(key)
        self.admitted[key] = demand
        self.free = self.free.minus(demand)

    def leave(self, key: int) -> None:
        """One that was admitted ended, or one that waited went away. Unknown keys are ignored."""
        demand = self.admitted.pop(key, None)
        if demand is not None:
            self.free = self.free.plus(demand)
        else:
            self.waiting.pop(key, None)
