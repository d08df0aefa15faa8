"""A provider's Runner as the owner of an agent's programs: what the session orders, and what it is told.

It is a Sink to the runner and an OwnerPort to the agent's session, from which come all fences, reports and acknowledgements. Attempts wait
in order for room in the runner's capacity, by the same `Admission` as on any node. An end is kept until it is forgotten and output until it is
released; only then is the runner told to forget, so that until that moment the place itself still has everything.

What goes over the connection, and how much may be here, is the business of its `Traffic`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from styx.core.admission import Admission
from styx.core.events import AttemptEnding
from styx.core.resources import Resources
from styx.core.states import Outcome
from styx.core.wording import count_text
from styx.protocol.owner import (
    OWNER_VERSION,
    AgentToOwner,
    Configure,
    OwnerForget,
    OwnerHello,
    OwnerLease,
    OwnerRecall,
    OwnerRelease,
    OwnerShutdown,
    OwnerStart,
    OwnerStarted,
    OwnerStop,
    OwnerToAgent,
    OwnerWatching,
)
from styx.providers.base import Found
from styx.runtime.runner_attempt import ENDED, QUEUED, RUNNING, Hosted
from styx.runtime.runner_traffic import Traffic

__all__ = ["RunnerOwner"]


class RunnerOwner:
    """`place`, `end` and `leave` carry an attempt to the runner, stop it there and let it go; they return at once, and what comes
    of it is told to the Sink. `nonce` is the same over restarts for a runner that finds its attempts again."""

    def __init__(
        self,
        capacity: Resources,
        at_once: int,
        nonce: str,
        clock: Callable[[], int],
        place: Callable[[Hosted], None],
        end: Callable[[Hosted], None],
        leave: Callable[[Hosted], None],
    ) -> None:
        self.capacity = capacity
        self.incarnation = ""
        self.attempts: dict[int, Hosted] = {}
        self._at_once = at_once
        self._nonce = nonce
        self._clock = clock
        self._place = place
        self._end = end
        self._leave = leave
        self._admission = Admission(capacity)
        self._traffic = Traffic(self.attempts, clock)
        self._known: Mapping[tuple[int, int], int] = {}
        self._early: list[Callable[[], None]] | None = []  # what the runner said before `adopt`; None since then
        self._handlers: dict[type, Callable[[Any], None]] = {
            Configure: self._configure,
            OwnerStart: self._start,
            OwnerStop: self._stop,
            OwnerRecall: self._recall,
            OwnerForget: self._forget,
            OwnerRelease: self._release,
            OwnerLease: self._pass_over,  # it ends with the server, and what runs goes on without both
            OwnerShutdown: self._pass_over,
        }

    def adopt(self, found: Iterable[Found], known: Mapping[tuple[int, int], int]) -> None:
        """What the runner has from before, once, before the first connection. `known` says how many bytes of each (attempt, stream) the
        server has."""
        self._known = known
        for one in found:
            hosted = self.attempts[one.attempt] = Hosted.again(one, self._clock())
            self._admission.arrive(one.attempt, one.resources)
            self._admission.admit(one.attempt)
            if hosted.found == ENDED:
                self._admission.leave(one.attempt)
        early, self._early = self._early or [], None
        for told in early:
            told()

    def _too_early(self, told: Callable[[], None]) -> bool:
        """Whether the runner, which watches from the moment it has said what it has, speaks of attempts that are not adopted yet:
        that is heard once they are."""
        if self._early is None:
            return False
        self._early.append(told)
        return True

    def why(self, attempt: int) -> str:
        """Why it has not started, or does not end, as far as is known here; "" when nothing is."""
        held = self.attempts.get(attempt)
        if held is None or held.reason or held.number not in self._admission.waiting:
            return held.reason if held is not None else ""
        if self._at_once and len(self._admission.admitted) >= self._at_once:
            return f"no more than {count_text(self._at_once, 'attempt runs', 'attempts run')} there at once, by its settings"
        return "it waits for what runs there to end"

    # -- the port -----------------------------------------------------------------------------------------------

    async def open(self) -> RunnerOwner:
        """A new connection."""
        now = self._clock()
        held = tuple(
            OwnerWatching(one.number, max(one.state, one.found), one.ran(now))
            for one in self.attempts.values()
            if not one.forgotten
        )
        incarnation = self.incarnation if held else ""
        self._traffic.open(OwnerHello(OWNER_VERSION, self._nonce, os.getpid(), incarnation, self.capacity, held))
        return self

    async def send(self, messages: list[AgentToOwner], /) -> None:
        for message in messages:
            self._handlers[type(message)](message)
        self._admit()

    async def recv(self) -> list[OwnerToAgent]:
        return await self._traffic.recv()

    async def close(self) -> None:
        self._traffic.close()

    # -- what the runner says (Sink) ----------------------------------------------------------------------------

    def started(self, attempt: int) -> None:
        if self._too_early(lambda: self.started(attempt)):
            return
        held = self.attempts.get(attempt)
        if held is not None and held.state == QUEUED:
            held.state = RUNNING
            held.started_at = self._clock()
            held.reason = ""
            self._traffic.say(OwnerStarted((attempt,)))

    def output(self, attempt: int, stream: int, offset: int, data: bytes) -> None:
        if self._too_early(lambda: self.output(attempt, stream, offset, data)):
            return
        held = self.attempts.get(attempt)
        if held is not None and held.state != ENDED:
            self._traffic.came(held.streams[stream - 1].take(offset, data))
            self._traffic.due(held)

    def cut(self, attempt: int, stream: int) -> None:
        if self._too_early(lambda: self.cut(attempt, stream)):
            return
        held = self.attempts.get(attempt)
        if held is not None and not held.streams[stream - 1].total:
            held.streams[stream - 1].begin_at(self._known.get((attempt, stream), 0))

    async def room(self, attempt: int) -> None:
        await self._traffic.room(attempt)

    def ended(self, ending: AttemptEnding) -> None:
        if self._too_early(lambda: self.ended(ending)):
            return
        held = self.attempts.get(ending.attempt)
        if held is None or held.state == ENDED:
            return  # told again, and known
        self._traffic.came(held.end(ending, self._clock()))
        self._admission.leave(held.number)
        self._traffic.due(held)
        self._admit()

    def waiting(self, attempt: int, reason: str) -> None:
        if self._too_early(lambda: self.waiting(attempt, reason)):
            return
        held = self.attempts.get(attempt)
        if held is not None and held.state != ENDED:
            held.reason = reason

    # -- what the session orders --------------------------------------------------------------------------------

    def _configure(self, message: Configure) -> None:
        self.incarnation = message.incarnation
        if not self._traffic.told:
            self._traffic.anew()

    def _start(self, message: OwnerStart) -> None:
        for run in message.runs:
            if run.attempt in self.attempts:
                continue
            spec = message.spec
            held = Hosted(run.attempt, spec.resources, message.secrets, spec, run)
            held.results = message.results
            self.attempts[run.attempt] = held
            if not spec.resources.fits(self.capacity):
                self.never(held, Outcome.REJECTED, "it asks for more than this place gives")
            else:
                self._admission.arrive(run.attempt, spec.resources)

    def _stop(self, message: OwnerStop) -> None:
        for held in self._held(message.attempts):
            if held.state == ENDED or held.stopping:
                continue
            held.stopping = True
            if held.placed:
                self._end(held)
            else:
                self.never(held, Outcome.KILLED, "stopped before it started")

    def _recall(self, message: OwnerRecall) -> None:
        for held in self._held(message.attempts):
            if held.state == QUEUED and not held.placed:
                self.never(held, Outcome.REJECTED, "recalled before it started")

    def _forget(self, message: OwnerForget) -> None:
        for held in self._held(message.attempts):
            if held.state == ENDED:
                held.forgotten = True
                self._let_go(held)

    def _release(self, message: OwnerRelease) -> None:
        for held in self._held((message.attempt,)):
            self._traffic.landed(*held.streams[message.stream - 1].release(message.offset))
            self._traffic.due(held)
            self._let_go(held)
        self._traffic.go_on()

    def _pass_over(self, message: object) -> None:
        return

    # -- within -------------------------------------------------------------------------------------------------

    def never(self, held: Hosted, outcome: Outcome, reason: str, code: int = 0) -> None:
        """It has ended, and no program of it ran."""
        held.started_at = 0
        self.ended(AttemptEnding(held.number, outcome, code, reason=reason))

    def _held(self, numbers: Iterable[int]) -> list[Hosted]:
        return [self.attempts[number] for number in numbers if number in self.attempts]

    def _admit(self) -> None:
        """Give the runner what fits, in order."""
        while self._at_once == 0 or len(self._admission.admitted) < self._at_once:
            number = self._admission.head()
            if number is None:
                return
            self._admission.admit(number)
            held = self.attempts[number]
            held.placed = True
            self._place(held)

    def _let_go(self, held: Hosted) -> None:
        if held.forgotten and not held.owed:
            del self.attempts[held.number]
            self._leave(held)
            self._traffic.drop(held)
