"""Resources: a vector of CPUs, memory, disk and accelerators, and the arithmetic on it.

CPUs are counted in thousandths, memory and disk in bytes, accelerators by name and count. A request and a capacity
are the same kind of vector; what is free is the difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter

import msgspec

__all__ = ["Resources", "least"]

# The reference machine that makes unlike resources comparable: one CPU weighs as much as 4 GiB of memory (the ratio of
# the clouds' general-purpose types), as 64 GiB of disk, and an eighth of an accelerator.
_MEMORY_PER_CPU = 4 << 30
_DISK_PER_CPU = 64 << 30
_CPUS_PER_ACCELERATOR = 8

_CPUS, _MEMORY, _DISK = attrgetter("cpus"), attrgetter("memory"), attrgetter("disk")


class Resources(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    cpus: int = 1_000
    memory: int = 0
    disk: int = 0
    accelerators: tuple[tuple[str, int], ...] = ()  # sorted by name, counts above 0, each name once

    def fits(self, room: Resources) -> bool:
        """Whether a request of this size fits into `room`."""
        return (
            self.cpus <= room.cpus
            and self.memory <= room.memory
            and self.disk <= room.disk
            and (not self.accelerators or _fits_accelerators(self.accelerators, room.accelerators))
        )

    def plus(self, other: Resources) -> Resources:
        accelerators = self.accelerators
        if other.accelerators:
            accelerators = _combine(accelerators, other.accelerators, 1)
        return Resources(self.cpus + other.cpus, self.memory + other.memory, self.disk + other.disk, accelerators)

    def minus(self, other: Resources) -> Resources:
        """The difference; single numbers may go below zero, the caller asks `fits` first."""
        accelerators = self.accelerators
        if other.accelerators:
            accelerators = _combine(accelerators, other.accelerators, -1)
        return Resources(self.cpus - other.cpus, self.memory - other.memory, self.disk - other.disk, accelerators)

    @property
    def weight(self) -> int:
        """How much of a cluster this is, in thousandths of a reference CPU: the largest of its parts."""
        accelerators = sum(count for _, count in self.accelerators) * _CPUS_PER_ACCELERATOR * 1_000
        return max(
            1,
            self.cpus,
            self.memory * 1_000 // _MEMORY_PER_CPU,
            self.disk * 1_000 // _DISK_PER_CPU,
            accelerators,
        )


def least(demands: Sequence[Resources]) -> Resources:
    """The most that is no larger than any of these: the smallest of each part. Of none, nothing."""
    if len(demands) < 2:
        return demands[0] if demands else Resources(0)
    kinds = dict(demands[0].accelerators)
    for demand in demands[1:] if kinds else ():
        other = dict(demand.accelerators)
        kinds = {kind: min(count, other[kind]) for kind, count in kinds.items() if kind in other}
    return Resources(
        min(map(_CPUS, demands)), min(map(_MEMORY, demands)), min(map(_DISK, demands)), tuple(sorted(kinds.items()))
    )


def _fits_accelerators(wanted: tuple[tuple[str, int], ...], room: tuple[tuple[str, int], ...]) -> bool:
    free = dict(room)
    return all(count <= free.get(name, 0) for name, count in wanted)


def _combine(a: tuple[tuple[str, int], ...], b: tuple[tuple[str, int], ...], sign: int) -> tuple[tuple[str, int], ...]:
    counts = dict(a)
    for name, count in b:
        counts[name] = counts.get(name, 0) + sign * count
    return tuple(sorted((name, count) for name, count in counts.items() if count))
