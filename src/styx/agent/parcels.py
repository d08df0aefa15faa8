"""Packed working folders: which starts wait for one, and which are in use. This room decides; `cellar` fetches and keeps the files.

A start that names a parcel which is not here yet is held back until it is fetched; its attempts are queued meanwhile as any other's.
They may be given back, stopped or forgotten before it comes, and then it is not passed on. Parcels are known by their hash, so one
that many attempts share is fetched once.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from styx.protocol.owner import OwnerStart

__all__ = ["Parcels"]


class Parcels:
    __slots__ = ("_here", "_of", "_waiting")

    def __init__(self) -> None:
        self._here: dict[str, str] = {}  # hash -> file
        self._waiting: dict[str, list[OwnerStart]] = {}
        self._of: dict[int, str] = {}  # attempts that are held -> the parcel they need

    @property
    def used(self) -> set[str]:
        """The parcels that attempts which are held here need."""
        return set(self._of.values())

    def wanted(self, sha256: str) -> bool:
        """Whether anything still waits for it."""
        return sha256 in self._waiting

    def ask(self, start: OwnerStart) -> tuple[OwnerStart | None, bool]:
        """The start as it can be passed on, or None when it must wait; and whether its parcel must be fetched for that."""
        sha256 = start.spec.archive
        self._of.update(dict.fromkeys((run.attempt for run in start.runs), sha256))
        path = self._here.get(sha256)
        if path is not None:
            return msgspec.structs.replace(start, parcel=path), False
        first = sha256 not in self._waiting
        self._waiting.setdefault(sha256, []).append(start)
        return None, first

    def came(self, sha256: str, path: str) -> list[OwnerStart]:
        """It is here: the starts that waited for it."""
        self._here[sha256] = path
        return [msgspec.structs.replace(start, parcel=path) for start in self._waiting.pop(sha256, ())]

    def failed(self, sha256: str) -> list[int]:
        """It will not come: the attempts that waited for it."""
        return [run.attempt for start in self._waiting.pop(sha256, ()) for run in start.runs]

    def dropped(self, sha256: str) -> None:
        """Its file was removed."""
        self._here.pop(sha256, None)

    @property
    def coming(self) -> list[int]:
        """The attempts that wait for a parcel."""
        return [run.attempt for starts in self._waiting.values() for start in starts for run in start.runs]

    def take_back(self, attempts: Iterable[int] | None = None) -> list[int]:
        """Those (of these) that wait are not passed on any more; which."""
        wanted = set(self.coming) if attempts is None else set(self.coming).intersection(attempts)
        if not wanted:
            return []
        for sha256, starts in list(self._waiting.items()):
            left = [
                msgspec.structs.replace(start, runs=tuple(run for run in start.runs if run.attempt not in wanted))
                for start in starts
            ]
            left = [start for start in left if start.runs]
            if left:
                self._waiting[sha256] = left
            else:
                del self._waiting[sha256]
        return sorted(wanted)

    def leave(self, attempt: int) -> None:
        """It is not held any more."""
        self._of.pop(attempt, None)

    def clear(self) -> None:
        """No attempt is held any more; the files stay."""
        self._waiting.clear()
        self._of.clear()
