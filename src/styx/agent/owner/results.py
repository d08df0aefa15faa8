"""The small file that a program may leave as its result ($STYX_RESULT)."""

from __future__ import annotations

import os
import stat

__all__ = ["LIMIT", "take"]

LIMIT = 4_096


def take(path: str) -> tuple[bytes, str]:
    """(content, complaint); removes the file. A result that is too large or no plain file is dropped, and the complaint says
    so. No file is an empty result."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return b"", ""
    except OSError as error:
        _remove(path)
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
        _remove(path)


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:  # a folder by that name: the next start of the owner clears it away
        return
