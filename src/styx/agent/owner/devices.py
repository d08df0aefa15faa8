"""Which accelerators of the machine an attempt may see: ids are given out by name and come back when it ends."""

from __future__ import annotations

from styx.core.resources import Resources

__all__ = ["Devices", "Named"]

Named = tuple[tuple[str, tuple[str, ...]], ...]


class Devices:
    """`known` is every id of the machine by name; a name without ids (its accelerators are hidden from us) gives none."""

    __slots__ = ("_free", "known")

    def __init__(self) -> None:
        self.known: dict[str, tuple[str, ...]] = {}
        self._free: dict[str, list[str]] = {}

    def configure(self, devices: Named, in_use: list[Named]) -> None:
        """The machine's devices, as the agent found them; those in use stay with their attempts."""
        self.known = dict(devices)
        used = {(name, device) for given in in_use for name, ids in given for device in ids}
        self._free = {name: [d for d in ids if (name, d) not in used] for name, ids in devices}

    def take(self, demand: Resources) -> Named:
        """Ids for a demand that admission found to fit."""
        given = []
        for name, count in demand.accelerators:
            free = self._free.get(name, [])
            given.append((name, tuple(free[:count])))
            del free[:count]
        return tuple(given)

    def give_back(self, given: Named) -> None:
        for name, ids in given:
            known = self.known.get(name, ())
            free = self._free.setdefault(name, [])
            free += [device for device in ids if device in known and device not in free]
            free.sort(key=known.index)

    def visible(self, given: Named) -> str | None:
        """The value of CUDA_VISIBLE_DEVICES: empty hides all, None leaves the variable alone on a machine without any."""
        if not self.known:
            return None
        return ",".join(device for _, ids in given for device in ids)
