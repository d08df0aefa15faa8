"""Ending process trees so that nothing is left of an attempt: SIGTERM, a grace, then SIGKILL until a look finds none.

The owner is a subreaper, so all that its programs start stays below it: an orphan becomes the owner's child. A look at /proc
shows the whole of it, and each child of the owner belongs to an attempt: as its leader, else by its mark; below it, descent
decides. Killing a parent loses nobody, and no pid is trusted longer than one look. What keeps ahead by forking into ever new
sessions is put into a cgroup of its own where cgroup v2 is writable (one member caught catches all its descendants); moving
each program there from the start would cost more than the spawn itself.

A look takes a while, and what forks meanwhile may not be in it. But whoever lived when it began had an ancestor that was then
our child, and which is still there, alive or dead, because no child is waited for during a look. So a tree is gone only when a
look finds neither a living nor a dead process of it.

One look serves all attempts that are being ended. Looks are made when a child died, and at growing intervals.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from styx.agent.owner import proc
from styx.agent.owner.attempt import Attempt, clock
from styx.agent.owner.cgroup import Cage
from styx.agent.owner.mark import Marker
from styx.agent.owner.proc import Process

__all__ = ["Undertaker"]

_MILLISECOND = 1_000_000
_SECOND = 1_000_000_000
_STRAY_GRACE = 2 * _SECOND
_UNKNOWN = -1  # the ordinal of what carries no mark
_CHASE_AFTER = 4  # rounds of SIGKILL that did not suffice
_CHASE_FOR = 5 * _MILLISECOND


class _Ending:
    """One tree that has to go. `attempt` is None for what an attempt left behind that was thought to have ended."""

    __slots__ = ("attempt", "deadline", "rounds", "told")

    def __init__(self, attempt: Attempt | None, deadline: int) -> None:
        self.attempt = attempt
        self.deadline = deadline
        self.told: set[tuple[int, int, int]] = set()
        self.rounds = 0


class Undertaker:
    """`leaders` maps the pids of running programs to their attempts and is kept by the supervisor."""

    __slots__ = (
        "_endings",
        "_identified",
        "_leaders",
        "_look_at",
        "_marker",
        "_me",
        "_pause",
        "_settled",
        "_sweep_at",
        "_swept",
    )

    def __init__(self, marker: Marker, leaders: dict[int, Attempt], settled: Callable[[Attempt], None]) -> None:
        self._marker = marker
        self._leaders = leaders
        self._settled = settled
        self._me = os.getpid()
        self._endings: dict[int, _Ending] = {}  # by ordinal
        self._identified: dict[int, int] = {}  # orphans, until they are reaped: the ordinal they are marked with
        self._look_at = 0
        self._pause = _MILLISECOND
        self._sweep_at: int | None = None
        self._swept = 0

    @property
    def busy(self) -> bool:
        return bool(self._endings)

    def end(self, attempt: Attempt, now: int, grace: int) -> None:
        """End all processes of an attempt; `grace` in nanoseconds, 0 for SIGKILL at once. A shorter grace wins."""
        ending = self._endings.get(attempt.ordinal)
        if ending is None:
            self._endings[attempt.ordinal] = _Ending(attempt, now + grace)
        else:
            ending.attempt = attempt
            ending.deadline = min(ending.deadline, now + grace)
        self._look_soon(now)

    def _look_soon(self, now: int) -> None:
        self._look_at = now
        self._pause = _MILLISECOND

    def reaped(self, pid: int, now: int) -> None:
        """A child that was no leader, or the leader of an attempt that is being ended, was waited for."""
        self._identified.pop(pid, None)
        if self._endings:
            self._look_soon(now)

    def sweep_later(self, now: int) -> None:
        """An attempt ended by itself and left no sign of others: make sure within a second or so."""
        if self._sweep_at is None:
            self._sweep_at = max(now + _SECOND, self._swept)

    def nothing_left(self, now: int) -> bool:
        """Whether not one process is below us; if there is, the sweep is due now."""
        if not _has_children():
            return True
        if not self._endings:
            self._sweep_at = now
        return False

    def wake_at(self) -> int | None:
        if not self._endings:
            return self._sweep_at
        times = [self._look_at]
        times += [ending.deadline for ending in self._endings.values() if ending.rounds == 0]
        if self._sweep_at is not None:
            times.append(self._sweep_at)
        return min(times)

    def tick(self, now: int) -> None:
        sweep = self._sweep_at is not None and now >= self._sweep_at
        if not sweep:
            if not self._endings:
                return
            if now < self._look_at and not any(e.rounds == 0 and now >= e.deadline for e in self._endings.values()):
                return
        trees = self._look() if _has_children() else {}
        self._notice(trees, now)
        nameless = [process for process in trees.get(_UNKNOWN, ()) if not process.alive]  # dead, it could be anybody's
        for ordinal, ending in list(self._endings.items()):
            self._round(ordinal, ending, trees.get(ordinal, []) + nameless, now)
        after = clock()
        if sweep:
            self._sweep_at = None
            self._swept = after + 50 * (after - now)  # a machine with many processes is looked at less often
        self._look_at = after + max(self._pause, after - now)
        self._pause = min(2 * self._pause, _SECOND)

    def _notice(self, trees: dict[int, list[Process]], now: int) -> None:
        """What attempts left behind that were thought to have ended. A tree whose attempt cannot be told waits until
        nothing runs that it could belong to."""
        running = {attempt.ordinal for attempt in self._leaders.values()}
        for ordinal in trees:
            if ordinal not in running and ordinal not in self._endings and not (ordinal == _UNKNOWN and running):
                self._endings[ordinal] = _Ending(None, now + _STRAY_GRACE)

    def _round(self, ordinal: int, ending: _Ending, processes: list[Process], now: int) -> None:
        attempt = ending.attempt
        if not processes:
            if attempt is None or attempt.exited:
                del self._endings[ordinal]
                if ending.rounds > _CHASE_AFTER:
                    Cage(self._me, ordinal).remove()
                if attempt is not None:
                    self._settled(attempt)
            return
        if now < ending.deadline:
            # Each is told once; again only if it was just leaving its group, and may have been missed by the first.
            new = [process for process in processes if (process.pid, process.start, process.group) not in ending.told]
            if new:
                ending.told.update((process.pid, process.start, process.group) for process in new)
                proc.send(new, signal.SIGTERM, self._me)
                proc.send(new, signal.SIGCONT, self._me)  # a stopped program would sleep through its grace
            return
        ending.rounds += 1
        proc.send(processes, signal.SIGKILL, self._me)
        if ending.rounds > _CHASE_AFTER:
            Cage(self._me, ordinal).kill(p.pid for p in processes if p.alive and p.parent == self._me)
            self._chase(ordinal)

    def _look(self) -> dict[int, list[Process]]:
        """All that lives or lies below the owner, by the ordinal of its attempt."""
        processes = proc.everything()
        children = proc.children_of(processes.values())
        trees: dict[int, list[Process]] = {}
        for root in children.get(self._me, ()):
            trees.setdefault(self._belongs(root.pid), []).extend(proc.tree(root, children))
        return trees

    def _belongs(self, pid: int) -> int:
        leader = self._leaders.get(pid)
        if leader is not None:
            return leader.ordinal
        known = self._identified.get(pid)
        if known is None:
            marked = self._marker.of(pid)
            known = self._identified[pid] = _UNKNOWN if marked is None else marked
        return known

    def _chase(self, ordinal: int) -> None:
        """Kill the newest processes as fast as they appear, for a moment, without looking at all of /proc."""
        until = clock() + _CHASE_FOR
        last = _newest_pid()
        while clock() < until:
            newest = _newest_pid()
            for pid in range(last + 1, newest + 1) if newest >= last else ():
                if pid not in self._leaders and _is_living_child(pid) and self._marker.of(pid) == ordinal:
                    os.kill(pid, signal.SIGKILL)
            last = newest


def _has_children() -> bool:
    """Whether we have a child, dead or alive. Exact, and costs a hundredth of a look."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _newest_pid() -> int:
    with open("/proc/loadavg", "rb") as file:
        return int(file.read().rsplit(None, 1)[1])


def _is_living_child(pid: int) -> bool:
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except ChildProcessError:
        return False
