"""Whose a process is, when its parents are dead and it has left their session.

Each program is marked twice, and what it starts inherits both marks. One is the environment variable STYX_MARK. The other is
the soft limit RLIMIT_LOCKS: Linux has not enforced it since 2.4, every child keeps it through fork, exec and setuid, it can be
read in `/proc/PID/limits`, and daemons that scrub their environment do not touch it. Both carry the owner's key, drawn once for
its folder, and the ordinal of the attempt. A process that gives up both is still found by descent while its parent lives.
"""

from __future__ import annotations

import os
import resource

from styx.errors import StyxError

__all__ = ["MARK", "ORDINALS", "Marker", "read_key", "write_key"]

MARK = "STYX_MARK"
_LOCKS = 10  # RLIMIT_LOCKS, which the resource module has no name for
_KEY_BITS = 38
_ORDINAL_BITS = 24
_FLAG = 1 << 62
ORDINALS = 1 << _ORDINAL_BITS  # they count below this, and from the start again after it


def read_key(descriptor: int) -> tuple[int, bool]:
    """The folder's key from its lock file, and whether it was there already; draws one for a new folder."""
    words = os.pread(descriptor, 64, 0).split()
    known = bool(words)
    try:
        key = int(words[0], 16) if known else int.from_bytes(os.urandom(5), "big")
    except ValueError:
        raise StyxError(f"the lock file of the owner's folder begins with {words[0]!r}, which is no key") from None
    key &= (1 << _KEY_BITS) - 1
    write_key(descriptor, key)
    return key, known


def write_key(descriptor: int, key: int, pid: int = 0) -> None:
    """The lock file: the key, and the owner's pid while it serves."""
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, (f"{key:010x} {pid}\n" if pid else f"{key:010x}\n").encode(), 0)


class Marker:
    """Writes the marks of one owner's programs, and recognises them."""

    __slots__ = ("_base", "_hard", "_prefix", "limits")

    def __init__(self, key: int) -> None:
        self._base = _FLAG | key << _ORDINAL_BITS
        self._prefix = f"{MARK}={key:010x}:"
        _, self._hard = resource.getrlimit(_LOCKS)
        self.limits = True
        self.set_limit(0)

    def set_limit(self, ordinal: int) -> None:
        """The next program spawned inherits this mark (the owner wears it until then: it is never searched for itself). Under
        a lower hard limit, only the environment's mark is left."""
        if not self.limits:
            return
        try:
            resource.setrlimit(_LOCKS, (self._base | ordinal, self._hard))
        except (OSError, ValueError):
            self.limits = False

    def variable(self, ordinal: int, incarnation: str, attempt: int) -> str:
        """The value of STYX_MARK."""
        return f"{self._prefix[len(MARK) + 1 :]}{ordinal}:{incarnation}:{attempt}"

    def of(self, pid: int) -> int | None:
        """The ordinal that a process is marked with; None when it is not ours, or gone."""
        ordinal = self._from_limits(pid)
        return self._from_environment(pid) if ordinal is None else ordinal

    def _from_limits(self, pid: int) -> int | None:
        text = _read(f"/proc/{pid}/limits")
        start = text.find(b"Max file locks")
        if start < 0:
            return None
        words = text[start + 14 : start + 64].split(None, 1)
        if not words or not words[0].isdigit():
            return None
        value = int(words[0])
        return value & ORDINALS - 1 if value >> _ORDINAL_BITS == self._base >> _ORDINAL_BITS else None

    def _from_environment(self, pid: int) -> int | None:
        prefix = self._prefix.encode()
        for variable in _read(f"/proc/{pid}/environ").split(b"\0"):
            if variable.startswith(prefix):
                number = variable[len(prefix) :].split(b":", 1)[0]
                return int(number) if number.isdigit() else None
        return None


def _read(path: str) -> bytes:
    """A file of /proc; empty when the process is gone or not ours to read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        parts = []
        while part := os.read(descriptor, 1 << 16):
            parts.append(part)
        return b"".join(parts)
    except OSError:
        return b""
    finally:
        os.close(descriptor)
