"""Nothing that a benchmark started outlives it: processes that detach themselves come back to the one that measures.

Linux only, as the benchmarks are: a subreaper is given the orphans among its descendants, and can end them.
"""

from __future__ import annotations

import ctypes
import os
import signal
from contextlib import suppress
from pathlib import Path

__all__ = ["adopt", "descendants", "end_all"]

PR_SET_CHILD_SUBREAPER = 36


def adopt() -> None:
    """From now on this process is the parent of whatever loses its own below it."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def descendants(pid: int) -> dict[int, str]:
    """Every process that descends from this one, and its command line."""
    children: dict[int, list[int]] = {}
    lines: dict[int, str] = {}
    for place in Path("/proc").iterdir():
        if place.name.isdigit():
            try:
                above = int((place / "stat").read_text().rpartition(")")[2].split()[1])
                line = (place / "cmdline").read_bytes()
            except (FileNotFoundError, ProcessLookupError):
                continue
            lines[int(place.name)] = line.replace(b"\0", b" ").decode(errors="replace")
            children.setdefault(above, []).append(int(place.name))
    found, queue = {}, [pid]
    while queue:
        for child in children.get(queue.pop(), ()):
            found[child] = lines[child]
            queue.append(child)
    return found


def end_all() -> None:
    """Kill every descendant of this process and take their ends. Only for when nothing of theirs is needed any more."""
    while below := descendants(os.getpid()):
        for pid in below:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in below:
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)
