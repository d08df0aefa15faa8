"""Reading what programs write: each ready pipe once a turn, so that a loud program does not silence the others.

Pipes are armed for one event at a time (EPOLLONESHOT). A pipe is armed again at once after a pause, so that a single line is
passed on without delay; one that keeps delivering little is armed 2 ms later, so that its writes gather in the pipe; one
whose output has piled up while the agent takes it fast is armed when some is gone (`flow`); and one whose attempt has used up memory
and disk is armed when some of that is released. Both make the program wait.

What belongs to an attempt with secrets goes through its masks first (`masking`); what these hold back is shown after a pause.
"""

from __future__ import annotations

import os
import select

from styx.agent.owner.attempt import Attempt, clock
from styx.agent.owner.flow import Flow
from styx.agent.owner.masking import Masker

__all__ = ["CHUNK", "Pipes"]

CHUNK = 64 << 10  # what a pipe holds; a larger buffer would come from mmap each time
_LITTLE = 8 << 10
_CHATTY = 2_000_000  # nanoseconds
_RETRY = 1_000_000_000  # nanoseconds between attempts to write to a disk that took no more
_PAUSE = 300_000_000  # nanoseconds without a byte more, after which what a mask holds back is shown
_DRAIN = 64  # reads: more than a pipe can hold
_ARMED = select.EPOLLIN | select.EPOLLONESHOT


class Pipes:
    """All pipes of one owner, on its epoll."""

    __slots__ = ("_epoll", "_flow", "_held", "_last", "_later", "_stalled", "_waiting", "by_fd")

    def __init__(self, epoll: select.epoll) -> None:
        self._epoll = epoll
        self.by_fd: dict[int, tuple[Attempt, int]] = {}
        self._last: dict[int, int] = {}  # when a pipe last delivered
        self._later: dict[int, int] = {}  # armed again when this time has come, in order of time
        self._stalled: dict[int, None] = {}
        self._waiting: dict[int, None] = {}  # for the agent to take some of what has piled up
        self._flow = Flow()
        self._held: dict[int, int] = {}  # pipes whose masks hold bytes back, and until when, in order of time

    def watch(self, attempt: Attempt) -> None:
        for index, fd in enumerate(attempt.fds):
            self.by_fd[fd] = (attempt, index)
            self._epoll.register(fd, _ARMED)

    def ready(self, fd: int, now: int) -> Attempt | None:
        """One read of a pipe that epoll named. None when the pipe is not ours any more, or had nothing."""
        known = self.by_fd.get(fd)
        if known is None:
            return None
        attempt, index = known
        size = self._read(attempt, index)
        if size == 0 or attempt.fds[index] < 0:
            return attempt
        if attempt.spool.full:
            self._stalled[fd] = None
        elif size > 0 and attempt.spool.piled_up(index) and self._worth_waiting(now):
            self._waiting[fd] = None
        elif size < 0 or size >= _LITTLE or now - self._last.get(fd, 0) > _CHATTY:
            self._epoll.modify(fd, _ARMED)
        else:
            self._later[fd] = now + _CHATTY
        self._last[fd] = now
        return attempt if size > 0 else None

    def _worth_waiting(self, now: int) -> bool:
        return self._flow.good(now) if self._waiting else self._flow.begin(now)

    def drain(self, attempt: Attempt) -> bool:
        """Read what its pipes hold now, because its program is gone. True when both came to their ends; a pipe that did
        not is held open by another process, or there is no place for more."""
        for index in (0, 1):
            for _ in range(_DRAIN):
                if attempt.fds[index] < 0 or attempt.spool.full or self._read(attempt, index) <= 0:
                    break
        return not attempt.reading

    def _read(self, attempt: Attempt, index: int) -> int:
        """Bytes read; 0 at the end, -1 when there is nothing at present."""
        fd = attempt.fds[index]
        try:
            data = os.read(fd, CHUNK)
        except BlockingIOError:
            return -1
        if not data:
            self._close(attempt, index)
            return 0
        if not attempt.discarded:
            if attempt.masks is None:
                attempt.spool.streams[index].append(data)
            else:
                self._mask(attempt, index, attempt.masks[index], data)
        return len(data)

    def _mask(self, attempt: Attempt, index: int, mask: Masker, data: bytes) -> None:
        attempt.spool.streams[index].append(mask.feed(data))
        self._held.pop(attempt.fds[index], None)
        if mask.holds:
            self._held[attempt.fds[index]] = clock() + _PAUSE

    def _show_held(self, attempt: Attempt, index: int) -> None:
        """Pass on what a mask holds back."""
        if attempt.masks is not None and attempt.masks[index].holds and not attempt.discarded:
            attempt.spool.streams[index].append(attempt.masks[index].flush())

    def _close(self, attempt: Attempt, index: int) -> None:
        self._show_held(attempt, index)
        fd = attempt.fds[index]
        attempt.fds[index] = -1
        self._held.pop(fd, None)
        del self.by_fd[fd]
        self._last.pop(fd, None)
        self._later.pop(fd, None)
        self._stalled.pop(fd, None)
        self._waiting.pop(fd, None)
        os.close(fd)  # which takes it out of epoll too: nobody else holds this end

    def close(self, attempt: Attempt) -> None:
        """Read no more of it."""
        for index in (0, 1):
            if attempt.fds[index] >= 0:
                self._close(attempt, index)

    def released(self, attempt: Attempt, landed: int) -> None:
        """Some of its output was let go of, `landed` bytes of it by this agent: read on."""
        if landed:
            self._flow.took(landed, clock())
        self.moved(attempt)
        self._unstall(attempt)

    def moved(self, attempt: Attempt) -> None:
        """Some of its output was sent, or let go of."""
        if self._waiting:
            for index, fd in enumerate(attempt.fds):
                if fd in self._waiting and not attempt.spool.piled_up(index):
                    del self._waiting[fd]
                    self._epoll.modify(fd, _ARMED)

    def _unstall(self, attempt: Attempt) -> None:
        if self._stalled and not attempt.spool.full:
            for fd in attempt.fds:
                if fd in self._stalled:
                    del self._stalled[fd]
                    self._epoll.modify(fd, _ARMED)

    def tick(self, now: int) -> list[Attempt]:
        """Arm what is due, and try the disk again for what is stuck. Returns those that have output which was held back before."""
        while self._later:
            fd, due = next(iter(self._later.items()))
            if due > now:
                break
            del self._later[fd]
            self._epoll.modify(fd, _ARMED)
        for fd in list(self._stalled):
            attempt, index = self.by_fd[fd]
            if self._is_stuck(fd) and now - self._last.get(fd, 0) > _RETRY:
                self._last[fd] = now
                attempt.spool.streams[index].settle()
                self._unstall(attempt)
        if self._waiting and now >= self._flow.deadline and not self._flow.good(now):
            for fd in self._waiting:
                self._epoll.modify(fd, _ARMED)
            self._waiting.clear()
        shown: list[Attempt] = []
        while self._held:
            fd, due = next(iter(self._held.items()))
            if due > now:
                break
            del self._held[fd]
            attempt, index = self.by_fd[fd]
            self._show_held(attempt, index)
            shown.append(attempt)
        return shown

    def wake_at(self) -> int | None:
        """When `tick` has something to do."""
        times = [next(iter(times.values())) for times in (self._later, self._held) if times]
        if self._waiting:
            times.append(self._flow.deadline)
        if not self._later:
            times += [self._last.get(fd, 0) + _RETRY for fd in self._stalled if self._is_stuck(fd)]
        return min(times, default=None)

    def _is_stuck(self, fd: int) -> bool:
        attempt, index = self.by_fd[fd]
        return attempt.spool.streams[index].stuck
