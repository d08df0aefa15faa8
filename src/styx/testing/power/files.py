"""The files that Styx writes by itself, output segments above all, on the same tape.

For as long as the block lasts, the rooms that write files see an `os` that notes what they do to them. Nothing else is changed: it is
their own code that decides what is written, synced and deleted, and when.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from styx.runtime.output import segments
from styx.store import backup, sqlite
from styx.testing.power.disk import Deleted, FolderSynced, Made, Synced, Tape, Truncated, Written

__all__ = ["recorded_files"]


class _Os:
    """`os`, seen. `honest=False` lets syncs of files do nothing, as a program that forgot them would."""

    def __init__(self, tape: Tape, honest: bool) -> None:
        self._tape = tape
        self._honest = honest
        self._paths: dict[int, str] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def open(self, path: Path | str, flags: int, mode: int = 0o777) -> int:
        file = os.open(path, flags, mode)
        name = self._paths[file] = str(path)
        if flags & os.O_CREAT and name not in self._tape.names:
            self._tape.add(Made(name))
        elif flags & os.O_TRUNC:
            self._tape.add(Truncated(name, 0))
        return file

    def close(self, file: int) -> None:
        self._paths.pop(file, None)
        os.close(file)

    def pwritev(self, file: int, buffers: Sequence[Any], offset: int) -> int:
        written = os.pwritev(file, buffers, offset)
        self._tape.add(Written(self._paths[file], offset, b"".join(buffers)[:written]))
        return written

    def ftruncate(self, file: int, size: int) -> None:
        os.ftruncate(file, size)
        self._tape.add(Truncated(self._paths[file], size))

    def fsync(self, file: int) -> None:
        os.fsync(file)
        path = self._paths[file]
        self._tape.add(FolderSynced(path) if Path(path).is_dir() else Synced(path))

    def fdatasync(self, file: int) -> None:
        if self._honest:
            os.fdatasync(file)
            self._tape.add(Synced(self._paths[file]))


@contextmanager
def recorded_files(tape: Tape, *, honest: bool = True) -> Iterator[None]:
    """Note what the store and the output do to files of their own."""
    watched = _Os(tape, honest)
    unlink = segments.SegmentFolder.unlink

    def unlink_seen(folder: segments.SegmentFolder, numbers: Sequence[int]) -> int:
        freed = unlink(folder, numbers)
        for number in numbers:
            path = str(segments.segment_path(folder.folder, number))
            if path in tape.names:
                tape.add(Deleted(path))
        return freed

    replaced = [
        (segments, "os", watched),
        (segments, "_sync", watched.fdatasync),
        (segments.SegmentFolder, "unlink", unlink_seen),
        (backup, "os", watched),
        (sqlite, "os", watched),
    ]
    before = [(room, name, getattr(room, name)) for room, name, _ in replaced]
    try:
        for room, name, value in replaced:
            setattr(room, name, value)
        yield
    finally:
        for room, name, value in before:
            setattr(room, name, value)
