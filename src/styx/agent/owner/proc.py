"""Processes as /proc shows them, and signals that cannot hit the wrong one.

A pid is only a name, used again after its process is gone. It is safe in two cases. A child that has not been waited for keeps
its pid even when dead, and so does its process group; the owner waits for children in one place only, so between a look at
/proc and a signal nothing changes hands. Any other process is held by a pidfd first, and then must still have the start time
(field 22 of /proc/PID/stat) that it had when it was found.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from collections.abc import Iterable
from typing import NamedTuple

__all__ = ["Process", "become_subreaper", "children_of", "everything", "find", "send", "tree"]

_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36
_DEAD = b"ZXx"


class Process(NamedTuple):
    pid: int
    parent: int
    group: int
    session: int
    start: int  # clock ticks since boot
    alive: bool  # neither a zombie nor dead


def become_subreaper(name: str) -> bool:
    """Orphans of our programs become our children instead of init's, and `ps` shows `name`. False if Linux refuses."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_NAME, ctypes.c_char_p(name.encode()[:15]), 0, 0, 0)
    return bool(libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)


def find(pid: int) -> Process | None:
    """One process, or None when there is none by that pid."""
    try:
        descriptor = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        text = os.read(descriptor, 1024)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    fields = text[text.rfind(b")") + 2 :].split(None, 20)  # the name before it may hold anything, even brackets
    return Process(pid, int(fields[1]), int(fields[2]), int(fields[3]), int(fields[19]), fields[0] not in _DEAD)


def everything() -> dict[int, Process]:
    """All processes of the machine that this one can see: about 10 µs each."""
    processes = {}
    for name in os.listdir("/proc"):
        if name[0].isdecimal():
            process = find(int(name))
            if process is not None:
                processes[process.pid] = process
    return processes


def children_of(processes: Iterable[Process]) -> dict[int, list[Process]]:
    children: dict[int, list[Process]] = {}
    for process in processes:
        children.setdefault(process.parent, []).append(process)
    return children


def tree(root: Process, children: dict[int, list[Process]]) -> list[Process]:
    """`root` and all that descends from it, parents first."""
    found = [root]
    for process in found:  # grows while it is walked
        found += children.get(process.pid, ())
    return found


def send(processes: Iterable[Process], number: signal.Signals, me: int) -> None:
    """A signal to each that is alive. Whole process groups at once where a child of ours, dead or alive, pins the group: that
    cannot be outrun by a program that forks."""
    processes = list(processes)
    groups = {process.group for process in processes if process.parent == me and process.group > 1}
    groups.discard(os.getpgrp())
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, number)
    for process in processes:
        if process.alive and process.group not in groups:
            _send_one(process, number, me)


def _send_one(process: Process, number: signal.Signals, me: int) -> None:
    try:
        if process.parent == me:
            os.kill(process.pid, number)
            return
        descriptor = os.pidfd_open(process.pid)
    except OSError:  # gone, or it changed its user and may not be signalled by us
        return
    try:
        now = find(process.pid)
        if now is not None and now.start == process.start:
            signal.pidfd_send_signal(descriptor, number)
    except OSError:
        pass
    finally:
        os.close(descriptor)
