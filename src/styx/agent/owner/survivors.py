"""What a crashed owner left running: nobody can wait for it any more, so it is ended before its successor serves.

These processes are not below us, and killing one loses sight of its unmarked children. So all are stopped first, until a
look finds no new one, and killed then.
"""

from __future__ import annotations

import os
import signal
import time

from styx.agent.owner import proc
from styx.agent.owner.mark import Marker
from styx.agent.owner.proc import Process

__all__ = ["clear"]

_LOOKS = 200
_PAUSE = 0.005


def clear(marker: Marker) -> int:
    """End every process that carries the folder's mark, and what descends from one. Returns how many there were. Gives up
    on those that cannot die (in uninterruptible sleep) after a second or so."""
    me = os.getpid()
    stopped: dict[int, Process] = {}
    for _ in range(_LOOKS):
        new = [process for process in _look(marker, me) if stopped.get(process.pid) != process]
        if not new:
            break
        proc.send(new, signal.SIGSTOP, me)
        stopped.update((process.pid, process) for process in new)
    for _ in range(_LOOKS):
        living = _look(marker, me)
        if not living:
            break
        proc.send(living, signal.SIGKILL, me)
        time.sleep(_PAUSE)
    return len(stopped)


def _look(marker: Marker, me: int) -> list[Process]:
    processes = proc.everything()
    children = proc.children_of(processes.values())
    found: dict[int, Process] = {}
    for process in processes.values():
        if process.pid != me and process.pid not in found and process.alive and marker.of(process.pid) is not None:
            found.update((below.pid, below) for below in proc.tree(process, children) if below.alive)
    found.pop(me, None)
    return list(found.values())
