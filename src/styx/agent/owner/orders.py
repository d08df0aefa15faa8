"""What each message of the agent means. All orders are idempotent by attempt: one about an attempt that is not held, or is past
what the order asks for, changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from styx.agent.owner.attempt import Attempt
from styx.agent.owner.outlet import Outlet
from styx.agent.owner.supervisor import Supervisor
from styx.core.states import Outcome
from styx.errors import ProtocolError
from styx.protocol import owner as p

__all__ = ["Orders"]

_MILLISECOND = 1_000_000


class Orders:
    """Passes what the agent orders on to the supervisor."""

    def __init__(self, supervisor: Supervisor, outlet: Outlet) -> None:
        self._supervisor = supervisor
        self._outlet = outlet
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

    def obey(self, message: p.AgentToOwner, now: int) -> None:
        """One message. Raises ProtocolError when it may not come now."""
        link = self._outlet.link
        if link is not None and not link.configured and type(message) not in {p.Configure, p.OwnerShutdown}:
            raise ProtocolError(f"{type(message).__name__} came before Configure")
        self._handlers[type(message)](message, now)

    def _configure(self, message: p.Configure, now: int) -> None:
        supervisor = self._supervisor
        if message.incarnation != supervisor.incarnation:
            supervisor.discard_all(now, at_once=True)
            supervisor.incarnation = message.incarnation
        supervisor.tied = message.tied
        supervisor.resize(message.capacity, message.devices, now)
        link = self._outlet.link
        if link is not None and not link.configured:
            link.configured = True
            self._outlet.tell_all(supervisor.attempts)

    def _start(self, message: p.OwnerStart, now: int) -> None:
        for run in message.runs:
            if run.attempt not in self._supervisor.attempts:
                self._supervisor.take(message.spec, run, message.results, message.secrets, now, message.parcel)

    def _held(self, numbers: tuple[int, ...]) -> list[Attempt]:
        held = self._supervisor.attempts
        return [held[number] for number in numbers if number in held]

    def _stop(self, message: p.OwnerStop, now: int) -> None:
        for attempt in self._held(message.attempts):
            self._supervisor.end(attempt, Outcome.KILLED, "stopped", now)

    def _recall(self, message: p.OwnerRecall, now: int) -> None:
        for attempt in self._held(message.attempts):
            self._supervisor.recall(attempt, now)

    def _forget(self, message: p.OwnerForget, now: int) -> None:
        for attempt in self._held(message.attempts):
            self._supervisor.forget(attempt)

    def _release(self, message: p.OwnerRelease, now: int) -> None:
        if message.stream in {1, 2}:
            for attempt in self._held((message.attempt,)):
                self._supervisor.release(attempt, message.stream - 1, message.offset)

    def _lease(self, message: p.OwnerLease, now: int) -> None:
        self._supervisor.extend(now + message.remaining * _MILLISECOND)

    def _shutdown(self, message: p.OwnerShutdown, now: int) -> None:
        self._supervisor.closing = True
        if message.kill:
            self._supervisor.stop_all(Outcome.KILLED, "its owner was shut down", now)
