"""Many agents in one process, for the questions of scale: each speaks the real protocol over a websocket of its own and holds what it
is given until told to end it, but has no machine.

    with crowd(server, 5_000) as agents: ...        # from a benchmark: starts this file as a process of its own

The process reads words from stdin (`end`: all that is held ends; `quit`) and writes its `State` as a line of JSON to stdout five
times a second. Of the websocket it knows just what a client needs; agents dial, are refused and come back with the waits of a real one.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import random
import resource
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, cast

import msgspec
import uvloop

from styx.aiokit.backoff import Backoff
from styx.core.events import AttemptEnding, Held
from styx.core.resources import Resources
from styx.core.states import Outcome
from styx.protocol.codec import decode_server, encode
from styx.protocol.messages import (
    OLDEST,
    VERSION,
    AgentMessage,
    Forget,
    Heartbeat,
    Hello,
    Refused,
    Report,
    Start,
    Welcome,
)
from styx.testing.cluster import eventually

REPORT = 0.2  # seconds
CLOSING = 0x88


class State(msgspec.Struct):
    """How many are let in now, what they hold, and how often one was refused or did not get through."""

    up: int = 0
    held: int = 0
    ended: int = 0
    refused: int = 0
    failed: int = 0


class Crowd:
    """Seen from the benchmark."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.process = process
        self.state = State()
        self._orders: IO[str] = process.stdin
        self._news: IO[str] = process.stdout
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        for line in self._news:
            self.state = msgspec.json.decode(line, type=State)

    def say(self, word: str) -> None:
        self._orders.write(f"{word}\n")
        self._orders.flush()


@contextmanager
def crowd(port: int, token: str, agents: int, cpus: int = 1) -> Iterator[Crowd]:
    """`agents` of them, with so many CPUs each."""
    process = subprocess.Popen(
        [sys.executable, __file__, str(port), str(agents), str(cpus)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "CROWD_TOKEN": token},
    )
    try:
        yield Crowd(process)
    finally:
        process.kill()
        process.wait()


def together(crowds: list[Crowd]) -> State:
    """The sum of their states."""
    states = [each.state for each in crowds]
    return State(*(sum(getattr(state, name) for state in states) for name in State.__struct_fields__))


def until_up(crowds: list[Crowd], count: int, *, within: float) -> float:
    """Seconds until so many are let in."""
    begin = time.perf_counter()
    eventually(f"{count:,} agents are let in", lambda: together(crowds).up >= count, within=within)
    return time.perf_counter() - begin


class Member(asyncio.Protocol):
    """One agent."""

    def __init__(self, everybody: Everybody, number: int) -> None:
        self._everybody = everybody
        self._number = number
        self._agent = str(uuid.uuid4())
        self._session = uuid.uuid4().hex
        self._incarnation = ""
        self._backoff = Backoff(0.2, 30.0, jitter=1.0)
        self._held: dict[int, None] = {}
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._open = False  # the handshake is over
        self._retry = 0.0
        self._up = False
        self._reports = self._beats = 0
        self._beat: asyncio.TimerHandle | None = None

    async def dial(self) -> None:
        try:
            await asyncio.get_running_loop().create_connection(lambda: self, "127.0.0.1", self._everybody.port)
        except OSError:
            self._everybody.state.failed += 1
            self._again()

    def _again(self) -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(self._backoff.next() + self._retry, lambda: self._everybody.start(self.dial()))
        self._retry = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but its class
        self._transport = transport
        self._buffer, self._open = b"", False
        key = base64.b64encode(os.urandom(16)).decode()
        transport.write(
            f"GET /api/v1/agents/connect HTTP/1.1\r\nHost: 127.0.0.1:{self._everybody.port}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Protocol: styx\r\nAuthorization: Bearer {self._everybody.token}\r\n\r\n".encode()
        )

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if self._up:
            self._up = False
            self._everybody.state.up -= 1
        else:
            self._everybody.state.failed += 1
        if self._beat is not None:
            self._beat.cancel()
        self._again()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._open:
            head, blank, rest = self._buffer.partition(b"\r\n\r\n")
            if not blank:
                return
            if b" 101 " not in head.split(b"\r\n", 1)[0]:
                self._close()
                return
            self._buffer, self._open = rest, True
            self._hello()
        while (frame := self._frame()) is not None:
            for message in decode_server(frame):
                self._hear(message)

    def _frame(self) -> bytes | None:
        """The next whole frame, taken from the buffer; the server masks nothing and splits no message."""
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        if buffer[0] == CLOSING:
            self._close()
            return None
        size, first = buffer[1], 2
        if size == 126:
            size, first = int.from_bytes(buffer[2:4], "big"), 4
        elif size == 127:
            size, first = int.from_bytes(buffer[2:10], "big"), 10
        if len(buffer) < first + size:
            return None
        self._buffer = buffer[first + size :]
        return buffer[first : first + size]

    def _send(self, *messages: AgentMessage) -> None:
        if self._transport is None:
            return
        data = encode(messages)
        size = len(data)
        if size < 126:
            head = bytes((0x82, 0x80 | size))
        elif size < 1 << 16:
            head = b"\x82\xfe" + size.to_bytes(2, "big")
        else:
            head = b"\x82\xff" + size.to_bytes(8, "big")
        self._transport.write(head + bytes(4) + data)  # the mask is zero

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _hello(self) -> None:
        held = tuple(Held(attempt, 1) for attempt in self._held)
        name, room = f"crowd-{self._number}", Resources(self._everybody.cpus * 1_000, 1 << 40)
        self._send(
            Hello(
                self._agent, name, name, "boot", self._session, OLDEST, VERSION, "crowd", room, (),
                self._incarnation if held else "", held,
            )
        )  # fmt: skip

    def _hear(self, message: Any) -> None:
        kind = type(message)
        if kind is Welcome:
            self._incarnation = message.incarnation
            self._up = True
            self._backoff.reset()
            self._everybody.state.up += 1
            self._pulse(message.heartbeat / 1_000)
        elif kind is Refused:
            self._everybody.state.refused += 1
            self._everybody.state.failed -= 1  # its connection is about to be lost
            self._retry = message.retry / 1_000
        elif kind is Start:
            started = tuple(run.attempt for run in message.runs if run.attempt not in self._held)
            self._held.update(dict.fromkeys(started))
            self._everybody.state.held += len(started)
            self._reports += 1
            self._send(Report(self._reports, started))
        elif kind is Forget:
            for attempt in message.attempts:
                self._held.pop(attempt, None)

    def _pulse(self, interval: float) -> None:
        self._beats += 1
        self._send(Heartbeat(self._beats, running=len(self._held)))
        self._beat = asyncio.get_running_loop().call_later(interval, self._pulse, interval)

    def end(self) -> None:
        """All that is held ends well."""
        if self._held:
            self._reports += 1
            self._send(
                Report(self._reports, (), tuple(AttemptEnding(attempt, Outcome.EXITED) for attempt in self._held))
            )
            self._everybody.state.ended += len(self._held)
            self._everybody.state.held -= len(self._held)


class Everybody:
    """All agents of this process."""

    def __init__(self, port: int, token: str, cpus: int) -> None:
        self.port = port
        self.token = token
        self.cpus = cpus
        self.state = State()
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def run(self, agents: int) -> None:
        members = [Member(self, number) for number in range(agents)]
        loop = asyncio.get_running_loop()
        for member in members:
            loop.call_later(random.random() * agents / 500, self.start, member.dial())
        words = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(words), sys.stdin)
        listening = asyncio.ensure_future(words.readline())
        while True:
            await asyncio.wait([listening], timeout=REPORT)
            print(json.dumps(msgspec.structs.asdict(self.state)), flush=True)
            if listening.done():
                word = listening.result().decode().strip()
                if word in {"quit", ""}:
                    return
                for member in members:
                    member.end()
                listening = asyncio.ensure_future(words.readline())


def main() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65_536), hard))
    port, agents, cpus = (int(word) for word in sys.argv[1:4])
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(Everybody(port, os.environ["CROWD_TOKEN"], cpus).run(agents))


if __name__ == "__main__":
    main()
