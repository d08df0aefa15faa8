"""However often links break, and wherever in a frame's way, each end and each byte reaches the server once, in order."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from session_dialogue import PROFILE, exited, start

from styx.agent.output import OutputWindow
from styx.agent.session import Out, Session
from styx.core.events import AttemptEnding
from styx.core.resources import Resources
from styx.core.states import Outcome
from styx.protocol.messages import Ack, Forget, Hello, Output, OutputAck, Report, Welcome
from styx.protocol.owner import (
    OWNER_VERSION,
    Configure,
    OwnerEnded,
    OwnerForget,
    OwnerHello,
    OwnerOutput,
    OwnerRelease,
    OwnerStart,
    OwnerStarted,
    OwnerWatching,
)


class Owner:
    """Runs attempts when told to by the test, and keeps what it owes until it is told otherwise."""

    def __init__(self) -> None:
        self.incarnation = ""
        self.state: dict[int, int] = {}
        self.endings: dict[int, AttemptEnding] = {}
        self.written: dict[int, bytes] = {}
        self.released: dict[int, int] = {}
        self.line: list[Any] = []  # on its way to the agent
        self.configured = False  # before that it says nothing but hello

    def say(self, message: Any) -> None:
        if self.configured:
            self.line.append(message)

    def connect(self) -> None:
        self.configured = False
        held = tuple(OwnerWatching(attempt, state, 0) for attempt, state in self.state.items())
        self.line = [OwnerHello(OWNER_VERSION, "n", 1, self.incarnation, Resources(), held)]

    def hear(self, message: Any) -> None:
        if isinstance(message, Configure):
            assert not self.state or message.incarnation == self.incarnation
            self.incarnation = message.incarnation
            self.configured = True
            running = tuple(attempt for attempt, state in self.state.items() if state == 1)
            if running:
                self.line.append(OwnerStarted(running))
            for attempt, data in self.written.items():
                if data[self.released[attempt] :]:
                    self.line.append(OwnerOutput(attempt, 1, self.released[attempt], data[self.released[attempt] :]))
            if self.endings:
                self.line.append(OwnerEnded(tuple(self.endings.values())))
        elif isinstance(message, OwnerStart):
            for run in message.runs:
                assert run.attempt not in self.state
                self.state[run.attempt] = 0
        elif isinstance(message, OwnerRelease):
            self.released[message.attempt] = max(self.released[message.attempt], message.offset)
        elif isinstance(message, OwnerForget):
            for attempt in message.attempts:
                self.state.pop(attempt, None)
                self.endings.pop(attempt, None)

    def write(self, attempt: int, data: bytes) -> None:
        before = self.written.setdefault(attempt, b"")
        self.released.setdefault(attempt, 0)
        self.written[attempt] = before + data
        self.say(OwnerOutput(attempt, 1, len(before), data))

    def run(self, attempt: int) -> None:
        self.state[attempt] = 1
        self.say(OwnerStarted((attempt,)))

    def end(self, attempt: int) -> None:
        self.state[attempt] = 2
        self.endings[attempt] = exited(attempt, attempt % 7, stdout=len(self.written.get(attempt, b"")))
        self.say(OwnerEnded((self.endings[attempt],)))


class Server:
    def __init__(self) -> None:
        self.seen: dict[str, int] = {}
        self.ended: list[AttemptEnding] = []
        self.done: set[int] = set()
        self.late = 0  # ends told again, which the core drops
        self.output: dict[int, bytes] = {}
        self.line: list[Any] = []
        self.orders = 0
        self.assigned: list[int] = []

    def hear(self, message: Any) -> None:
        if isinstance(message, Hello):
            self.session = message.session
            self.line.append(Welcome(1, "inc", 1, self.seen.get(message.session, 0), 10_000_000, 10_000_000, "1"))
            held = {each.attempt for each in message.held}
            missing = [attempt for attempt in self.assigned if attempt not in held and attempt not in self.done]
            if missing:
                self.line.append(start(*missing))
            if over := tuple(held & self.done):
                self.line.append(Forget(over))
        elif isinstance(message, Report):
            if message.number > self.seen.get(self.session, 0):
                assert message.number == self.seen.get(self.session, 0) + 1, "a report was left out"
                self.seen[self.session] = message.number
                for ending in message.ended:
                    if ending.attempt in self.done:
                        self.late += 1
                    else:
                        self.done.add(ending.attempt)
                        self.ended.append(ending)
            self.line += [Ack(message.number), Forget(tuple(ending.attempt for ending in message.ended))]
        elif isinstance(message, Output):
            have = self.output.setdefault(message.attempt, b"")
            assert message.offset <= len(have), "a gap"
            self.output[message.attempt] = have + message.data[len(have) - message.offset :]
            self.line.append(OutputAck(message.attempt, 1, len(self.output[message.attempt])))


class Play:
    def __init__(self) -> None:
        self.owner = Owner()
        self.server = Server()
        self.now = 0
        self.up: list[Any] = []  # on its way to the server
        self.linked = False
        self.next = 1
        self.session = Session(PROFILE, window=OutputWindow(40))
        self.to_owner: list[Any] = []
        self.reopen_owner()

    def take(self, out: Out) -> None:
        assert not out.refused
        assert not out.reopen
        assert not out.redial
        if self.linked:
            self.up += out.to_server
        self.to_owner += out.to_owner

    def reopen_owner(self) -> None:
        """The connection breaks with what is on its way, and is opened again."""
        self.to_owner.clear()
        self.take(self.session.owner_gone(self.now))
        self.owner.connect()

    def cut(self) -> None:
        self.linked = False
        self.up.clear()
        self.server.line.clear()
        self.take(self.session.disconnected(self.now))

    def dial(self) -> None:
        if not self.linked:
            self.linked = True
            self.take(self.session.connected(self.now))

    def move(self, line: list[Any], count: int) -> None:
        """Some of what is on its way arrives."""
        for _ in range(min(count, len(line))):
            message = line.pop(0)
            if line is self.up:
                self.server.hear(message)
            elif line is self.to_owner:
                self.owner.hear(message)
            elif line is self.owner.line:
                self.take(self.session.owner_said(message, self.now))
            else:
                self.take(self.session.received(message, self.now))
            if line is self.owner.line and self.session.paused:
                return

    def assign(self) -> None:
        attempt = self.next
        self.next += 1
        self.server.assigned.append(attempt)
        if self.linked and any(isinstance(m, Welcome) for m in self.server.line) | (self.session.state == 3):
            self.server.line.append(start(attempt))

    def act(self, choice: str, count: int) -> None:
        self.now += count
        owner = self.owner
        if choice == "cut":
            self.cut()
        elif choice == "dial":
            self.dial()
        elif choice == "owner":
            self.reopen_owner()
        elif choice == "assign":
            self.assign()
        elif choice == "up":
            self.move(self.up, count)
        elif choice == "down":
            self.move(self.server.line, count)
        elif choice == "from-owner" and not self.session.paused:
            self.move(owner.line, count)
        elif choice == "to-owner":
            self.move(self.to_owner, count)
        elif choice == "tick":
            self.take(self.session.tick(self.now))
        elif choice in {"run", "write", "end"}:
            wanted = 0 if choice == "run" else 1
            attempts = [attempt for attempt, state in owner.state.items() if state == wanted]
            if attempts:
                attempt = attempts[count % len(attempts)]
                if choice == "run":
                    owner.run(attempt)
                elif choice == "write":
                    owner.write(attempt, bytes([65 + attempt % 26]) * count)
                else:
                    owner.end(attempt)

    def settle(self) -> None:
        """Everything works from now on; until nothing moves any more."""
        self.cut()
        self.dial()
        for _ in range(500):
            self.now += 10
            self.take(self.session.tick(self.now))
            if not self.session.paused:
                self.move(self.owner.line, 1_000)
            self.move(self.to_owner, 1_000)
            self.move(self.up, 1_000)
            self.move(self.server.line, 1_000)
            for attempt, state in list(self.owner.state.items()):
                if state == 0:
                    self.owner.run(attempt)
                elif state == 1:
                    self.owner.end(attempt)
            idle = not (self.up or self.to_owner or self.owner.line or self.server.line)
            if idle and len(self.server.ended) >= len(self.server.assigned) and not self.session.owed:
                return
        raise AssertionError("it never comes to rest")


CHOICES = (
    "cut owner dial dial dial tick " + "assign run run write end " * 2 + "up down from-owner to-owner " * 4
).split()
ACTS = st.lists(st.tuples(st.sampled_from(CHOICES), st.integers(1, 12)), min_size=40, max_size=200)


def check(acts: list[tuple[str, int]]) -> None:
    play = Play()
    for choice, count in acts:
        play.act(choice, count)
    play.settle()
    server = play.server
    assert [ending.attempt for ending in server.ended] == list(dict.fromkeys(e.attempt for e in server.ended))
    assert sorted(ending.attempt for ending in server.ended) == server.assigned
    assert server.late == 0
    for ending in server.ended:
        written = play.owner.written.get(ending.attempt, b"")
        assert server.output.get(ending.attempt, b"") == written
        assert ending.outcome is not Outcome.EXITED or ending.stdout == len(written)
    assert not play.owner.state
    assert not play.session.owed


@settings(max_examples=100, deadline=None)
@given(ACTS)
def test_ends_and_output_arrive_exactly_once_in_order(acts: list[tuple[str, int]]) -> None:
    check(acts)


@pytest.mark.parametrize("seed", range(4))
def test_the_same_over_long_walks(seed: int) -> None:
    """Hypothesis finds small cases; what needs a history of many steps is found by walking far."""
    chance = random.Random(seed)
    for _ in range(250):
        check([(chance.choice(CHOICES), chance.randint(1, 12)) for _ in range(200)])
