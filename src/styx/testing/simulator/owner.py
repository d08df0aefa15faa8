"""Owner processes and the programs they hold, in virtual time.

The owner admits by the shipping rule, keeps ends until they are forgotten and output until it is released, and tells a new connection
everything again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from styx.core.admission import Admission
from styx.core.events import AttemptEnding
from styx.core.resources import Resources
from styx.core.states import Outcome
from styx.errors import ProtocolError
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
from styx.testing.simulator.program import ENDED, QUEUED, RUNNING, Program, Witness, output_of, result_of
from styx.testing.simulator.timeloop import TimeLoop

__all__ = ["Owner", "OwnerConnection"]

_CHUNK = 700  # bytes of output told at once


class OwnerConnection:
    """An OwnerPort."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._said: deque[OwnerToAgent] = deque()
        self._wake = asyncio.Event()
        self.configured = False
        self.broken = False

    def say(self, *messages: OwnerToAgent) -> None:
        if not self.broken:
            self._said.extend(messages)
            self._wake.set()

    def snap(self) -> None:
        """It is gone, with all that was on its way."""
        self.broken = True
        self._said.clear()
        self._wake.set()

    async def send(self, messages: list[AgentToOwner], /) -> None:
        await asyncio.sleep(0)
        if self.broken:
            raise ConnectionResetError("the connection to the owner is gone")
        for message in messages:
            self._owner.handle(message)

    async def recv(self) -> list[OwnerToAgent]:
        while not self._said:
            if self.broken:
                raise ConnectionResetError("the connection to the owner is gone")
            self._wake.clear()
            await self._wake.wait()
        said = list(self._said)
        self._said.clear()
        return said

    async def close(self) -> None:
        if self._owner.connection is self:
            self._owner.connection = None
        self.snap()


class Owner:
    """One owner process on a machine. `complain` hears of what no agent may do."""

    def __init__(
        self, loop: TimeLoop, machine: str, nonce: str, witness: Witness, complain: Callable[[str], None]
    ) -> None:
        self._loop = loop
        self._machine = machine
        self._nonce = nonce
        self._witness = witness
        self._complain = complain
        self._capacity = Resources(0)
        self._admission = Admission(self._capacity)
        self._incarnation = ""
        self.alive = True
        self._lease_timer: asyncio.TimerHandle | None = None
        self._lease_end: int | None = None
        self.held: dict[int, Program] = {}
        self.connection: OwnerConnection | None = None
        self._handlers: dict[type, Callable[[Any], None]] = {
            Configure: self._configure,
            OwnerStart: self._start,
            OwnerStop: self._stop,
            OwnerRecall: self._recall,
            OwnerForget: self._forget,
            OwnerRelease: self._release,
            OwnerShutdown: self._shutdown,
            OwnerLease: self._lease,
        }

    @property
    def running(self) -> list[Program]:
        return [program for program in self.held.values() if program.state == RUNNING]

    def connect(self) -> OwnerConnection:
        """A new connection replaces the one there was."""
        if self.connection is not None:
            self.connection.snap()
        self.connection = connection = OwnerConnection(self)
        now = self._loop.now()
        held = tuple(
            OwnerWatching(p.attempt, p.state, now - p.began if p.state == RUNNING else 0)
            for p in self.held.values()
            if not p.forgotten
        )
        connection.say(OwnerHello(OWNER_VERSION, self._nonce, 1, self._incarnation, self._capacity, held))
        return connection

    def die(self) -> list[Program]:
        """The process is killed; its programs are nobody's from now on, and go on."""
        self.alive = False
        if self.connection is not None:
            self.connection.snap()
        return self.running

    def handle(self, message: AgentToOwner) -> None:
        connection = self.connection
        assert connection is not None
        if not connection.configured and type(message) not in {Configure, OwnerShutdown}:
            raise ProtocolError(f"{type(message).__name__} came before Configure")
        self._handlers[type(message)](message)

    # -- orders -----------------------------------------------------------------------------------------------------

    def _configure(self, message: Configure) -> None:
        if message.incarnation != self._incarnation:
            for program in list(self.held.values()):
                if program.state == RUNNING:
                    self._over(program, Outcome.KILLED, 137, "discarded")
            self.held.clear()
            self._admission = Admission(self._capacity)
            self._incarnation = message.incarnation
        self._admission.resize(self._capacity, message.capacity)
        self._capacity = message.capacity
        connection = self.connection
        if connection is not None and not connection.configured:
            connection.configured = True
            for program in self.held.values():
                program.told = program.released
            for program in list(self.held.values()):
                self._tell_output(program)
                if program.state == ENDED and not program.forgotten:
                    self._tell_end(program)
        self._start_ready()

    def _start(self, message: OwnerStart) -> None:
        for run in message.runs:
            if run.attempt in self.held:
                continue
            program = Program(self, message.spec, run, message.results)
            self.held[run.attempt] = program
            self._admission.arrive(run.attempt, message.spec.resources)
            if not message.spec.resources.fits(self._capacity):
                self._never_ran(program, Outcome.REJECTED, "it asks for more than this machine gives")
        self._start_ready()

    def _stop(self, message: OwnerStop) -> None:
        for attempt in message.attempts:
            program = self.held.get(attempt)
            if program is None or program.outcome is not None:
                continue
            if program.state == QUEUED:
                self._never_ran(program, Outcome.KILLED, "stopped before it started")
            elif program.state == RUNNING:
                self._end(program, Outcome.KILLED, "stopped")
        self._start_ready()

    def _recall(self, message: OwnerRecall) -> None:
        for attempt in message.attempts:
            program = self.held.get(attempt)
            if program is not None and program.state == QUEUED:
                self._never_ran(program, Outcome.REJECTED, "recalled")
        self._start_ready()

    def _forget(self, message: OwnerForget) -> None:
        for attempt in message.attempts:
            program = self.held.get(attempt)
            if program is not None and program.state == ENDED:
                program.forgotten = True
                self._let_go_if_done(program)

    def _release(self, message: OwnerRelease) -> None:
        program = self.held.get(message.attempt)
        if program is not None and message.stream == 1:
            if message.offset > program.written:
                self._complain(f"attempt {message.attempt} released to {message.offset}, it wrote {program.written}")
            program.released = max(program.released, message.offset)
            self._let_go_if_done(program)

    def _shutdown(self, message: OwnerShutdown) -> None:
        if message.kill:
            for program in self.running:
                self._end(program, Outcome.KILLED, "its owner was shut down")

    def _lease(self, message: OwnerLease) -> None:
        if self._lease_timer is not None:
            self._lease_timer.cancel()
        self._lease_end = self._loop.now() + message.remaining
        self._lease_timer = self._loop.call_later(message.remaining / 1_000, self._lease_over)
        self._start_ready()

    def _lease_over(self) -> None:
        if self.alive:
            exclusive = tuple(p.attempt for p in self.held.values() if p.spec.exclusive and p.state != ENDED)
            self._stop(OwnerStop(exclusive))

    @property
    def _cut_off(self) -> bool:
        """Known to it even before its timer has run, as the shipping owner looks at the clock before it starts anything."""
        return self._lease_end is not None and self._loop.now() >= self._lease_end

    def _let_go_if_done(self, program: Program) -> None:
        if program.forgotten and program.released >= program.written:
            self.held.pop(program.attempt, None)

    # -- programs ---------------------------------------------------------------------------------------------------

    def _start_ready(self) -> None:
        started: list[int] = []
        while not self._cut_off and (attempt := self._admission.head()) is not None:
            self._admission.admit(attempt)
            program = self.held[attempt]
            program.state = RUNNING
            program.began = self._loop.now()
            started.append(attempt)
            later = self._loop.call_later
            program.timers.append(later(program.duration / 1_000, self._exits, program))
            if program.bytes:
                program.timers.append(later(program.duration / 2_000, self._writes, program, program.bytes // 2))
            if program.spec.timeout:
                program.timers.append(later(program.spec.timeout / 1_000, self._times_out, program))
            self._witness.started(program, self._machine)
        if started:
            self._say(OwnerStarted(tuple(started)))

    def _writes(self, program: Program, upto: int) -> None:
        program.written = max(program.written, upto)
        self._tell_output(program)

    def _times_out(self, program: Program) -> None:
        if program.outcome is None:
            self._end(program, Outcome.TIMED_OUT, "its timeout is over")

    def _end(self, program: Program, outcome: Outcome, reason: str) -> None:
        """SIGTERM, and SIGKILL after the grace."""
        program.outcome = outcome
        program.reason = reason
        wait, code = (program.spec.grace, 137) if program.stubborn else (3, 143)
        program.timers.append(self._loop.call_later(wait / 1_000, self._over, program, outcome, code, reason))

    def _exits(self, program: Program) -> None:
        if program.leaves_result and program.exit_code == 0:
            program.result = result_of(program.spec, program.run)
        program.written = program.bytes
        outcome = Outcome.EXITED if program.outcome is None else program.outcome
        self._over(program, outcome, program.exit_code, program.reason)

    def _over(self, program: Program, outcome: Outcome, code: int, reason: str) -> None:
        """No process of it is left."""
        for timer in program.timers:
            timer.cancel()
        self._witness.ended(program, self._machine)
        program.state = ENDED
        program.outcome, program.code, program.reason = outcome, code, reason
        program.ended_at = self._loop.now()
        if not self.alive or program.attempt not in self.held:
            return
        self._admission.leave(program.attempt)
        self._tell_output(program)
        self._tell_end(program)
        self._start_ready()

    def kill_program(self, program: Program) -> None:
        """The machine, or the next owner, ends it."""
        self._over(program, Outcome.KILLED, 137, "killed")

    def _never_ran(self, program: Program, outcome: Outcome, reason: str) -> None:
        program.state = ENDED
        program.outcome, program.reason = outcome, reason
        program.ended_at = self._loop.now()
        self._admission.leave(program.attempt)
        self._tell_end(program)

    # -- what the agent hears ---------------------------------------------------------------------------------------

    def _say(self, *messages: OwnerToAgent) -> None:
        if self.alive and self.connection is not None and self.connection.configured:
            self.connection.say(*messages)

    def _tell_output(self, program: Program) -> None:
        if not (self.alive and self.connection is not None and self.connection.configured):
            return
        data = output_of(program.attempt, program.written)
        while program.told < program.written:
            chunk = data[program.told : program.told + _CHUNK]
            self._say(OwnerOutput(program.attempt, 1, program.told, chunk))
            program.told += len(chunk)

    def _tell_end(self, program: Program) -> None:
        now = self._loop.now()
        ran = program.ended_at - program.began if program.began else 0
        assert program.outcome is not None
        self._say(
            OwnerEnded(
                (
                    AttemptEnding(
                        program.attempt,
                        program.outcome,
                        program.code,
                        ran,
                        now - program.ended_at,
                        program.reason,
                        program.result,
                        program.written,
                    ),
                )
            )
        )
