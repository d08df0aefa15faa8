"""A dialogue with a session in virtual time: every answer must be read, so each test ends with `nothing_else`."""

from __future__ import annotations

from typing import Any, TypeVar

from styx.agent.output import OutputWindow
from styx.agent.session import Out, Profile, Session
from styx.core.events import AttemptEnding
from styx.core.resources import Resources
from styx.core.states import Outcome
from styx.protocol.messages import Hello, Run, Spec, Start, Welcome
from styx.protocol.owner import OWNER_VERSION, Configure, OwnerHello, OwnerLease, OwnerWatching

M = TypeVar("M")

PROFILE = Profile("agent-1", "box", "host", "boot", "session-1", "1.0", Resources(2_000), results="/r")


def spec(job: int = 1, task: int = 0) -> Spec:
    return Spec(job, task, "J", "T", "name", ("true",), False, 0, Resources(), (), "", 0, 1_000)


def start(*attempts: int, job: int = 1, task: int = 0) -> Start:
    return Start(spec(job, task), tuple(Run(attempt, index, 1) for index, attempt in enumerate(attempts)))


def exited(attempt: int, code: int = 0, **more: Any) -> AttemptEnding:
    return AttemptEnding(attempt, Outcome.EXITED, code, **more)


def owner_hello(*held: OwnerWatching, incarnation: str = "", nonce: str = "n1") -> OwnerHello:
    return OwnerHello(OWNER_VERSION, nonce, 42, incarnation, Resources(2_000), held)


class Dialogue:
    def __init__(self, *, profile: Profile = PROFILE, window: int = 8 << 20) -> None:
        self.session = Session(profile, window=OutputWindow(window))
        self.now = 1_000_000
        self.server: list[Any] = []
        self.owner: list[Any] = []
        self.leases: list[int] = []  # what the owner was told of the lease; only tests about it look
        self.files: list[Any] = []
        self.flags = Out()

    def take(self, out: Out) -> None:
        self.server += out.to_server
        self.owner += [order for order in out.to_owner if type(order) is not OwnerLease]
        self.leases += [order.remaining for order in out.to_owner if type(order) is OwnerLease]
        self.files += out.files
        self.flags.redial |= out.redial
        self.flags.reopen |= out.reopen
        self.flags.retry = max(self.flags.retry, out.retry)
        self.flags.refused = self.flags.refused or out.refused

    def says(self, *messages: Any) -> None:
        """The server sends a frame."""
        self.take(self.session.received_all(messages, self.now))

    def owner_says(self, *messages: Any) -> None:
        self.take(self.session.owner_said_all(messages, self.now))

    def dial(self) -> None:
        self.take(self.session.connected(self.now))

    def cut(self) -> None:
        self.take(self.session.disconnected(self.now))

    def wait(self, milliseconds: int) -> None:
        """Let time pass, waking the session whenever it asks for it."""
        until = self.now + milliseconds
        for _ in range(100_000):
            at = self.session.wake_at
            if at is None or at > until:
                break
            self.now = max(self.now, at)
            self.take(self.session.tick(self.now))
        else:
            raise AssertionError("the session never stops asking to be woken")
        self.now = until

    def expect(self, kind: type[M]) -> M:
        """The next message to the server."""
        assert self.server, f"nothing was sent where a {kind.__name__} was expected"
        message = self.server.pop(0)
        assert isinstance(message, kind), message
        return message

    def order(self, kind: type[M]) -> M:
        """The next message to the owner."""
        assert self.owner, f"the owner was told nothing where a {kind.__name__} was expected"
        message = self.owner.pop(0)
        assert isinstance(message, kind), message
        return message

    def nothing_else(self) -> None:
        assert self.server == []
        assert self.owner == []
        assert self.files == []
        assert self.flags == Out()

    def welcome(
        self, *, incarnation: str = "inc", acked: int = 0, heartbeat: int = 10_000, lease: int = 300_000
    ) -> None:
        self.says(Welcome(1, incarnation, 7, acked, heartbeat, lease, "1.0"))

    def joined(self, **welcome: Any) -> Dialogue:
        """Owner and server are there, and all greetings have been exchanged."""
        self.owner_says(owner_hello())
        self.dial()
        self.expect(Hello)
        self.welcome(**welcome)
        self.server.clear()  # the first heartbeat
        assert all(isinstance(message, Configure) for message in self.owner)
        self.owner.clear()
        return self

    def rejoined(self, **welcome: Any) -> Hello:
        """The link comes back; the hello that was said."""
        self.dial()
        hello = self.expect(Hello)
        self.welcome(**welcome)
        self.server.pop(0)
        return hello
