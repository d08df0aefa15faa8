"""The owner's socket, however long the folder's name is.

The address of a unix socket holds 107 bytes. A longer path is reached through a descriptor of its folder, as
`/proc/self/fd/N/owner.sock`, which Linux resolves for bind and connect alike and needs no change of the working folder.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

__all__ = ["SOCKET", "bind", "connect"]

SOCKET = "owner.sock"
_LONGEST = 107


@contextmanager
def _short(folder: str) -> Iterator[str]:
    path = os.path.join(folder, SOCKET)
    if len(os.fsencode(path)) <= _LONGEST:
        yield path
        return
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{SOCKET}"
    finally:
        os.close(descriptor)


def bind(folder: str) -> socket.socket:
    """A listening, non-blocking socket in `folder`, mode 0600. The caller holds the folder's lock: an old socket there is
    a dead owner's, and is replaced."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with _short(folder) as path:
        with suppress(FileNotFoundError):
            os.unlink(path)
        mask = os.umask(0o177)
        try:
            listener.bind(path)
        finally:
            os.umask(mask)
    listener.listen(16)
    listener.setblocking(False)
    return listener


def connect(folder: str) -> socket.socket:
    """A connected, blocking socket to the owner of `folder`; OSError (FileNotFoundError, ConnectionRefusedError) when there
    is none."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _short(folder) as path:
            connection.connect(path)
    except OSError:
        connection.close()
        raise
    return connection
