"""A blocking conversation with a real owner, for tests: every wait ends with what was waited for, or fails after a minute."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from styx.agent.owner import frames, launch
from styx.agent.owner.launcher import connect
from styx.core.events import AttemptEnding
from styx.core.resources import Resources
from styx.protocol.messages import Run, Spec
from styx.protocol.owner import (
    AgentToOwner,
    Configure,
    OwnerEnded,
    OwnerForget,
    OwnerHello,
    OwnerOutput,
    OwnerRelease,
    OwnerShutdown,
    OwnerStart,
    OwnerStarted,
    OwnerStop,
)

PATIENCE = 60.0
_tokens = count(1)


def token() -> str:
    """Something to find a program by in /proc, unlike any other: a number of seconds to sleep."""
    return f"{100_000 + next(_tokens)}.{os.getpid()}"


def with_token(text: str) -> list[int]:
    """The living processes that have `text` in their command line."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdecimal() and int(name) != os.getpid():
            try:
                line = Path("/proc", name, "cmdline").read_bytes()
                state = Path("/proc", name, "stat").read_text().rsplit(")", 1)[1].split()[0]
            except (FileNotFoundError, ProcessLookupError):
                continue
            if text.encode() in line and state not in "ZX":
                found.append(int(name))
    return found


def eventually(what: Callable[[], object]) -> None:
    """Until it is true."""
    deadline = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.005)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def spec(
    *command: str,
    shell: bool = False,
    cpus: int = 1_000,
    env: tuple[tuple[str, str], ...] = (),
    workdir: str = "",
    timeout: int = 0,
    grace: int = 5_000,
    array: int = 0,
    accelerators: tuple[tuple[str, int], ...] = (),
) -> Spec:
    resources = Resources(cpus=cpus, accelerators=accelerators)
    return Spec(1, 0, "the-job", "the-task", "name", command, shell, array, resources, env, workdir, timeout, grace)


class Talk:
    """One connection. What the owner says is gathered in `started`, `ended`, `output`; `release` and `forget` say at once
    that all of that is on disk."""

    def __init__(self, folder: Path | str, *, release: bool = True, forget: bool = True) -> None:
        self.release = release
        self.forget = forget
        self.started: list[int] = []
        self.ended: dict[int, AttemptEnding] = {}
        self.order: list[int] = []  # of ends
        self.output: dict[tuple[int, int], bytearray] = {}
        self.begins: dict[tuple[int, int], int] = {}
        self._socket = connect(str(folder))
        self._socket.settimeout(PATIENCE)
        self._frames = frames.from_owner()
        self.hello: OwnerHello | None = None
        while self.hello is None:
            self.listen()

    def configure(self, cpus: int = 4_000, incarnation: str = "one", **more: object) -> Talk:
        accelerators = more.pop("accelerators", ())
        self.send(Configure(incarnation, Resources(cpus=cpus, accelerators=accelerators), **more))  # type: ignore[arg-type]
        return self

    def send(self, *messages: AgentToOwner) -> None:
        self._socket.sendall(frames.encode(messages))

    def send_bytes(self, data: bytes) -> None:
        self._socket.sendall(data)

    def start(self, what: Spec, *attempts: int, results: str = "") -> None:
        self.send(OwnerStart(what, tuple(Run(a, i, 1) for i, a in enumerate(attempts)), results))

    def listen(self) -> None:
        """Take in what comes next."""
        data = self._socket.recv(1 << 20)
        if not data:
            raise ConnectionResetError("the owner closed the connection")
        answers: list[AgentToOwner] = []
        for message in self._frames.feed(data):
            if isinstance(message, OwnerHello):
                self.hello = message
            elif isinstance(message, OwnerStarted):
                self.started += message.attempts
            elif isinstance(message, OwnerOutput):
                key = (message.attempt, message.stream)
                kept = self.output.setdefault(key, bytearray())
                begin = self.begins.setdefault(key, message.offset)
                assert message.offset == begin + len(kept), "a gap or an overlap in the output"
                kept += message.data
                if self.release:
                    answers.append(OwnerRelease(*key, message.offset + len(message.data)))
            else:
                assert isinstance(message, OwnerEnded)
                for ending in message.ended:
                    assert ending.attempt not in self.ended, "an end was told twice on one connection"
                    for stream, total in ((1, ending.stdout), (2, ending.stderr)):
                        seen = len(self.output.get((ending.attempt, stream), b""))
                        assert seen + self.begins.get((ending.attempt, stream), 0) in {total, 0}, "output after its end"
                    self.ended[ending.attempt] = ending
                    self.order.append(ending.attempt)
                if self.forget:
                    answers.append(OwnerForget(tuple(e.attempt for e in message.ended)))
        if answers:
            self.send(*answers)

    def until(self, what: Callable[[], object]) -> None:
        while not what():
            self.listen()

    def ends(self, *attempts: int) -> list[AttemptEnding]:
        self.until(lambda: all(a in self.ended for a in attempts))
        return [self.ended[a] for a in attempts]

    def run(self, what: Spec, attempt: int = 1) -> AttemptEnding:
        self.start(what, attempt)
        return self.ends(attempt)[0]

    def starts(self, *attempts: int) -> None:
        self.until(lambda: all(a in self.started for a in attempts))

    def said(self, attempt: int, text: bytes, stream: int = 1) -> None:
        """Until the program has written `text`."""
        self.until(lambda: text in self.output.get((attempt, stream), b""))

    def stop(self, *attempts: int) -> None:
        self.send(OwnerStop(attempts))

    def text(self, attempt: int, stream: int = 1) -> str:
        return self.output.get((attempt, stream), bytearray()).decode()

    def hung_up(self) -> None:
        """Until the owner has closed the connection."""
        try:
            while True:
                self.listen()
        except ConnectionResetError:
            return

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


class Owner:
    """An owner for a test, whose end is seen to."""

    def __init__(self, folder: Path | str, *options: str, tied: bool = False) -> None:
        self.folder = folder
        self.pid = launch(folder, tied=tied, options=options)

    def talk(self, *, release: bool = True, forget: bool = True) -> Talk:
        return Talk(self.folder, release=release, forget=forget)

    @property
    def alive(self) -> bool:
        return alive(self.pid)

    def kill(self, number: signal.Signals) -> None:
        """Send it a signal that ends it at once."""
        os.kill(self.pid, number)
        self.gone()

    def gone(self) -> None:
        eventually(lambda: not self.alive)


@contextmanager
def owner(folder: Path | str, *options: str, tied: bool = False) -> Iterator[Owner]:
    """A running owner; nothing of it is left when the test goes on."""
    it = Owner(folder, *options, tied=tied)
    try:
        yield it
    finally:
        if it.alive:
            try:
                connection = connect(str(folder))
                connection.sendall(frames.encode([Configure("the end", Resources(cpus=0)), OwnerShutdown(True)]))
                eventually(lambda: not it.alive)
                connection.close()
            except OSError:
                os.kill(it.pid, signal.SIGKILL)


@contextmanager
def configured(folder: Path | str, *options: str, cpus: int = 4_000) -> Iterator[Talk]:
    """A configured connection to an owner."""
    with owner(folder, *options) as it:
        talk = it.talk().configure(cpus)
        yield talk
        talk.close()
