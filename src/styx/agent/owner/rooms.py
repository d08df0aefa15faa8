"""Private folders for programs that name none, and the removal of what they leave there.

Making and removing a folder costs a journalled file system as much as half of a spawn. So a folder that its program left
empty and untouched is given to the next; only one with something in it is kept, until its attempt is forgotten.
"""

from __future__ import annotations

import os
from itertools import count

from styx.agent.owner.trash import Trash

__all__ = ["Rooms"]

_SPARE = 64
_MODE = 0o040700


class Rooms:
    """Folders `folder`/N."""

    __slots__ = ("_folder", "_numbers", "_spare", "_trash")

    def __init__(self, folder: str, trash: Trash) -> None:
        self._folder = folder
        self._trash = trash
        self._numbers = count(1)
        self._spare: list[str] = []

    def take(self) -> str:
        """An empty folder, mode 0700; raises OSError when there can be none."""
        if self._spare:
            return self._spare.pop()
        path = f"{self._folder}/{next(self._numbers)}"
        os.mkdir(path, 0o700)
        return path

    def returned(self, path: str) -> bool:
        """The program is gone. True when its folder was as good as new, and was taken back."""
        try:
            about = os.stat(path, follow_symlinks=False)
            if about.st_mode != _MODE or about.st_nlink != 2 or len(self._spare) >= _SPARE or os.listdir(path):
                return False
        except OSError:
            return False
        self._spare.append(path)
        return True

    def remove(self, path: str) -> None:
        self._trash.remove(path)
