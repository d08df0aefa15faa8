"""Who may start on a node: a strict first-in, first-out queue in front of a vector of free resources.

The scheduler and the owner process on the node run this same code over the same sequence of arrivals. The head waits
until it fits, and nothing overtakes it. So what is admitted is always a prefix of what arrived, and the side that has
heard of fewer ends has admitted a shorter prefix: the two can lag, but never contradict each other.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import islice

from styx.core.resources import Resources, least

__all__ = ["LOOK_AT", "Admission"]

LOOK_AT = 32  # attempts under way that are looked at to see what the next end may free


class Admission:
    """`free` is what the admitted leave over; `waiting` holds the others in order. It is an OrderedDict because its head is taken
    over and over: a dict would look past all that was taken before."""

    __slots__ = ("_ending", "admitted", "free", "waiting")

    def __init__(self, capacity: Resources) -> None:
        self.free = capacity
        self.waiting: OrderedDict[int, Resources] = OrderedDict()
        self.admitted: dict[int, Resources] = {}
        self._ending: tuple[list[Resources], Resources, int] | None = None  # not asked for since something changed

    def resize(self, before: Resources, after: Resources) -> None:
        """The capacity changed; what is admitted stays admitted, so `free` may go below zero for a while."""
        self.free = self.free.plus(after).minus(before)
        self._ending = None

    def arrive(self, key: int, demand: Resources) -> None:
        self.waiting[key] = demand

    def enter(self, key: int, demand: Resources) -> bool:
        """Arrive, and be admitted at once when nobody waits and it fits. Whether it was."""
        if self.waiting or not demand.fits(self.free):
            self.waiting[key] = demand
            return False
        self.admitted[key] = demand
        self.free = self.free.minus(demand)
        self._ending = None
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
        self._ending = None

    def admit(self, key: int) -> None:
        """Take the head in. The caller got `key` from `head`."""
        demand = self.waiting.pop(key)
        self.admitted[key] = demand
        self.free = self.free.minus(demand)
        self._ending = None

    def leave(self, key: int) -> None:
        """One that was admitted ended, or one that waited went away. Unknown keys are ignored."""
        demand = self.admitted.pop(key, None)
        if demand is not None:
            self.free = self.free.plus(demand)
            self._ending = None
        else:
            self.waiting.pop(key, None)

    def ending(self) -> tuple[list[Resources], Resources, int]:
        """The demands of those that may be the next to end; what will be free after that end, whichever it is; and the most
        CPUs that may be."""
        if self._ending is None:
            free, demands = self.free, list(islice(reversed(self.admitted.values()), LOOK_AT))
            most = free.cpus + max([demand.cpus for demand in demands], default=0)
            self._ending = demands, free.plus(least(demands)), most
        return self._ending
