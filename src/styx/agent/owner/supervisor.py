"""What the owner holds, and what becomes of it.

An attempt goes QUEUED, RUNNING, ENDED. It is RUNNING until three things have happened, in any order: its program was waited for,
none of its processes is left (`settled`, which frees its share of the machine), and its output was read to the end.
"""

from __future__ import annotations

import heapq
import os
import signal

from styx.agent.owner.attempt import ENDED, QUEUED, RUNNING, Attempt, clock
from styx.agent.owner.devices import Named
from styx.agent.owner.mark import ORDINALS, Marker
from styx.agent.owner.outlet import Outlet
from styx.agent.owner.pipes import Pipes
from styx.agent.owner.spawn import CannotRun, NoRoom
from styx.agent.owner.undertaker import Undertaker
from styx.agent.owner.workshop import Workshop
from styx.core.admission import Admission
from styx.core.resources import Resources
from styx.core.states import Outcome
from styx.protocol.messages import Run, Secret, Spec
from styx.protocol.owner import OwnerWatching

__all__ = ["Supervisor"]

_MILLISECOND = 1_000_000
_AT_ONCE = 16  # programs started in one turn, so that output and ends are not kept waiting
_NOTHING = Resources(cpus=0)


class Supervisor:
    """`attempts` is what is held, by the server's number; `leaders` the running programs, by pid."""

    def __init__(self, marker: Marker, workshop: Workshop, pipes: Pipes, outlet: Outlet) -> None:
        self.incarnation = ""
        self.capacity = _NOTHING
        self.tied = False
        self.closing = False  # nothing new is taken
        self._lease_end: int | None = None  # when exclusive attempts must end, unless the agent says otherwise
        self._cut_off = False  # that has come, and the agent has not said otherwise since
        self.attempts: dict[int, Attempt] = {}
        self.leaders: dict[int, Attempt] = {}
        self.undertaker = Undertaker(marker, self.leaders, self._settled)
        self._workshop = workshop
        self._pipes = pipes
        self._outlet = outlet
        self._admission = Admission(_NOTHING)
        self._unsettled: dict[int, Attempt] = {}  # waiting and started ones, by ordinal
        self._exclusive: dict[int, Attempt] = {}  # of those, the ones that end with the lease: looked at every turn
        self._leaving: set[int] = set()  # ordinals of those that nobody wants and that still run
        self._timeouts: list[tuple[int, int, Attempt]] = []
        self._ordinal = 0

    def held(self, now: int) -> tuple[OwnerWatching, ...]:
        return tuple(
            OwnerWatching(attempt.number, attempt.state, attempt.ran(now))
            for attempt in self.attempts.values()
            if not attempt.forgotten
        )

    # arriving

    def resize(self, capacity: Resources, devices: Named, now: int) -> None:
        """What the machine gives now. What runs goes on; what waits and can never fit any more is refused."""
        self._admission.resize(self.capacity, capacity)
        self.capacity = capacity
        in_use = [attempt.device_ids for attempt in self._unsettled.values() if attempt.state == RUNNING]
        self._workshop.devices.configure(devices, in_use)
        for attempt in [attempt for attempt in self._unsettled.values() if attempt.state == QUEUED]:
            self._refuse_too_large(attempt, now)

    def take(self, spec: Spec, run: Run, results: str, secrets: tuple[Secret, ...], now: int, parcel: str = "") -> None:
        """An attempt that was not held before waits for its turn."""
        self._ordinal = (self._ordinal + 1) % ORDINALS
        while self._ordinal in self._unsettled:
            self._ordinal = (self._ordinal + 1) % ORDINALS
        attempt = Attempt(self._ordinal, spec, run, results, secrets, parcel)
        self.attempts[attempt.number] = attempt
        if self.closing:
            self._never_ran(attempt, Outcome.REJECTED, "the owner is about to exit", now)
            return
        self._unsettled[attempt.ordinal] = attempt
        if spec.exclusive:
            self._exclusive[attempt.ordinal] = attempt
        self._admission.arrive(attempt.ordinal, spec.resources)
        self._refuse_too_large(attempt, now)

    def _refuse_too_large(self, attempt: Attempt, now: int) -> None:
        if not attempt.spec.resources.fits(self.capacity):
            self._never_ran(attempt, Outcome.REJECTED, "it asks for more than this machine gives", now)

    def recall(self, attempt: Attempt, now: int) -> None:
        """Give it back if it still waits."""
        if attempt.state == QUEUED:
            self._never_ran(attempt, Outcome.REJECTED, "recalled before it started", now)

    # starting

    def start_ready(self, now: int) -> bool:
        """Start what fits, in order. True when there is more to start than one turn should. Nothing starts while something
        leaves that another incarnation started: it could be an earlier run of the same task. And nothing starts once the lease is
        over: by now another node may have been given it, and whoever would take it back here may be gone."""
        if self._leaving or self._cut_off:
            return False
        for _ in range(_AT_ONCE):
            ordinal = self._admission.head()
            if ordinal is None:
                if self._admission.waiting:
                    self._workshop.prepare()
                return False
            self._admission.admit(ordinal)
            self._spawn(self._unsettled[ordinal], now)
        return True

    def _spawn(self, attempt: Attempt, now: int) -> None:
        try:
            self._workshop.start(attempt, self.incarnation)
        except CannotRun as error:
            attempt.started = now
            attempt.spool.streams[1].append(f"styx: {error.message}\n".encode(errors="surrogateescape"))
            attempt.code = error.code
            self._never_ran(attempt, Outcome.EXITED, error.message, now)
            return
        except (NoRoom, OSError) as error:
            self._never_ran(attempt, Outcome.REJECTED, f"the machine has no room for it: {error}", now)
            return
        attempt.state = RUNNING
        attempt.started = now
        self.leaders[attempt.pid] = attempt
        self._pipes.watch(attempt)
        self._outlet.started(attempt)
        if attempt.spec.timeout:
            due = now + attempt.spec.timeout * _MILLISECOND
            heapq.heappush(self._timeouts, (due, attempt.ordinal, attempt))

    # ending

    def end(self, attempt: Attempt, outcome: Outcome, reason: str, now: int) -> None:
        """Bring an attempt to its end, unless it has ended or is ending."""
        if attempt.outcome is not None or attempt.exited:
            return
        if attempt.state == QUEUED:
            self._never_ran(attempt, outcome, f"{reason} before it started", now)
            return
        attempt.outcome = outcome
        attempt.reason = reason
        self.undertaker.end(attempt, now, attempt.spec.grace * _MILLISECOND)

    def _never_ran(self, attempt: Attempt, outcome: Outcome, reason: str, now: int) -> None:
        attempt.exited = now
        attempt.outcome = outcome
        attempt.reason = reason
        self._settled(attempt)

    def reap(self) -> None:
        """Wait for every child that has died, start what fits in place of each, and only then see to what it left."""
        exited: list[Attempt] = []
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            now = clock()
            attempt = self.leaders.pop(pid, None)
            if attempt is not None:
                self._exited(attempt, status, now)
                exited.append(attempt)
            self.undertaker.reaped(pid, now)
        for attempt in exited:
            self._clear_up(attempt)

    def _exited(self, attempt: Attempt, status: int, now: int) -> None:
        attempt.exited = now
        code = os.waitstatus_to_exitcode(status)
        attempt.code = code if code >= 0 else 128 - code
        if attempt.outcome is None:
            if code < 0:
                attempt.reason = f"killed by {_signal_name(-code)}"
            attempt.alone = not _group_exists(attempt.pid)
            if attempt.alone and not attempt.device_ids:  # it seems to have left nothing: the next need not wait
                self._admission.leave(attempt.ordinal)
                self.start_ready(now)

    def _clear_up(self, attempt: Attempt) -> None:
        """Its program is gone: read what it wrote, and end what it left."""
        read_out = self._pipes.drain(attempt)
        if not attempt.discarded:
            self._outlet.due(attempt)
        if attempt.outcome is not None:
            return  # it is being stopped: the undertaker says when nothing of it is left
        if read_out and attempt.alone:
            self.undertaker.sweep_later(attempt.exited)
            self._settled(attempt)
        else:
            self.undertaker.end(attempt, attempt.exited, attempt.spec.grace * _MILLISECOND)

    def _settled(self, attempt: Attempt) -> None:
        """None of its processes is left; its share of the machine is free."""
        attempt.settled = True
        self._admission.leave(attempt.ordinal)
        self._unsettled.pop(attempt.ordinal, None)
        self._exclusive.pop(attempt.ordinal, None)
        self._leaving.discard(attempt.ordinal)
        if attempt.device_ids:
            self._workshop.devices.give_back(attempt.device_ids)
        self._read_out(attempt)

    def _read_out(self, attempt: Attempt) -> None:
        """The end, once its output is in. A pipe that is still open now is held by somebody it was handed to."""
        if attempt.reading:
            self._pipes.drain(attempt)
            if attempt.spool.full and attempt.reading:
                return
            self._pipes.close(attempt)
        self._workshop.finish(attempt)
        if attempt.outcome is None:
            attempt.outcome = Outcome.EXITED
        attempt.state = ENDED
        if attempt.discarded:
            self._workshop.clear(attempt)
        else:
            self._outlet.due(attempt)

    def pipe_ready(self, fd: int, now: int) -> None:
        attempt = self._pipes.ready(fd, now)
        if attempt is None:
            return
        if attempt.settled:
            self._read_out(attempt)
        elif not attempt.discarded:
            self._outlet.due(attempt)

    # letting go

    def forget(self, attempt: Attempt) -> None:
        """Its end is on a disk. What it wrote is owed until it is released."""
        if attempt.state == ENDED and not attempt.forgotten:
            attempt.forgotten = True
            self._workshop.clear(attempt)
            self._let_go_if_done(attempt)

    def release(self, attempt: Attempt, stream: int, offset: int) -> None:
        """One of its streams is on a disk up to `offset`."""
        landed = attempt.spool.streams[stream].release(offset)
        self._outlet.released(attempt, landed)
        self._pipes.released(attempt, landed)
        if attempt.settled and attempt.reading:
            self._read_out(attempt)
        self._let_go_if_done(attempt)

    def _let_go_if_done(self, attempt: Attempt) -> None:
        if attempt.forgotten and not attempt.spool.owed:
            del self.attempts[attempt.number]
            self._outlet.drop(attempt)

    def discard_all(self, now: int, *, at_once: bool) -> None:
        """Nobody wants these any more: end the running ones and forget all."""
        held, self.attempts = self.attempts, {}
        for attempt in held.values():
            attempt.discarded = True
            attempt.spool.close()
            self._pipes.moved(attempt)  # what it still says is dropped: it need not wait for anybody
            self._outlet.drop(attempt)
            if attempt.state == RUNNING and not attempt.settled:
                attempt.outcome = attempt.outcome or Outcome.KILLED
                self._leaving.add(attempt.ordinal)
                self.undertaker.end(attempt, now, 0 if at_once else attempt.spec.grace * _MILLISECOND)
            elif attempt.state == QUEUED:
                self._never_ran(attempt, Outcome.KILLED, "", now)
            else:
                self._pipes.close(attempt)
                self._workshop.clear(attempt)

    def stop_all(self, outcome: Outcome, reason: str, now: int) -> None:
        for attempt in list(self.attempts.values()):
            if attempt.state == QUEUED and outcome is Outcome.LOST:
                self._never_ran(attempt, Outcome.REJECTED, reason, now)
            else:
                self.end(attempt, outcome, reason, now)

    # time

    def extend(self, until: int) -> None:
        """The lease of this node goes on for now."""
        self._lease_end = until
        self._cut_off = False

    def tick(self, now: int) -> None:
        while self._timeouts and self._timeouts[0][0] <= now:
            _, _, attempt = heapq.heappop(self._timeouts)
            self.end(attempt, Outcome.TIMED_OUT, f"timed out after {attempt.spec.timeout / 1000:g} s", now)
        if self._lease_end is not None and self._lease_end <= now:
            self._lease_end = None
            self._cut_off = True
            for attempt in list(self._exclusive.values()):
                self.end(attempt, Outcome.KILLED, "the lease of its node is over", now)
        self.undertaker.tick(now)

    def wake_at(self) -> int | None:
        times = [at for at in (self.undertaker.wake_at(), self._pipes.wake_at()) if at is not None]
        while self._timeouts and self._timeouts[0][2].exited:
            heapq.heappop(self._timeouts)
        if self._timeouts:
            times.append(self._timeouts[0][0])
        if self._lease_end is not None and self._exclusive:
            times.append(self._lease_end)
        return min(times, default=None)

    @property
    def waiting(self) -> bool:
        """Whether there is work to start as soon as there is room."""
        return bool(self._admission.waiting)

    @property
    def running(self) -> bool:
        """Whether any process is left, or should be."""
        return bool(self._unsettled) or self.undertaker.busy


def _group_exists(group: int) -> bool:
    """Whether a process is left in a program's own group; only a hint, since it is told by number."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
