"""The agent's half of the protocol as a state machine: no I/O, no clock, no chance.

It stands between two conversations. The server gives orders over a link that may break at any moment; the owner process
holds the programs over a socket that may break too. What the session knows is which attempts are held and how far each is
(QUEUED, RUNNING, ENDED at the owner, REPORTED to the server); what is owed to the server is kept by its three parts: `Reports`
(numbered, until acknowledged), `OutputWindow` (bounded, until synced) and `Pulse` (heartbeats and the lease).

The link is DOWN, OPEN (dialled), GREETED (Hello is sent, which needs the owner's word on what it holds) or WELCOME. Orders for
the owner wait while it is away. An answer to every input is an `Out`: what to send where, in order. The websocket, the
in-process link and the simulator all drive this same class.

Nothing of one incarnation of the database may be taken for another's, since attempt numbers begin anew in each. So when a
Welcome names another incarnation while anything of the old one is held, the owner's connection is opened anew: what it had
on its way is gone with the old connection, and its first message on the new one is answered by a Configure that makes it
stop and forget the old attempts before anything new starts.

When the lease ends the agent knows that it is cut off: the server may have given its attempts to others. Running programs go
on (the server drops what comes late), but those that have not started are given back, so that nothing starts twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import IntEnum
from itertools import islice
from typing import Any

import msgspec

from styx.agent.output import OutputWindow
from styx.agent.pulse import Pulse
from styx.agent.reports import Reports
from styx.agent.results import DropResults, Results, WriteResults
from styx.core.events import AttemptEnding, Held
from styx.core.resources import Resources
from styx.core.states import Outcome
from styx.protocol.messages import (
    OLDEST,
    VERSION,
    Ack,
    AgentMessage,
    Bye,
    Files,
    Forget,
    Heartbeat,
    HeartbeatAck,
    Hello,
    OutputAck,
    Recall,
    Refused,
    ServerMessage,
    Start,
    Stop,
    Welcome,
)
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

__all__ = ["Out", "Profile", "Session", "Vitals"]

GREETING = 15_000  # milliseconds for the server to answer a Hello
MEMORY = 4_096  # attempts that are remembered after they were forgotten, see `_forgotten`

QUEUED, RUNNING, ENDED, REPORTED = range(4)  # ENDED: the owner has said so, but not yet how


class LinkState(IntEnum):
    DOWN = 0
    OPEN = 1
    GREETED = 2
    WELCOME = 3


class Profile(msgspec.Struct, frozen=True):
    """Who this agent is and what its machine gives."""

    agent: str
    name: str
    host: str
    boot: str  # of the machine; with the owner's nonce it makes Hello.boot
    session: str  # drawn at each start of the agent
    release: str
    capacity: Resources
    labels: tuple[tuple[str, str], ...] = ()
    devices: tuple[tuple[str, tuple[str, ...]], ...] = ()
    results: str = "results"  # the folder under which results are written
    tied: bool = False  # the programs end with this process


class Vitals(msgspec.Struct, frozen=True):
    """The figures of a heartbeat, in its units."""

    cpu: int = 0
    memory: int = 0
    load: int = 0


class Out(msgspec.Struct):
    """What one input leads to. `files` come before `to_owner`, which needs them."""

    to_server: list[AgentMessage] = []
    to_owner: list[AgentToOwner] = []
    files: list[WriteResults | DropResults] = []
    notes: list[str] = []  # for the log, one line each
    redial: bool = False  # close the link to the server and dial again
    retry: int = 0  # the server asks to be left alone for so many milliseconds
    reopen: bool = False  # close the connection to the owner and open it again
    refused: str = ""  # it will never work; why


class Session:
    """Feed it what happens, do what it answers, and call `tick` at `wake_at`. `vitals` is read for each heartbeat."""

    def __init__(self, profile: Profile, *, window: OutputWindow | None = None) -> None:
        self.profile = profile
        self.vitals = Vitals()
        self.state = LinkState.DOWN
        self.draining = False
        self.finished = False  # drained: nothing is held, nothing owed, and the server has been told
        self._owner_ready = False
        self._boot = ""
        self._incarnation = ""
        self._held: dict[int, int] = {}
        self._since: dict[int, int] = {}  # running attempts: when they started
        self._ended_here: set[int] = set()  # reported, though the owner never knew them
        self._doomed: set[int] = set()  # the server wants none of these; forgotten when they have ended
        # The latest that the owner was told to forget: what it says of them was on its way, or the order was lost.
        self._forgotten: dict[int, None] = {}
        self._orders: list[AgentToOwner] = []  # wait for the owner
        self._greeted_at = 0
        self._reports = Reports()
        self._window = OutputWindow() if window is None else window
        self._pulse = Pulse()
        self._results = Results(profile.results)

    # -- what is asked of it ------------------------------------------------------------------------------------

    @property
    def paused(self) -> bool:
        """So much output is owed that the owner must not be read for now. Its hello is always wanted: without it there can be
        no link, and so no room."""
        return self._window.full and self._owner_ready

    @property
    def cut_off(self) -> bool:
        """The lease is over: the server may have given this agent's attempts to others."""
        return self._pulse.cut_off

    @property
    def owed(self) -> bool:
        """Something is held, or not yet known to be on the server's disk."""
        return bool(self._held or self._doomed or self._reports.owed or self._window.owed)

    @property
    def running(self) -> int:
        return sum(state == RUNNING for state in self._held.values())

    @property
    def waiting(self) -> int:
        return sum(state == QUEUED for state in self._held.values())

    def beat_due(self, now: int) -> bool:
        """The next `tick` sends a heartbeat: the time to look at the machine."""
        return self._pulse.due(now)

    @property
    def wake_at(self) -> int | None:
        """When `tick` is wanted, if nothing else happens before."""
        times = [self._pulse.wake_at()]
        if self.state is LinkState.WELCOME:
            times.append(self._reports.wake_at())
        elif self.state is LinkState.GREETED:
            times.append(self._greeted_at + GREETING)
        return min((time for time in times if time is not None), default=None)

    # -- the server's link --------------------------------------------------------------------------------------

    def connected(self, now: int) -> Out:
        """A link to the server is up."""
        self.state = LinkState.OPEN
        return self._answer(now, self._greet)

    def disconnected(self, now: int) -> Out:
        """The link is gone. Everything goes on; what is owed is kept."""
        return self._answer(now, self._hang_up)

    def received(self, message: ServerMessage, now: int) -> Out:
        return self.received_all((message,), now)

    def received_all(self, messages: Iterable[ServerMessage], now: int) -> Out:
        """A frame from the server."""
        out = Out()
        for message in messages:
            if self.state is LinkState.DOWN:
                break  # what still arrives over a link that was given up
            kind = type(message)
            if self.state is not LinkState.WELCOME and kind not in _BEFORE_WELCOME:
                out.notes.append(f"the server sent {kind.__name__} before it said welcome")
                out.redial = True
            else:
                _SERVER[kind](self, message, out, now)
            if out.refused or out.redial:
                self._hang_up(out, now)
        return self._settle(out, now)

    # -- the owner's connection ---------------------------------------------------------------------------------

    def owner_gone(self, now: int) -> Out:
        """The connection to the owner is gone; an OwnerHello follows when there is another."""
        self._owner_ready = False
        return Out()

    def owner_said(self, message: OwnerToAgent, now: int) -> Out:
        return self.owner_said_all((message,), now)

    def owner_said_all(self, messages: Iterable[OwnerToAgent], now: int) -> Out:
        """A frame from the owner."""
        out = Out()
        for message in messages:
            _OWNER[type(message)](self, message, out, now)
        return self._settle(out, now)

    def unable(self, start: OwnerStart, reason: str, now: int) -> Out:
        """The shell could not do what must come before this start: its attempts are given back."""
        attempts = [run.attempt for run in start.runs]
        return self._answer(now, lambda _, at: self._end_here(attempts, Outcome.REJECTED, reason, at))

    # -- time, and the end --------------------------------------------------------------------------------------

    def tick(self, now: int) -> Out:
        out = Out()
        if self.state is LinkState.GREETED and now >= self._greeted_at + GREETING:
            out.notes.append("the server does not answer; dialling again")
            out.redial = True
        if self._pulse.silent(now):
            out.notes.append("the server has stopped answering heartbeats; dialling again")
            out.redial = True
        elif self._pulse.due(now):
            self._beat(out, now)
        if self._pulse.lapsed(now):
            out.notes.append(
                f"cut off: no heartbeat was acknowledged for {self._pulse.lease / 1_000:g} s; programs go on, "
                "what has not started is given back"
            )
            self._recall_all(out)
        return self._settle(out, now)

    def drain(self, now: int, reason: str = "the agent was asked to stop") -> Out:
        """Take nothing new, give back what has not started, and finish once nothing is held or owed."""
        out = Out()
        if not self.draining:
            self.draining = True
            if self.state is LinkState.WELCOME:
                out.to_server.append(Bye(False, reason))
            self._recall_all(out)
        return self._settle(out, now)

    # -- from here on: what each input means --------------------------------------------------------------------

    def _answer(self, now: int, act: Callable[[Out, int], None]) -> Out:
        out = Out()
        act(out, now)
        return self._settle(out, now)

    def _settle(self, out: Out, now: int) -> Out:
        """The end of every input: reports that are due go out, orders wait for an owner that is away."""
        if out.redial and self.state is not LinkState.DOWN:
            self._hang_up(out, now)
        if self.state is LinkState.WELCOME:
            out.to_server += self._reports.due(now)
        if self.draining and not self.finished and not self.owed:
            if self.state is LinkState.WELCOME:
                out.to_server.append(Bye(True))
                self.finished = True
            elif self.state is LinkState.DOWN:
                self.finished = True
            if self.finished:
                out.to_owner.append(OwnerShutdown())
        if not self._owner_ready and out.to_owner:
            # A lease is told anew when the owner is back: what was left of it is less by then.
            self._orders += [order for order in out.to_owner if type(order) is not OwnerLease]
            out.to_owner = []
        return out

    def _hang_up(self, out: Out, now: int) -> None:
        """From here on there is no link. What was made for it and not sent is owed, and made again for the next one."""
        self.state = LinkState.DOWN
        self._pulse.disconnected()
        out.to_server.clear()
        out.files += self._results.abandon()

    def _greet(self, out: Out, now: int) -> None:
        if self.state is not LinkState.OPEN or not self._owner_ready:
            return
        self.state = LinkState.GREETED
        self._greeted_at = now
        profile = self.profile
        held = tuple(
            Held(attempt, min(state, ENDED), now - self._since[attempt] if state == RUNNING else 0)
            for attempt, state in self._held.items()
            if attempt not in self._doomed
        )
        out.to_server.append(
            Hello(
                profile.agent,
                profile.name,
                profile.host,
                self._boot,
                profile.session,
                OLDEST,
                VERSION,
                profile.release,
                profile.capacity,
                profile.labels,
                self._incarnation if held else "",
                held,
                self.draining,
            )
        )

    def _beat(self, out: Out, now: int) -> None:
        vitals = self.vitals
        number = self._pulse.beat(now)
        out.to_server.append(Heartbeat(number, vitals.cpu, vitals.memory, vitals.load, self.running, self.waiting))

    def _welcome(self, message: Welcome, out: Out, now: int) -> None:
        if self.state is not LinkState.GREETED:
            out.notes.append("the server said welcome twice")
            out.redial = True
            return
        if not OLDEST <= message.version <= VERSION:
            out.refused = (
                f"the server chose protocol {message.version}, this agent speaks {OLDEST} to {VERSION}: "
                "install the same release of Styx on both"
            )
            return
        if message.incarnation != self._incarnation:
            self._agree(message.incarnation, out)
        self.state = LinkState.WELCOME
        self._reports.acknowledged(message.acked)
        self._pulse.welcomed(self._greeted_at, now, message.heartbeat, message.lease)
        self._beat(out, now)
        self._pass_lease_on(out, now)
        out.to_server += self._window.again()
        out.to_server += self._reports.again(now)
        out.notes.append(f"connected: node {message.node}, server {message.release or 'of unknown release'}")

    def _agree(self, incarnation: str, out: Out) -> None:
        """From now on attempts are those of this incarnation of the database; what is held of another is stopped."""
        stale = bool(self._held or self._doomed or self._window.owed)
        self._held.clear()
        self._since.clear()
        self._ended_here.clear()
        self._doomed.clear()
        self._forgotten.clear()
        self._orders.clear()
        self._reports.clear()
        self._window.clear()
        out.to_owner.clear()
        out.files += self._results.clear()
        self._incarnation = incarnation
        if stale:
            out.notes.append("the server's database is another one; what was held for the old one is stopped")
            self._owner_ready = False
            out.reopen = True
        elif self._owner_ready:
            out.to_owner.append(self._configure())

    def _configure(self) -> Configure:
        profile = self.profile
        return Configure(self._incarnation, profile.capacity, profile.devices, profile.tied)

    def _refuse(self, message: Refused, out: Out, now: int) -> None:
        if message.retry <= 0:
            out.refused = message.reason
            return
        out.notes.append(f"the server said: {message.reason}")
        out.redial = True
        out.retry = message.retry

    def _farewell(self, message: Bye, out: Out, now: int) -> None:
        out.notes.append(f"the server said: {message.reason or 'goodbye'}")

    def _heartbeat_ack(self, message: HeartbeatAck, out: Out, now: int) -> None:
        self._pulse.answered(message.number, now)
        self._pass_lease_on(out, now)

    def _pass_lease_on(self, out: Out, now: int) -> None:
        """The owner ends exclusive attempts when the lease does, even if this process is gone by then."""
        if self._pulse.lease_end is not None:
            out.to_owner.append(OwnerLease(max(0, self._pulse.lease_end - now)))

    def _ack(self, message: Ack, out: Out, now: int) -> None:
        self._reports.acknowledged(message.number)

    def _output_ack(self, message: OutputAck, out: Out, now: int) -> None:
        out.to_owner.append(self._window.acknowledged(message))
        if message.attempt not in self._held:
            self._window.settle(message.attempt)

    def _start(self, message: Start, out: Out, now: int) -> None:
        held = self._held
        runs = tuple(run for run in message.runs if run.attempt not in held)
        if not runs:
            return
        attempts = [run.attempt for run in runs]
        held.update(dict.fromkeys(attempts, QUEUED))
        if self.draining:
            self._end_here(attempts, Outcome.REJECTED, "the agent takes nothing new", now)
            return
        folder = self._results.use(message.spec.job, message.spec.task, attempts)
        out.to_owner.append(OwnerStart(message.spec, runs, folder, message.secrets))

    def _end_here(self, attempts: Iterable[int], outcome: Outcome, reason: str, now: int) -> None:
        """Report the end of attempts that the owner does not hold."""
        for attempt in attempts:
            self._held[attempt] = REPORTED
            self._since.pop(attempt, None)
            self._ended_here.add(attempt)
            self._reports.ended(AttemptEnding(attempt, outcome, reason=reason), now)

    def _files(self, message: Files, out: Out, now: int) -> None:
        out.files += self._results.write(message)

    def _stop(self, message: Stop, out: Out, now: int) -> None:
        attempts = tuple(a for a in message.attempts if self._held.get(a, REPORTED) < ENDED)
        if attempts:
            out.to_owner.append(OwnerStop(attempts))

    def _recall(self, message: Recall, out: Out, now: int) -> None:
        attempts = tuple(a for a in message.attempts if self._held.get(a) == QUEUED)
        if attempts:
            out.to_owner.append(OwnerRecall(attempts))

    def _recall_all(self, out: Out) -> None:
        attempts = tuple(a for a, state in self._held.items() if state == QUEUED)
        if attempts:
            out.to_owner.append(OwnerRecall(attempts))

    def _forget(self, message: Forget, out: Out, now: int) -> None:
        ended: list[int] = []
        live: list[int] = []
        for attempt in message.attempts:
            state = self._held.pop(attempt, None)
            if state is None:
                continue
            self._since.pop(attempt, None)
            self._reports.forget(attempt)
            self._results.leave(attempt)
            if attempt in self._ended_here:
                self._ended_here.discard(attempt)
            elif state == REPORTED:
                ended.append(attempt)
                self._window.settle(attempt)
            else:
                # The server wants nothing of it, not even its end: it is stopped, and forgotten once it has ended.
                self._doomed.add(attempt)
                self._window.drop(attempt)
                if state < ENDED:
                    live.append(attempt)
        if live:
            out.to_owner.append(OwnerStop(tuple(live)))
        if ended:
            self._let_go(ended, out)

    def _let_go(self, attempts: list[int], out: Out) -> None:
        """Nothing of these is wanted any more but output that is owed."""
        out.to_owner.append(OwnerForget(tuple(attempts)))
        forgotten = self._forgotten
        forgotten.update(dict.fromkeys(attempts))
        for attempt in list(islice(forgotten, max(0, len(forgotten) - MEMORY))):
            del forgotten[attempt]

    def _owner_hello(self, message: OwnerHello, out: Out, now: int) -> None:
        if message.version != OWNER_VERSION:
            out.refused = (
                f"the owner process {message.pid} speaks version {message.version}, this agent {OWNER_VERSION}: it holds "
                "programs of another release of Styx; start that release again, or end the process to lose them"
            )
            return
        boot = f"{self.profile.boot}:{message.nonce}"
        if self._boot and boot != self._boot:
            out.notes.append("the owner process is another one; what the old one held is lost")
            self._orders.clear()
            self._lose_owner()
            out.files += self._results.clear()
            out.redial = self.state > LinkState.OPEN
        self._boot = boot
        if not self._incarnation:
            self._incarnation = message.incarnation
        ours = message.held if message.incarnation == self._incarnation else ()
        again = [watching.attempt for watching in ours if watching.attempt in self._forgotten]
        self._compare(tuple(watching for watching in ours if watching.attempt not in self._forgotten), now)
        self._owner_ready = True
        out.to_owner.append(self._configure())
        self._pass_lease_on(out, now)
        if again:
            self._let_go(again, out)
        out.to_owner += self._orders
        self._orders = []
        self._greet(out, now)

    def _lose_owner(self) -> None:
        """Everything held is gone with its owner. The server learns that from the new boot in the next Hello."""
        for attempt in self._held:
            self._reports.forget(attempt)
        self._held = dict.fromkeys(self._ended_here, REPORTED)
        self._since.clear()
        self._doomed.clear()
        self._forgotten.clear()

    def _compare(self, watched: tuple[OwnerWatching, ...], now: int) -> None:
        """The owner's word on what it holds is the truth, except that it cannot know what was reported; and an order that
        went down with the old connection it never got."""
        known = {watching.attempt for watching in watched}
        for watching in watched:
            attempt = watching.attempt
            if attempt not in self._doomed and self._held.get(attempt) != REPORTED:
                self._held[attempt] = watching.state
                if watching.state == RUNNING:
                    self._since[attempt] = now - watching.ran
        for order in self._orders:
            if isinstance(order, OwnerStart):
                known.update(run.attempt for run in order.runs)
        for attempt, state in list(self._held.items()):
            if state != REPORTED and attempt not in known:
                outcome = Outcome.REJECTED if state == QUEUED else Outcome.LOST
                self._end_here((attempt,), outcome, "the owner process does not hold it", now)
        self._doomed &= known

    def _owner_started(self, message: OwnerStarted, out: Out, now: int) -> None:
        for attempt in message.attempts:
            if self._held.get(attempt) == QUEUED:
                self._held[attempt] = RUNNING
                self._since[attempt] = now
                self._reports.started(attempt, now)

    def _owner_output(self, message: OwnerOutput, out: Out, now: int) -> None:
        if message.attempt in self._doomed:
            end = message.offset + len(message.data)
            out.to_owner.append(OwnerRelease(message.attempt, message.stream, end))
            return
        chunk = self._window.take(message)
        if chunk is not None and self.state is LinkState.WELCOME:
            out.to_server.append(chunk)

    def _owner_ended(self, message: OwnerEnded, out: Out, now: int) -> None:
        held, since = self._held, self._since
        unwanted: list[int] = []
        for ending in message.ended:
            attempt = ending.attempt
            if attempt in self._doomed or attempt in self._forgotten:
                self._doomed.discard(attempt)
                unwanted.append(attempt)
            elif held.get(attempt) != REPORTED:
                held[attempt] = REPORTED
                since.pop(attempt, None)
                self._reports.ended(ending, now)
        if unwanted:
            self._let_go(unwanted, out)


_BEFORE_WELCOME = (Welcome, Refused, Bye)

_SERVER: dict[type, Callable[[Session, Any, Out, int], None]] = {
    Welcome: Session._welcome,
    Refused: Session._refuse,
    HeartbeatAck: Session._heartbeat_ack,
    Ack: Session._ack,
    OutputAck: Session._output_ack,
    Start: Session._start,
    Files: Session._files,
    Stop: Session._stop,
    Recall: Session._recall,
    Forget: Session._forget,
    Bye: Session._farewell,
}

_OWNER: dict[type, Callable[[Session, Any, Out, int], None]] = {
    OwnerHello: Session._owner_hello,
    OwnerStarted: Session._owner_started,
    OwnerOutput: Session._owner_output,
    OwnerEnded: Session._owner_ended,
}
