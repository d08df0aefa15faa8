"""Room put aside, so that what is under way when the disk fills up can still be brought to its end.

A batch that finds no room has been stepped already: it can be neither refused nor forgotten. So some megabytes are allocated while
there is plenty; the first batch that fails gets them, and whoever waits for it gets a true answer. From then on nothing new is taken
in, while the ends of what runs, and the deletions that make room, live on what is left of them.
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["RESERVE", "Reserve"]

RESERVE = 8 << 20  # bytes
_SHARE = 8  # at most this part of what is free when it is first set aside
_LEAST = 64 << 10  # bytes; less is of no use


class Reserve:
    """A file of `size` bytes that holds nothing. All of this may wait for the disk."""

    def __init__(self, path: Path, size: int = RESERVE) -> None:
        self._path = path
        self._wanted = size
        self._size = 0  # chosen when it is first held
        self.held = False

    def hold(self) -> bool:
        """Set the room aside if as much is left beside it. Returns whether it is, or nothing is to be set aside here."""
        try:
            state = os.statvfs(self._path.parent)
            free = state.f_bavail * state.f_frsize
            size = self._size or min(self._wanted, free // _SHARE)
            if size < _LEAST:
                return not self._wanted
            if free < 2 * size or not hasattr(os, "posix_fallocate"):
                return False
            file = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(file, 0, size)
            finally:
                os.close(file)
        except OSError:
            self.release()
            return False
        self._size = size
        self.held = True
        return True

    def release(self) -> bool:
        """Give the room to whoever writes next. Returns whether there was any."""
        self.held = False
        try:
            self._path.unlink()
        except OSError:
            return False
        return True
