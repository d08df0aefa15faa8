"""A cgroup to end what forks faster than it can be signalled: whoever is moved in takes all its later children along, and one
write to `cgroup.kill` ends all of them at once, however they fork.

Only cgroup v2 has that, and only where this process may write: as root, or in a folder delegated to it. Elsewhere a Cage
does nothing, and signals alone must do.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from functools import lru_cache

__all__ = ["Cage", "own_group"]


@lru_cache(maxsize=1)
def own_group() -> str:
    """The folder of this process's own cgroup (v2); empty when there is none."""
    mount = ""
    try:
        with open("/proc/self/mounts", encoding="utf-8", errors="surrogateescape") as file:
            for line in file:
                _, where, kind, _ = line.split(" ", 3)
                if kind == "cgroup2":
                    mount = where.encode().decode("unicode_escape")
        with open("/proc/self/cgroup", encoding="utf-8", errors="surrogateescape") as file:
            for line in file:
                if mount and line.startswith("0::"):
                    return mount + line[3:].strip()
    except (OSError, ValueError):
        return ""
    return ""


class Cage:
    """A cgroup made for one tree that would not die, below the owner's own."""

    __slots__ = ("_path",)

    def __init__(self, owner: int, ordinal: int) -> None:
        group = own_group()
        self._path = f"{group}/styx-{owner}-{ordinal}" if group else ""

    def kill(self, children: Iterable[int]) -> bool:
        """End these, by pid, and all they start from now on. Only children of ours, whose pids cannot have changed hands.
        False when cgroups cannot be used here."""
        if not self._path:
            return False
        try:
            os.makedirs(self._path, exist_ok=True)
            for pid in children:
                self._move(pid)
            _write(f"{self._path}/cgroup.kill", "1")
        except OSError:
            return False
        finally:
            self.remove()
        return True

    def _move(self, pid: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            _write(f"{self._path}/cgroup.procs", str(pid))

    def remove(self) -> None:
        if not self._path:
            return
        with contextlib.suppress(OSError):  # not empty yet: the next round, or the next cage of this name, removes it
            os.rmdir(self._path)


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
