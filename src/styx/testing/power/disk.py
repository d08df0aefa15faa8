"""A disk that loses power.

The tape holds what a program did to its files, in order. A file has what was synced, and behind it a list of writes that were not.
When the power goes, each of these may have reached the disk or not, whole or in part, in any order, and a file may have grown
without its new bytes having come. The same holds for names: a file that was made or deleted is so for certain only once its folder
was synced.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path

import msgspec

__all__ = ["SECTOR", "Deleted", "FolderSynced", "Made", "Note", "Platter", "Synced", "Tape", "Truncated", "Written"]

SECTOR = 512  # bytes that reach the disk together


class Made(msgspec.Struct, frozen=True):
    """A new, empty file has this name."""

    path: str


class Deleted(msgspec.Struct, frozen=True):
    path: str


class Written(msgspec.Struct, frozen=True):
    path: str
    offset: int
    data: bytes


class Truncated(msgspec.Struct, frozen=True):
    path: str
    size: int


class Synced(msgspec.Struct, frozen=True):
    """What the file holds is on disk for certain; its name need not be."""

    path: str


class FolderSynced(msgspec.Struct, frozen=True):
    """So are the names in this folder."""

    path: str


class Note(msgspec.Struct, frozen=True):
    """Something else that happened at this moment."""

    about: object


Entry = Made | Deleted | Written | Truncated | Synced | FolderSynced | Note


class Tape:
    """What happened, in order; threads may add at once. `files` is what was on disk at its beginning."""

    def __init__(self, files: dict[str, bytes] | None = None) -> None:
        self.files = dict(files or {})
        self.entries: list[Entry] = []
        self.names = set(self.files)  # as the program sees them

    def add(self, entry: Entry) -> None:
        if isinstance(entry, Made):
            self.names.add(entry.path)
        elif isinstance(entry, Deleted):
            self.names.discard(entry.path)
        self.entries.append(entry)

    def note(self, about: object) -> None:
        self.entries.append(Note(about))


class _File:
    __slots__ = ("content", "pending")

    def __init__(self, content: bytes = b"") -> None:
        self.content = bytearray(content)
        self.pending: list[Written | Truncated] = []

    def sync(self) -> None:
        for entry in self.pending:
            _apply(self.content, entry)
        self.pending.clear()


class Platter:
    """What is on the disk at a place of a tape. It moves forwards only."""

    def __init__(self, tape: Tape) -> None:
        self._tape = tape
        self._files = {path: _File(content) for path, content in tape.files.items()}  # as the program sees them
        self._kept = dict(self._files)  # names that are on disk for certain
        self._pending: list[tuple[str, _File | None]] = []  # names made or (None) deleted since
        self.place = 0

    def unsynced(self, path: str = "") -> int:
        """How many writes a cut here may lose: of one file, or of all of them, and names too."""
        if path:
            return len(self._files[path].pending) if path in self._files else 0
        return len(self._pending) + sum(len(file.pending) for file in self._files.values())

    def advance(self, place: int) -> list[Note]:
        """Let everything before `place` happen; returns the notes on the way."""
        notes: list[Note] = []
        for entry in self._tape.entries[self.place : place]:
            if isinstance(entry, Written | Truncated):
                self._files[entry.path].pending.append(entry)
            elif isinstance(entry, Note):
                notes.append(entry)
            elif isinstance(entry, Synced):
                self._files[entry.path].sync()
            elif isinstance(entry, Made):
                self._name(entry.path, _File())
            elif isinstance(entry, Deleted):
                self._name(entry.path, None)
            else:
                self._sync_names(entry.path)
        self.place = place
        return notes

    def cut(self, dice: random.Random) -> dict[str, bytes]:
        """The files as they are found after the power went at this moment."""
        fate = _Fate(dice)
        names = dict(self._kept)
        for path, file in self._pending:
            if fate.survives():
                _put(names, path, file)
        return {path: fate.of(file) for path, file in names.items()}

    def _name(self, path: str, file: _File | None) -> None:
        _put(self._files, path, file)
        self._pending.append((path, file))

    def _sync_names(self, folder: str) -> None:
        inside = [name for name in self._pending if str(Path(name[0]).parent) == folder]
        for path, file in inside:
            _put(self._kept, path, file)
        self._pending = [name for name in self._pending if name not in inside]


class _Fate:
    """How hard a cut is: what share survives, whether writes tear, and what stands where a file grew without its bytes."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._share = dice.choice((0.0, 1.0, 0.5, dice.random(), dice.random()))
        self._tears = dice.random() < 0.6
        self._later = dice.random() < 0.3  # only what was written last survives
        self._grows = dice.random() < 0.5
        self._garbage = dice.random() < 0.3

    def survives(self) -> bool:
        return self._dice.random() < self._share

    def of(self, file: _File) -> bytes:
        content = bytearray(file.content)
        first = self._dice.randint(0, len(file.pending)) if self._later else 0
        for entry in file.pending[first:]:
            if isinstance(entry, Truncated):
                if self.survives():
                    _apply(content, entry)
                continue
            if self._grows:
                self._grow(content, entry.offset + len(entry.data))
            for piece in _sectors(entry) if self._tears else (entry,):
                if self.survives():
                    self._grow(content, piece.offset)
                    _apply(content, piece)
        return bytes(content)

    def _grow(self, content: bytearray, size: int) -> None:
        missing = size - len(content)
        if missing > 0:
            content += self._dice.randbytes(missing) if self._garbage else bytes(missing)


def _sectors(entry: Written) -> Iterable[Written]:
    begin, end = entry.offset, entry.offset + len(entry.data)
    while begin < end:
        stop = min(end, (begin // SECTOR + 1) * SECTOR)
        yield Written(entry.path, begin, entry.data[begin - entry.offset : stop - entry.offset])
        begin = stop


def _apply(content: bytearray, entry: Written | Truncated) -> None:
    if isinstance(entry, Truncated):
        del content[entry.size :]
        content.extend(bytes(entry.size - len(content)))
        return
    if len(content) < entry.offset:
        content.extend(bytes(entry.offset - len(content)))
    content[entry.offset : entry.offset + len(entry.data)] = entry.data


def _put(names: dict[str, _File], path: str, file: _File | None) -> None:
    if file is None:
        names.pop(path, None)
    else:
        names[path] = file
