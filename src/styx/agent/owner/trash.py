"""Removing folders a little at a time, because a task may leave a million files in the folder that was its own."""

from __future__ import annotations

import os
from itertools import count

from styx.agent.owner.attempt import clock

__all__ = ["Trash"]

_SLICE = 2_000_000  # nanoseconds of a turn


class Trash:
    """Folders moved to `folder`, and removed step by step. What cannot be removed stays there until the next start."""

    __slots__ = ("_folder", "_names", "_stack")

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._names = count()
        self._stack: list[str] = []
        os.makedirs(folder, mode=0o700, exist_ok=True)
        self._stack += [entry.path for entry in os.scandir(folder)]

    @property
    def busy(self) -> bool:
        return bool(self._stack)

    def remove(self, path: str) -> None:
        """An empty folder at once, any other soon."""
        try:
            os.rmdir(path)
        except FileNotFoundError:
            pass
        except OSError:
            name = os.path.join(self._folder, f"{os.getpid()}.{next(self._names)}")
            try:
                os.rename(path, name)
            except OSError:
                return
            self._stack.append(name)

    def step(self) -> None:
        until = clock() + _SLICE
        while self._stack and clock() < until:
            self._one(self._stack[-1])

    def _one(self, path: str) -> None:
        """Remove the path on top of the stack, or put what it holds on top of it."""
        try:
            os.rmdir(path)
        except NotADirectoryError:
            self._unlink(path)
        except OSError:
            before = len(self._stack)
            self._open_up(path)
            if len(self._stack) > before:
                return
        self._stack.remove(path)

    def _open_up(self, path: str) -> None:
        try:
            os.chmod(path, 0o700)
            with os.scandir(path) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        self._stack.append(entry.path)
                    else:
                        self._unlink(entry.path)
            if self._stack[-1] == path:
                os.rmdir(path)
        except OSError:
            return

    @staticmethod
    def _unlink(path: str) -> None:
        try:
            os.unlink(path)
        except OSError:
            return
