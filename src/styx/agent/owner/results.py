"""The small file that a program may leave as its result ($STYX_RESULT)."""

from __future__ import annotations

import os
import stat

__all__ = ["LIMIT", "take"]

LIMIT = 4_096


def take(folder: int, name: str) -> tuple[bytes, str]:
    """(content, complaint) of the file `name` in a folder's descriptor; removes it. A result that is too large or no plain file is dropped, and the complaint says
    so. No file is an empty result."""
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError:
        return b"", ""
    except OSError as error:
        _remove(folder, name)
        return b"", f"its result was dropped: {error.strerror}"
    try:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode):
            return b"", "its result was dropped: $STYX_RESULT is no plain file"
        if about.st_size > LIMIT:
            return b"", f"its result was dropped: {about.st_size} bytes are more than {LIMIT}"
        return os.read(descriptor, LIMIT), ""
    finally:
        os.close(descriptor)
        _remove(folder, name)


def _remove(folder: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=folder)
    except OSError:  # a folder by that name: the next start of the owner clears it away
        return
