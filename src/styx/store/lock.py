"""One server a folder: a lock that the kernel gives up when its holder dies, however it dies.

flock and not lockf: it belongs to the open file, so a second store in the same process is refused as well, and closing
some other descriptor of the file does not lose it. Python opens files close-on-exec, so programs started later do not
inherit it.
"""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

from styx.errors import StoreError, StoreLocked

__all__ = ["FolderLock"]


class FolderLock:
    """`path` stays when the lock is given up; it holds the pid of its last holder."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1

    def acquire(self) -> None:
        """Raises StoreLocked when another store holds it, StoreError when the file cannot be used."""
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(f"cannot open {self._path}: {error.strerror}") from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(fd, 20, 0).decode("ascii", "replace").strip()
            os.close(fd)
            if error.errno not in {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES}:
                raise StoreError(f"cannot lock {self._path}: {error.strerror}") from error
            who = f"process {holder}" if holder.isdigit() else "another process"
            raise StoreLocked(
                f"{self._path.parent} is in use by {who}",
                hint="stop that server, or give this one a folder of its own with STYX_HOME",
            ) from error
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        self._fd = fd

    def release(self) -> None:
        """Does nothing when it is not held."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
