"""The agent's half of the protocol as a state machine: no I/O, no clock, no chance.

It stands between two conversations. The server gives orders over a link that may break at any moment; the owner process
holds the programs over a socket that may break too. This room has the inputs and what every answer ends with; `on_server`
and `on_owner` say what each message means. What is known and owed lies in the parts: `Holdings` (which attempts, and how far),
`Reports` (numbered, until acknowledged), `OutputWindow` (bounded, until synced), `Pulse` (heartbeats and the lease), `Results`.

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

from styx.agent import on_owner, on_server
from styx.agent.holdings import QUEUED, RUNNING, Holdings
from styx.agent.output import OutputWindow
from styx.agent.parcels import Parcels
from styx.agent.pulse import Pulse
from styx.agent.reports import Reports
from styx.agent.results import Results
from styx.agent.words import LinkState, Out, Profile, Vitals
from styx.core.events import AttemptEnding
from styx.core.states import Outcome
from styx.protocol.messages import OLDEST, VERSION, Bye, Heartbeat, Hello, ServerMessage
from styx.protocol.owner import (
    AgentToOwner,
    Configure,
    OwnerForget,
    OwnerLease,
    OwnerRecall,
    OwnerShutdown,
    OwnerStart,
    OwnerStop,
    OwnerToAgent,
)

__all__ = ["LinkState", "Out", "Profile", "Session", "Vitals"]

GREETING = 15_000  # milliseconds for the server to answer a Hello


class Session:
    """Feed it what happens, do what it answers, and call `tick` at `wake_at`. `vitals` is read for each heartbeat.

    The attributes below `vitals` belong to the handlers; from outside, look at `state`, `draining`, `finished` and the properties.
    """

    def __init__(self, profile: Profile, *, window: OutputWindow | None = None) -> None:
        self.profile = profile
        self.state = LinkState.DOWN
        self.draining = False
        self.preempted = ""  # why this machine is about to be taken away
        self.finished = False  # drained: nothing is held, nothing owed, and the server has been told
        self.vitals = Vitals()
        self.heard_at: int | None = None  # when a server that had welcomed this agent last said anything
        self.owner_ready = False
        self.boot = ""
        self.incarnation = ""
        self.greeted_at = 0
        self.holdings = Holdings()
        self.orders: list[AgentToOwner] = []  # wait for the owner
        self.reports = Reports()
        self.window = OutputWindow() if window is None else window
        self.pulse = Pulse()
        self.results = Results(profile.results)
        self.parcels = Parcels()

    @property
    def paused(self) -> bool:
        """So much output is owed that the owner must not be read for now. Its hello is always wanted: without it there can be
        no link, and so no room."""
        return self.window.full and self.owner_ready

    @property
    def cut_off(self) -> bool:
        """The lease is over: the server may have given this agent's attempts to others."""
        return self.pulse.cut_off

    @property
    def owed(self) -> bool:
        """Something is held, or not yet known to be on the server's disk."""
        return bool(self.holdings or self.reports.owed or self.window.owed)

    @property
    def running(self) -> int:
        return self.holdings.count(RUNNING)

    @property
    def waiting(self) -> int:
        return self.holdings.count(QUEUED)

    def beat_due(self, now: int) -> bool:
        """The next `tick` sends a heartbeat: the time to look at the machine."""
        return self.pulse.due(now)

    @property
    def wake_at(self) -> int | None:
        """When `tick` is wanted, if nothing else happens before."""
        times = [self.pulse.wake_at()]
        if self.state is LinkState.WELCOME:
            times.append(self.reports.wake_at())
        elif self.state is LinkState.GREETED:
            times.append(self.greeted_at + GREETING)
        return min((time for time in times if time is not None), default=None)

    # -- inputs -------------------------------------------------------------------------------------------------

    def connected(self, now: int) -> Out:
        """A link to the server is up."""
        self.state = LinkState.OPEN
        return self._answer(now, self.greet)

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
            if self.state is not LinkState.WELCOME and kind not in on_server.UNWELCOMED:
                out.notes.append(f"the server sent {kind.__name__} before it said welcome")
                out.redial = True
            else:
                on_server.HANDLERS[kind](self, message, out, now)
            if self.state is LinkState.WELCOME:
                self.heard_at = now
            if out.refused or out.redial:
                self._hang_up(out, now)
        return self._settle(out, now)

    def owner_gone(self, now: int) -> Out:
        """The connection to the owner is gone; an OwnerHello follows when there is another."""
        self.owner_ready = False
        return Out()

    def owner_said(self, message: OwnerToAgent, now: int) -> Out:
        return self.owner_said_all((message,), now)

    def owner_said_all(self, messages: Iterable[OwnerToAgent], now: int) -> Out:
        """A frame from the owner."""
        out = Out()
        for message in messages:
            on_owner.HANDLERS[type(message)](self, message, out, now)
        return self._settle(out, now)

    def fetched(self, sha256: str, path: str, now: int) -> Out:
        """A parcel is here: what waited for it goes to the owner."""
        out = Out()
        out.to_owner += self.parcels.came(sha256, path)
        return self._settle(out, now)

    def unfetched(self, sha256: str, outcome: Outcome, reason: str, now: int) -> Out:
        """A parcel will not come: what waited for it has ended."""
        attempts = self.parcels.failed(sha256)
        code = 126 if outcome is Outcome.EXITED else 0  # as for a program that cannot be started
        return self._answer(now, lambda _, at: self.end_here(attempts, outcome, reason, at, code))

    def unable(self, start: OwnerStart, reason: str, now: int) -> Out:
        """The shell could not do what must come before this start: its attempts are given back."""
        attempts = [run.attempt for run in start.runs]
        return self._answer(now, lambda _, at: self.end_here(attempts, Outcome.REJECTED, reason, at))

    def tick(self, now: int) -> Out:
        out = Out()
        if self.state is LinkState.GREETED and now >= self.greeted_at + GREETING:
            out.notes.append("the server does not answer; dialling again")
            out.redial = True
        if self.pulse.silent(now):
            out.notes.append("the server has stopped answering heartbeats; dialling again")
            out.redial = True
        elif self.pulse.due(now):
            self.beat(out, now)
        if self.pulse.lapsed(now):
            out.notes.append(
                f"cut off: no heartbeat was acknowledged for {self.pulse.lease / 1_000:g} s; programs go on, "
                "what has not started is given back"
            )
            self._recall_all(out, now)
        return self._settle(out, now)

    def drain(self, now: int, reason: str = "the agent was asked to stop") -> Out:
        """Take nothing new, give back what has not started, and finish once nothing is held or owed."""
        out = Out()
        if not self.draining:
            self.draining = True
            if self.state is LinkState.WELCOME:
                out.to_server.append(Bye(False, reason))
            self._recall_all(out, now)
        return self._settle(out, now)

    def preempt(self, now: int, reason: str) -> Out:
        """The machine is about to be taken away: drain, and do not wait for what runs. What is stopped by this is lost, so that it
        runs elsewhere; what ends by itself before has its own end."""
        out = self.drain(now, reason)
        if not self.preempted:
            self.preempted = reason
            live = self.holdings.live()
            if live:
                # after the recall: what has not started is given back by that, and only what runs is stopped
                (out.to_owner if self.owner_ready else self.orders).append(OwnerStop(live))
        return out

    def _answer(self, now: int, act: Callable[[Out, int], None]) -> Out:
        out = Out()
        act(out, now)
        return self._settle(out, now)

    def _settle(self, out: Out, now: int) -> Out:
        """The end of every input: reports that are due go out, orders wait for an owner that is away."""
        if out.redial and self.state is not LinkState.DOWN:
            self._hang_up(out, now)
        if self.state is LinkState.WELCOME:
            out.to_server += self.reports.due(now)
        if self.draining and not self.finished and not self.owed:
            if self.state is LinkState.WELCOME:
                out.to_server.append(Bye(True))
                self.finished = True
            elif self.state is LinkState.DOWN:
                self.finished = True
            if self.finished:
                out.to_owner.append(OwnerShutdown())
        if not self.owner_ready and out.to_owner:
            # A lease is told anew when the owner is back: what was left of it is less by then.
            self.orders += [order for order in out.to_owner if type(order) is not OwnerLease]
            out.to_owner = []
        return out

    def _hang_up(self, out: Out, now: int) -> None:
        """From here on there is no link. What was made for it and not sent is owed, and made again for the next one."""
        self.state = LinkState.DOWN
        self.pulse.disconnected()
        out.to_server.clear()
        out.files += self.results.abandon()

    def _recall_all(self, out: Out, now: int) -> None:
        self.end_here(self.parcels.take_back(), Outcome.REJECTED, "recalled before it started", now)
        attempts = self.holdings.queued()
        if attempts:
            out.to_owner.append(OwnerRecall(attempts))

    # -- what several handlers do -------------------------------------------------------------------------------

    def greet(self, out: Out, now: int) -> None:
        """Say Hello, once there is a link and the owner has said what it holds."""
        if self.state is not LinkState.OPEN or not self.owner_ready:
            return
        self.state = LinkState.GREETED
        self.greeted_at = now
        profile = self.profile
        held = self.holdings.told(now)
        out.to_server.append(
            Hello(
                profile.agent,
                profile.name,
                profile.host,
                self.boot,
                profile.session,
                OLDEST,
                VERSION,
                profile.release,
                profile.capacity,
                profile.labels,
                self.incarnation if held else "",
                held,
                self.draining,
            )
        )

    def beat(self, out: Out, now: int) -> None:
        vitals = self.vitals
        number = self.pulse.beat(now)
        out.to_server.append(Heartbeat(number, vitals.cpu, vitals.memory, vitals.load, self.running, self.waiting))

    def agree(self, incarnation: str, out: Out) -> None:
        """From now on attempts are those of this incarnation of the database; what is held of another is stopped."""
        stale = bool(self.holdings or self.window.owed)
        self.holdings.clear()
        self.orders.clear()
        self.reports.clear()
        self.window.clear()
        self.parcels.clear()
        out.to_owner.clear()
        out.files += self.results.clear()
        self.incarnation = incarnation
        if stale:
            out.notes.append("the server's database is another one; what was held for the old one is stopped")
            self.owner_ready = False
            out.reopen = True
        elif self.owner_ready:
            out.to_owner.append(self.configure())

    def configure(self) -> Configure:
        profile = self.profile
        return Configure(self.incarnation, profile.capacity, profile.devices, profile.tied)

    def pass_lease_on(self, out: Out, now: int) -> None:
        """The owner ends exclusive attempts when the lease does, even if this process is gone by then."""
        if self.pulse.lease_end is not None:
            out.to_owner.append(OwnerLease(max(0, self.pulse.lease_end - now)))

    def end_here(self, attempts: Iterable[int], outcome: Outcome, reason: str, now: int, code: int = 0) -> None:
        """Report the end of attempts that the owner does not hold."""
        for attempt in attempts:
            self.holdings.end_here(attempt)
            self.reports.ended(AttemptEnding(attempt, outcome, code, reason=reason), now)

    def let_go(self, attempts: list[int], out: Out) -> None:
        """Nothing of these is wanted any more but output that is owed."""
        out.to_owner.append(OwnerForget(tuple(attempts)))
        self.holdings.let_go(attempts)
