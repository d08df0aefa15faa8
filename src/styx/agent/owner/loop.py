"""The owner's loop: one thread, one epoll. Each turn: who died, what was written, what the agent says, what is due, and then
one frame to the agent with all that came of it."""

from __future__ import annotations

import os
import select
import signal
import socket
import sys

from styx.agent.owner.address import SOCKET
from styx.agent.owner.attempt import clock
from styx.agent.owner.link import Link, peer
from styx.agent.owner.orders import Orders
from styx.agent.owner.outlet import Outlet
from styx.agent.owner.pipes import Pipes
from styx.agent.owner.supervisor import Supervisor
from styx.agent.owner.trash import Trash
from styx.core.states import Outcome
from styx.errors import ProtocolError
from styx.protocol.owner import OWNER_VERSION, OwnerHello

__all__ = ["Loop"]

_SECOND = 1_000_000_000
_GATHER = 20_000_000  # nanoseconds
_CHECK = 5 * _SECOND
_LAST_CALL = 10 * _SECOND  # after SIGTERM, for the agent to collect what ended
_LONGEST = 60 * _SECOND  # of a wait: epoll's clock stops in suspend, ours does not
_OVER = select.EPOLLHUP | select.EPOLLERR


class Loop:
    """Runs until there is nothing left to own or to collect. `idle` is in nanoseconds."""

    def __init__(
        self,
        epoll: select.epoll,
        listener: socket.socket,
        supervisor: Supervisor,
        pipes: Pipes,
        outlet: Outlet,
        trash: Trash,
        idle: int,
    ) -> None:
        self._epoll = epoll
        self._listener = listener
        self._supervisor = supervisor
        self._orders = Orders(supervisor, outlet)
        self._pipes = pipes
        self._outlet = outlet
        self._trash = trash
        self._idle = idle
        self._alone_since = clock()
        self._look_at = self._alone_since + min(_CHECK, idle)
        self._terminated_at = 0
        self._nonce = os.urandom(8).hex()
        self._more = False
        self._flushed = 0
        # While work waits here, nobody waits for us: what happens within a moment goes out together, and neither the agent's
        # wakeups nor the server's commits take CPU from the programs. What comes after a longer silence goes at once.
        self._gathering = False
        self._wakeup, wakeup = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, _noted)
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN)
        epoll.register(self._wakeup, select.EPOLLIN)
        epoll.register(listener.fileno(), select.EPOLLIN)

    def run(self) -> None:
        while not self._done(clock()):
            self._turn(self._epoll.poll(self._patience(), 256))

    def _turn(self, events: list[tuple[int, int]]) -> None:
        supervisor, link = self._supervisor, self._outlet.link
        now = clock()
        ready = dict(events)
        if ready.pop(self._wakeup, 0):
            self._signalled(os.read(self._wakeup, 4_096), now)
        from_listener = ready.pop(self._listener.fileno(), 0)
        from_link = ready.pop(link.socket.fileno(), 0) if link is not None else 0
        for fd in ready:
            supervisor.pipe_ready(fd, now)
        if from_link & (select.EPOLLIN | _OVER):
            self._hear()
        if from_listener:
            self._accept()
        now = clock()
        for attempt in self._pipes.tick(now):
            self._outlet.due(attempt)
        supervisor.tick(now)
        self._more = supervisor.start_ready(now)
        if self._trash.busy:
            self._trash.step()
        if self._outlet.link is None:
            self._look_for_the_folder(now)
        together = supervisor.waiting and not self._outlet.pressing
        self._gathering = together and self._flushed <= now < self._flushed + _GATHER
        if not self._gathering:
            self._flushed = now
            if not self._outlet.flush(now):
                self._hang_up(now)
        self._watch_link()

    def _patience(self) -> float:
        """Seconds to wait for events."""
        if self._more or self._trash.busy:
            return 0.0
        now = clock()
        wake_at = self._supervisor.wake_at()
        wait = _LONGEST if wake_at is None else max(0, wake_at - now)
        if self._outlet.link is None:
            wait = min(wait, max(0, self._alone_since + self._idle - now) or _CHECK)
        if self._terminated_at:
            wait = min(wait, _SECOND)
        if self._gathering:
            wait = min(wait, max(0, self._flushed + _GATHER - now))
        return min(wait, _LONGEST) / _SECOND + 0.0005  # epoll counts milliseconds: do not wake just too early

    def _look_for_the_folder(self, now: int) -> None:
        """Without its socket in its folder, nobody will ever come and collect: then nothing is worth going on for."""
        if now >= self._look_at:
            self._look_at = now + _CHECK
            if not os.path.exists(SOCKET):
                _log("the folder is gone: ending all programs")
                self._supervisor.closing = True
                self._supervisor.discard_all(now, at_once=False)

    def _signalled(self, numbers: bytes, now: int) -> None:
        if signal.SIGTERM in numbers and not self._terminated_at:
            _log("SIGTERM: ending all programs")
            self._terminated_at = now
            self._supervisor.closing = True
            self._supervisor.stop_all(Outcome.LOST, "its owner was ended by SIGTERM", now)
        self._supervisor.reap()

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:  # it went away again, or we have no descriptor for it: it will try again
            return
        pid, uid = peer(connection)
        if uid not in {0, os.geteuid()}:
            _log(f"refused process {pid} of user {uid}")
            connection.close()
            return
        now = clock()
        if self._outlet.link is not None:
            self._close_link()
        link = Link(connection)
        self._outlet.attach(link)
        self._epoll.register(connection.fileno(), select.EPOLLIN)
        supervisor = self._supervisor
        hello = OwnerHello(
            version=OWNER_VERSION,
            nonce=self._nonce,
            pid=os.getpid(),
            incarnation=supervisor.incarnation,
            capacity=supervisor.capacity,
            held=supervisor.held(now),
        )
        if not link.send([hello]):
            self._hang_up(now)

    def _hear(self) -> None:
        link = self._outlet.link
        assert link is not None
        try:
            messages, goes_on = link.receive()
            now = clock()
            for message in messages:
                self._orders.obey(message, now)
        except ProtocolError as error:
            _log(f"closed the connection: {error}")
            goes_on = False
        if not goes_on:
            self._hang_up(clock())

    def _hang_up(self, now: int) -> None:
        """The connection ended, and nobody took its place."""
        if self._outlet.link is None:
            return
        self._close_link()
        self._alone_since = now
        if self._supervisor.tied:
            self._supervisor.closing = True
            self._supervisor.discard_all(now, at_once=False)

    def _close_link(self) -> None:
        link = self._outlet.link
        assert link is not None
        self._epoll.unregister(link.socket.fileno())
        link.close()
        self._outlet.attach(None)

    def _watch_link(self) -> None:
        link = self._outlet.link
        if link is not None:
            wanted = select.EPOLLIN | select.EPOLLOUT if link.queued else select.EPOLLIN
            if wanted != link.watched:
                self._epoll.modify(link.socket.fileno(), wanted)
                link.watched = wanted

    def _done(self, now: int) -> bool:
        """Nothing left to own or to collect, and nobody who might bring more."""
        supervisor = self._supervisor
        if supervisor.running or self._trash.busy:
            return False
        uncollected = bool(supervisor.attempts)
        if self._terminated_at:
            over = not uncollected or now > self._terminated_at + _LAST_CALL
        elif supervisor.closing:
            over = not uncollected
        else:
            over = not uncollected and self._outlet.link is None and now >= self._alone_since + self._idle
        return over and supervisor.undertaker.nothing_left(now)


def _noted(number: int, frame: object) -> None:
    """The wakeup descriptor has told the loop already."""


def _log(text: str) -> None:
    print(f"styx-owner[{os.getpid()}]: {text}", file=sys.stderr, flush=True)
