"""A provider's Runner as the owner of an agent's programs: what the session orders, and what it is told.

It is a Sink to the runner and an OwnerPort to the agent's session, from which come all fences, reports and acknowledgements. Attempts wait
in order for room in the runner's capacity, by the same `Admission` as on any node. An end is kept until it is forgotten and output until it is
released; only then is the runner told to forget, so that until that moment the place itself still has everything.

Output is bounded: a reader of logs waits in `room` while much of its attempt, or of all, is not on the server's disk yet.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from styx.core.admission import Admission
from styx.core.events import AttemptEnding
from styx.core.resources import Resources
from styx.core.states import Outcome
from styx.core.wording import count_text
from styx.protocol.codec import MAX_CHUNK
from styx.protocol.owner import (
    OWNER_VERSION,
    AgentToOwner,
    Configure,
    OwnerEnded,
    OwnerForget,
    OwnerHello,
    OwnerLease,
    OwnerOutput,
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

__all__ = ["RunnerOwner"]

STREAM_WINDOW = 1 << 20  # bytes of a stream that are sent and not released
WINDOW = 6 << 20  # of all; below what an agent keeps, so that it never stops reading and hears of ends meanwhile
KEPT = 2 << 20  # bytes of one attempt that are here, before its reader waits
ALL_KEPT = 64 << 20
_FRAME = 1 << 20
_PER_FRAME = 1_000  # ends in one message
_NOTHING = Resources(0)


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
        self._said: deque[OwnerToAgent] = deque()
        self._due: dict[int, None] = {}  # attempts with something to tell, in turn
        self._wake = asyncio.Event()
        self._told = False  # this connection knows what is held
        self._closed = True
        self._inflight = 0  # bytes sent on this connection and not released
        self._kept = 0  # bytes of output that are here
        self._known: Mapping[tuple[int, int], int] = {}
        self._early: list[Callable[[], None]] | None = []  # what the runner said before `adopt`; None since then
        self._thirsty: list[asyncio.Future[None]] = []  # readers that wait for room
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
        self._closed = False
        self._told = False
        self._inflight = 0
        self._due.clear()
        self._said.clear()
        now = self._clock()
        held = tuple(
            OwnerWatching(one.number, max(one.state, one.found), one.ran(now))
            for one in self.attempts.values()
            if not one.forgotten
        )
        incarnation = self.incarnation if held else ""
        self._said.append(OwnerHello(OWNER_VERSION, self._nonce, os.getpid(), incarnation, self.capacity, held))
        return self

    async def send(self, messages: list[AgentToOwner], /) -> None:
        for message in messages:
            self._handlers[type(message)](message)
        self._admit()

    async def recv(self) -> list[OwnerToAgent]:
        while True:
            if self._closed:
                raise ConnectionResetError("the runner was closed")
            messages = list(self._said)
            self._said.clear()
            if self._told:
                messages += self._gather()
            if messages:
                return messages
            self._wake.clear()
            await self._wake.wait()

    async def close(self) -> None:
        self._closed = True
        self._wake.set()

    # -- what the runner says (Sink) ----------------------------------------------------------------------------

    def started(self, attempt: int) -> None:
        if self._too_early(lambda: self.started(attempt)):
            return
        held = self.attempts.get(attempt)
        if held is not None and held.state == QUEUED:
            held.state = RUNNING
            held.started_at = self._clock()
            held.reason = ""
            if self._told:
                self._say(OwnerStarted((attempt,)))

    def output(self, attempt: int, stream: int, offset: int, data: bytes) -> None:
        if self._too_early(lambda: self.output(attempt, stream, offset, data)):
            return
        held = self.attempts.get(attempt)
        if held is not None and held.state != ENDED:
            self._kept += held.streams[stream - 1].take(offset, data)
            self._tell(held)

    def cut(self, attempt: int, stream: int) -> None:
        if self._too_early(lambda: self.cut(attempt, stream)):
            return
        held = self.attempts.get(attempt)
        if held is not None and not held.streams[stream - 1].total:
            held.streams[stream - 1].begin_at(self._known.get((attempt, stream), 0))

    async def room(self, attempt: int) -> None:
        while (held := self.attempts.get(attempt)) is not None and (held.owed >= KEPT or self._kept >= ALL_KEPT):
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._thirsty.append(waiter)
            await waiter

    def ended(self, ending: AttemptEnding) -> None:
        if self._too_early(lambda: self.ended(ending)):
            return
        held = self.attempts.get(ending.attempt)
        if held is None or held.state == ENDED:
            return  # told again, and known
        self._kept += held.end(ending, self._clock())
        self._admission.leave(held.number)
        self._tell(held)
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
        if self._told:
            return
        self._told = True
        for held in self.attempts.values():
            held.ending_sent = False
            for stream in held.streams:
                stream.sent = stream.released
            self._tell(held)

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
            gone, landed = held.streams[message.stream - 1].release(message.offset)
            self._kept -= gone
            self._inflight -= landed
            self._tell(held)
            self._let_go(held)
        self._pour()
        self._wake.set()

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
            self._due.pop(held.number, None)
            self._leave(held)
            self._pour()

    def _say(self, message: OwnerToAgent) -> None:
        self._said.append(message)
        self._wake.set()

    def _tell(self, held: Hosted) -> None:
        self._due[held.number] = None
        self._wake.set()

    def _pour(self) -> None:
        """Readers that wait for room look again."""
        waiting, self._thirsty = self._thirsty, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)

    def _gather(self) -> list[OwnerToAgent]:
        """A frame of what is due, each attempt in turn."""
        messages: list[OwnerToAgent] = []
        ends: list[AttemptEnding] = []
        size, now = 0, self._clock()
        for number in list(self._due):
            held = self.attempts.get(number)
            del self._due[number]
            if held is None:
                continue
            for stream, kept in enumerate(held.streams, 1):
                room = min(MAX_CHUNK, STREAM_WINDOW - (kept.sent - kept.released), WINDOW - self._inflight)
                if room > 0 and kept.sent < kept.total:
                    offset = kept.sent
                    data = kept.read(room)
                    messages.append(OwnerOutput(number, stream, offset, data))
                    self._inflight += len(data)
                    size += len(data)
            if held.all_sent and held.ending is not None and not held.ending_sent and not held.forgotten:
                held.ending_sent = True
                ends.append(msgspec.structs.replace(held.ending, ago=max(0, now - held.ended_at)))
            elif not held.all_sent:
                self._due[number] = None  # at the end of the line; where a window is full, a release wakes us
            if size >= _FRAME or len(ends) >= _PER_FRAME:
                break
        if ends:
            messages.append(OwnerEnded(tuple(ends)))
        return messages
