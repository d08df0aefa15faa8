"""What the owner holds, and what each message and each end of a program means for it.

An attempt goes QUEUED, RUNNING, ENDED. It is RUNNING until three things have happened, in any order: its program was waited for,
none of its processes is left (`settled`, which frees its share of the machine), and its output was read to the end.
"""

from __future__ import annotations

import heapq
import os
import signal
from collections.abc import Callable
from typing import Any

from styx.agent.owner import environment, results
from styx.agent.owner.attempt import ENDED, QUEUED, RUNNING, Attempt, clock
from styx.agent.owner.devices import Devices
from styx.agent.owner.mark import ORDINALS, Marker
from styx.agent.owner.masking import Masker, masked, worth_masking
from styx.agent.owner.outlet import Outlet
from styx.agent.owner.pipes import Pipes
from styx.agent.owner.rooms import Rooms
from styx.agent.owner.spawn import CannotRun, NoRoom, Spawner
from styx.agent.owner.spool import Budget, Spool
from styx.agent.owner.undertaker import Undertaker
from styx.core.admission import Admission
from styx.core.resources import Resources
from styx.core.states import Outcome
from styx.errors import ProtocolError
from styx.protocol import owner as p

__all__ = ["Supervisor"]

_MILLISECOND = 1_000_000
_AT_ONCE = 16  # programs started in one turn, so that output and ends are not kept waiting
_NOTHING = Resources(cpus=0)


class Supervisor:
    """`attempts` is what is held, by the server's number; `leaders` the running programs, by pid."""

    def __init__(
        self, folder: str, marker: Marker, spawner: Spawner, pipes: Pipes, outlet: Outlet, rooms: Rooms, budget: Budget
    ) -> None:
        self.incarnation = ""
        self.capacity = _NOTHING
        self.tied = False
        self.closing = False  # nothing new is taken
        self.attempts: dict[int, Attempt] = {}
        self.leaders: dict[int, Attempt] = {}
        self._folder = folder
        self._results = os.open(f"{folder}/results", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._marker = marker
        self._spawner = spawner
        self._pipes = pipes
        self._outlet = outlet
        self._rooms = rooms
        self._budget = budget
        self.undertaker = Undertaker(marker, self.leaders, self._settled)
        self._admission = Admission(_NOTHING)
        self._unsettled: dict[int, Attempt] = {}  # waiting and started ones, by ordinal
        self._devices = Devices()
        self._timeouts: list[tuple[int, int, Attempt]] = []
        self._lease_end: int | None = None  # when exclusive attempts must end, unless the agent says otherwise
        self._ordinal = 0
        self._inherited = environment.encoded(environment.base().items())
        self._handlers: dict[type, Callable[[Any, int], None]] = {
            p.Configure: self._configure,
            p.OwnerStart: self._start,
            p.OwnerStop: self._stop,
            p.OwnerRecall: self._recall,
            p.OwnerForget: self._forget,
            p.OwnerRelease: self._release,
            p.OwnerShutdown: self._shutdown,
            p.OwnerLease: self._lease,
        }

    # what the agent says

    def handle(self, message: p.AgentToOwner, now: int) -> None:
        """Obey one message. Raises ProtocolError when it may not come now."""
        link = self._outlet.link
        if link is not None and not link.configured and type(message) not in {p.Configure, p.OwnerShutdown}:
            raise ProtocolError(f"{type(message).__name__} came before Configure")
        self._handlers[type(message)](message, now)

    def held(self, now: int) -> tuple[p.OwnerWatching, ...]:
        return tuple(
            p.OwnerWatching(attempt.number, attempt.state, attempt.ran(now))
            for attempt in self.attempts.values()
            if not attempt.forgotten
        )

    def _configure(self, message: p.Configure, now: int) -> None:
        if message.incarnation != self.incarnation:
            self.discard_all(now, at_once=True)
            self.incarnation = message.incarnation
        self._admission.resize(self.capacity, message.capacity)
        self.capacity = message.capacity
        self.tied = message.tied
        self._devices.configure(message.devices, [a.device_ids for a in self._unsettled.values() if a.state == RUNNING])
        for attempt in [a for a in self._unsettled.values() if a.state == QUEUED]:
            self._refuse_too_large(attempt, now)
        link = self._outlet.link
        if link is not None and not link.configured:
            link.configured = True
            self._outlet.tell_all(self.attempts)

    def _start(self, message: p.OwnerStart, now: int) -> None:
        for run in message.runs:
            if run.attempt in self.attempts:
                continue
            self._ordinal = (self._ordinal + 1) % ORDINALS
            while self._ordinal in self._unsettled:
                self._ordinal = (self._ordinal + 1) % ORDINALS
            attempt = Attempt(self._ordinal, message.spec, run, message.results, message.secrets)
            self.attempts[run.attempt] = attempt
            if self.closing:
                self._never_ran(attempt, Outcome.REJECTED, "the owner is about to exit", now)
                continue
            self._unsettled[attempt.ordinal] = attempt
            self._admission.arrive(attempt.ordinal, message.spec.resources)
            self._refuse_too_large(attempt, now)

    def _refuse_too_large(self, attempt: Attempt, now: int) -> None:
        if not attempt.spec.resources.fits(self.capacity):
            self._never_ran(attempt, Outcome.REJECTED, "it asks for more than this machine gives", now)

    def _stop(self, message: p.OwnerStop, now: int) -> None:
        for number in message.attempts:
            attempt = self.attempts.get(number)
            if attempt is not None:
                self._end(attempt, Outcome.KILLED, "stopped", now)

    def _recall(self, message: p.OwnerRecall, now: int) -> None:
        for number in message.attempts:
            attempt = self.attempts.get(number)
            if attempt is not None and attempt.state == QUEUED:
                self._never_ran(attempt, Outcome.REJECTED, "recalled before it started", now)

    def _forget(self, message: p.OwnerForget, now: int) -> None:
        for number in message.attempts:
            attempt = self.attempts.get(number)
            if attempt is not None and attempt.state == ENDED and not attempt.forgotten:
                attempt.forgotten = True
                self._remove_room(attempt)
                self._let_go_if_done(attempt)

    def _release(self, message: p.OwnerRelease, now: int) -> None:
        attempt = self.attempts.get(message.attempt)
        if attempt is None or message.stream not in {1, 2}:
            return
        landed = attempt.spool.streams[message.stream - 1].release(message.offset)
        self._outlet.released(attempt, landed)
        self._pipes.released(attempt)
        if attempt.settled and attempt.reading:
            self._read_out(attempt)
        self._let_go_if_done(attempt)

    def _lease(self, message: p.OwnerLease, now: int) -> None:
        self._lease_end = now + message.remaining * _MILLISECOND

    def _shutdown(self, message: p.OwnerShutdown, now: int) -> None:
        self.closing = True
        if message.kill:
            self.stop_all(Outcome.KILLED, "its owner was shut down", now)

    # starting

    def start_ready(self, now: int) -> bool:
        """Start what fits, in order. True when there is more to start than one turn should."""
        for _ in range(_AT_ONCE):
            ordinal = self._admission.head()
            if ordinal is None:
                if self._admission.waiting:
                    self._spawner.prepare()
                return False
            self._admission.admit(ordinal)
            self._spawn(self._unsettled[ordinal], now)
        return True

    def _spawn(self, attempt: Attempt, now: int) -> None:
        spec = attempt.spec
        attempt.device_ids = self._devices.take(spec.resources) if spec.resources.accelerators else ()
        attempt.result_name = f"{attempt.number}-{attempt.ordinal}"
        mark = self._marker.variable(attempt.ordinal, self.incarnation, attempt.number)
        variables = environment.of(
            attempt,
            self._inherited,
            f"{self._folder}/results/{attempt.result_name}",
            mark,
            self._devices.visible(attempt.device_ids),
        )
        attempt.started = now
        attempt.spool = Spool(self._budget, f"{self._folder}/spool/{attempt.result_name}")
        try:
            folder = spec.workdir
            if not folder:
                folder = attempt.room = self._rooms.take()
            attempt.pid, *attempt.fds = self._spawner.spawn(
                spec.command, spec.shell, folder, variables, attempt.ordinal
            )
        except CannotRun as error:
            attempt.spool.streams[1].append(f"styx: {error.message}\n".encode(errors="surrogateescape"))
            attempt.code = error.code
            self._never_ran(attempt, Outcome.EXITED, error.message, now)
            return
        except (NoRoom, OSError) as error:
            attempt.started = 0
            self._never_ran(attempt, Outcome.REJECTED, f"the machine has no room for it: {error}", now)
            return
        attempt.state = RUNNING
        if attempt.secrets and (values := worth_masking(secret.value for secret in attempt.secrets)):
            attempt.masks = Masker(values), Masker(values)
        self.leaders[attempt.pid] = attempt
        self._pipes.watch(attempt)
        self._outlet.started(attempt)
        if spec.timeout:
            heapq.heappush(self._timeouts, (now + spec.timeout * _MILLISECOND, attempt.ordinal, attempt))

    # ending

    def _end(self, attempt: Attempt, outcome: Outcome, reason: str, now: int) -> None:
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
        if attempt.device_ids:
            self._devices.give_back(attempt.device_ids)
        self._read_out(attempt)

    def _read_out(self, attempt: Attempt) -> None:
        """The end, once its output is in. A pipe that is still open now is held by somebody it was handed to."""
        if attempt.reading:
            self._pipes.drain(attempt)
            if attempt.spool.full and attempt.reading:
                return
            self._pipes.close(attempt)
        if attempt.pid:
            attempt.result, complaint = results.take(self._results, attempt.result_name)
            if attempt.secrets:
                attempt.result = masked(attempt.result, worth_masking(secret.value for secret in attempt.secrets))
            if complaint:
                attempt.reason = f"{attempt.reason}; {complaint}" if attempt.reason else complaint
        if attempt.room and self._rooms.returned(attempt.room):
            attempt.room = ""
        if attempt.outcome is None:
            attempt.outcome = Outcome.EXITED
        attempt.state = ENDED
        attempt.secrets, attempt.masks = (), None
        if attempt.discarded:
            self._remove_room(attempt)
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

    def _let_go_if_done(self, attempt: Attempt) -> None:
        if attempt.forgotten and not attempt.spool.owed:
            del self.attempts[attempt.number]
            self._outlet.drop(attempt)

    def _remove_room(self, attempt: Attempt) -> None:
        if attempt.room:
            self._rooms.remove(attempt.room)
            attempt.room = ""

    def discard_all(self, now: int, *, at_once: bool) -> None:
        """Nobody wants these any more: end the running ones and forget all."""
        held, self.attempts = self.attempts, {}
        for attempt in held.values():
            attempt.discarded = True
            attempt.spool.close()
            self._outlet.drop(attempt)
            if attempt.state == RUNNING and not attempt.settled:
                attempt.outcome = attempt.outcome or Outcome.KILLED
                self.undertaker.end(attempt, now, 0 if at_once else attempt.spec.grace * _MILLISECOND)
            elif attempt.state == QUEUED:
                self._never_ran(attempt, Outcome.KILLED, "", now)
            else:
                self._pipes.close(attempt)
                self._remove_room(attempt)

    def stop_all(self, outcome: Outcome, reason: str, now: int) -> None:
        for attempt in list(self.attempts.values()):
            if attempt.state == QUEUED and outcome is Outcome.LOST:
                self._never_ran(attempt, Outcome.REJECTED, reason, now)
            else:
                self._end(attempt, outcome, reason, now)

    # time

    def tick(self, now: int) -> None:
        while self._timeouts and self._timeouts[0][0] <= now:
            _, _, attempt = heapq.heappop(self._timeouts)
            self._end(attempt, Outcome.TIMED_OUT, f"timed out after {attempt.spec.timeout / 1000:g} s", now)
        if self._lease_end is not None and self._lease_end <= now:
            self._lease_end = None
            for attempt in self._exclusive():
                self._end(attempt, Outcome.KILLED, "the lease of its node is over", now)
        self.undertaker.tick(now)

    def _exclusive(self) -> list[Attempt]:
        return [attempt for attempt in self._unsettled.values() if attempt.spec.exclusive]

    def wake_at(self) -> int | None:
        times = [at for at in (self.undertaker.wake_at(), self._pipes.wake_at()) if at is not None]
        while self._timeouts and self._timeouts[0][2].exited:
            heapq.heappop(self._timeouts)
        if self._timeouts:
            times.append(self._timeouts[0][0])
        if self._lease_end is not None and self._exclusive():
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
