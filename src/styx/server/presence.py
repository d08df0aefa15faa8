"""`DIR/server.json`: where the server of a folder is, for the command line on the same host.

A file can outlive its server (kill -9, a power cut), and its pid can be another program's by now. So it names the time at
which the process started too, and only if both match is the server taken to be there.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import msgspec

__all__ = ["Presence", "announce", "find", "start_time", "withdraw"]

NAME = "server.json"


class Presence(msgspec.Struct, frozen=True):
    """`started` counts as `start_time` does; it is compared and never shown."""

    pid: int
    url: str
    started: float
    version: str = ""


def announce(folder: Path, url: str, version: str) -> None:
    """Say where this process serves; whole or not at all."""
    content = msgspec.json.encode(Presence(os.getpid(), url, start_time(os.getpid()), version))
    fd, temporary = tempfile.mkstemp(prefix=".server-", dir=folder)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(content + b"\n")
        os.replace(temporary, folder / NAME)
    except OSError:
        os.unlink(temporary)
        raise


def withdraw(folder: Path) -> None:
    """Remove our own announcement, and nobody else's."""
    found = _read(folder)
    if found is not None and found.pid == os.getpid():
        (folder / NAME).unlink(missing_ok=True)


def find(folder: Path) -> Presence | None:
    """The server of this folder, if its process is there."""
    found = _read(folder)
    if found is None or found.pid <= 0:
        return None
    started = start_time(found.pid)
    return found if started and abs(started - found.started) < 0.02 else None


def _read(folder: Path) -> Presence | None:
    try:
        return msgspec.json.decode((folder / NAME).read_bytes(), type=Presence)
    except (OSError, msgspec.MsgspecError):
        return None


def start_time(pid: int) -> float:
    """When a process started: seconds since boot on Linux, since the epoch elsewhere; 0 when there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        return int(fields[19]) / os.sysconf("SC_CLK_TCK")
    except (FileNotFoundError, ProcessLookupError):
        if os.path.exists("/proc/self/stat"):
            return 0.0
    import psutil

    try:
        return psutil.Process(pid).create_time()
    except psutil.Error:
        return 0.0
