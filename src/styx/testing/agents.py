"""An agent without a machine: it speaks the whole protocol over an in-process link and pretends to run programs.

    agent = FakeAgent(plane.hub, cpus=2)
    await agent.connect()
    agent.script = lambda spec, run: Act(code=7, stdout=b"no luck\\n")
    ...
    await agent.until(lambda: agent.running)      # with Act(hold=True) attempts run until `finish`
    agent.finish(attempt, code=0)

What an attempt does is up to `script`; by default each succeeds as soon as it is admitted. Admission, numbered reports, the
repetition of what was not acknowledged and the list of what is held are those of a real agent, so a test may cut the link,
restart the agent or reboot its machine at any moment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Protocol
from uuid import uuid4

import msgspec

from styx.core.admission import Admission
from styx.core.events import AttemptEnding, Held
from styx.core.resources import Resources
from styx.core.states import Outcome
from styx.protocol.codec import decode_server, encode
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
    Output,
    OutputAck,
    Recall,
    Refused,
    Report,
    Run,
    ServerMessage,
    Spec,
    Start,
    Stop,
    Welcome,
)
from styx.runtime.transport import PipeEnd, Transport, pipe

__all__ = ["Acceptor", "Act", "FakeAgent"]

QUEUED, RUNNING, ENDED = 0, 1, 2


class Act(msgspec.Struct, frozen=True):
    """What an attempt does: writes, leaves a result, and exits with `code`; `hold` lets it run until `finish` or a Stop."""

    code: int = 0
    stdout: bytes = b""
    stderr: bytes = b""
    result: bytes = b""
    hold: bool = False


class Acceptor(Protocol):
    """What takes connections: the hub."""

    async def connect(self, transport: Transport) -> None: ...


class _Attempt:
    __slots__ = ("ending", "run", "spec", "state")

    def __init__(self, spec: Spec, run: Run) -> None:
        self.spec = spec
        self.run = run
        self.state = QUEUED
        self.ending: AttemptEnding | None = None


class FakeAgent:
    """Everything that was received is in `received`, in order; `acked` is the last Report number on disk over there."""

    def __init__(
        self,
        hub: Acceptor,
        *,
        name: str = "fake",
        cpus: float = 1,
        memory: int = 64 << 30,
        host: str = "",
        labels: Iterable[tuple[str, str]] = (),
        script: Callable[[Spec, Run], Act] | None = None,
    ) -> None:
        self._hub = hub
        self.id = str(uuid4())
        self.name = name
        self.host = host or f"host-of-{name}"
        self.capacity = Resources(int(cpus * 1_000), memory)
        self.labels = tuple(sorted(labels))
        self.script = script or (lambda spec, run: Act())
        self.received: list[ServerMessage] = []
        self.held: dict[int, _Attempt] = {}
        self.files: dict[tuple[int, int], dict[str, bytes]] = {}
        self.output: dict[tuple[int, int], bytearray] = {}  # (attempt, stream) -> written and not acknowledged
        self.released: dict[tuple[int, int], int] = {}
        self.started: list[int] = []  # every attempt that ever ran here, in order
        self.node = 0
        self.acked = 0
        self.beats = 0
        self.draining = False
        self._admission = Admission(self.capacity)
        self._boot = uuid4().hex
        self._session = uuid4().hex
        self._incarnation = ""
        self._number = 0
        self._unacked: list[Report] = []
        self._endings: list[AttemptEnding] = []  # for the next report
        self._link: PipeEnd | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._changed = asyncio.Event()
        self._handlers: dict[type, Callable[[Any], None]] = {
            Welcome: self._welcome,
            Refused: self._nothing,
            HeartbeatAck: self._nothing,
            Ack: self._ack,
            OutputAck: self._output_ack,
            Start: self._start,
            Files: self._files,
            Stop: self._stop,
            Recall: self._recall,
            Forget: self._forget,
            Bye: self._nothing,
        }
        self._outgoing: list[AgentMessage] = []

    @property
    def connected(self) -> bool:
        return self._link is not None

    @property
    def running(self) -> list[int]:
        """Attempts under way now, in the order in which they started."""
        return [serial for serial, attempt in self.held.items() if attempt.state == RUNNING]

    @property
    def waiting(self) -> list[int]:
        return [serial for serial, attempt in self.held.items() if attempt.state == QUEUED]

    async def connect(self, *, welcome: bool = True) -> None:
        """Dial, say hello, and (unless told otherwise) wait to be let in. Raises ConnectionError when refused."""
        await self.disconnect()
        server, mine = pipe()
        self._link = mine
        self.node = 0
        self._tasks = [
            asyncio.create_task(self._hub.connect(server), name=f"hub-side of {self.name}"),
            asyncio.create_task(self._listen(mine), name=f"fake agent {self.name}"),
        ]
        held = tuple(Held(serial, attempt.state) for serial, attempt in self.held.items())
        await self._send(
            Hello(
                self.id,
                self.name,
                self.host,
                self._boot,
                self._session,
                OLDEST,
                VERSION,
                "fake",
                self.capacity,
                self.labels,
                self._incarnation,
                held,
                self.draining,
            )
        )
        if welcome:
            await self.until(lambda: self.node or not self.connected)
            if not self.connected:
                raise ConnectionError(str(self.received[-1]) if self.received else "the server closed the link")

    async def disconnect(self) -> None:
        """Close the link; what it holds goes on."""
        link, self._link = self._link, None
        if link is not None:
            await link.close()
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            await task

    async def restart(self) -> None:
        """The agent program is killed and starts again; its programs go on, and its reports begin at 1."""
        await self.disconnect()
        self._session = uuid4().hex
        self._number = self.acked = 0
        unacked, self._unacked = self._unacked, []
        await self.connect()
        for report in unacked:
            self._report(report.started, report.ended)
        await self._flush()

    async def reboot(self) -> None:
        """The machine restarts: everything it held is gone."""
        await self.disconnect()
        self.held.clear()
        self.output.clear()
        self._admission = Admission(self.capacity)
        self._boot = uuid4().hex
        self._session = uuid4().hex
        self._number = self.acked = 0
        self._unacked.clear()
        self._endings.clear()
        await self.connect()

    async def beat(self) -> int:
        """Send a heartbeat; returns its number."""
        self.beats += 1
        await self._send(Heartbeat(self.beats, running=len(self.running), waiting=len(self.waiting)))
        return self.beats

    async def bye(self, *, gone: bool = False) -> None:
        self.draining = True
        await self._send(Bye(gone=gone))

    async def finish(
        self, serial: int, code: int = 0, *, outcome: Outcome = Outcome.EXITED, act: Act | None = None
    ) -> None:
        """A running attempt ends."""
        self._end(serial, outcome, act or Act(code=code))
        self._admit()
        await self._flush()

    async def until(self, reached: Callable[[], object]) -> None:
        """Wait until this is so; looked at again whenever something has happened here."""
        while not reached():
            self._changed.clear()
            await self._changed.wait()

    async def _listen(self, link: PipeEnd) -> None:
        async for frame in link:
            for message in decode_server(frame):
                self.received.append(message)
                self._handlers[type(message)](message)
            self._admit()
            await self._flush()
            self._changed.set()
        if self._link is link:
            self._link = None
        self._changed.set()

    async def _send(self, *messages: AgentMessage) -> None:
        if self._link is None:
            return
        try:
            await self._link.send(encode(messages))
        except ConnectionError:
            self._link = None
        self._changed.set()

    async def _flush(self) -> None:
        self._tell()
        messages, self._outgoing = self._outgoing, []
        if messages:
            await self._send(*messages)

    def _report(self, started: tuple[int, ...], ended: tuple[AttemptEnding, ...]) -> None:
        self._number += 1
        report = Report(self._number, started, ended)
        self._unacked.append(report)
        if self.node:
            self._outgoing.append(report)

    def _tell(self) -> None:
        endings, self._endings = self._endings, []
        if endings:
            self._report((), tuple(endings))

    def _admit(self) -> None:
        """Run what fits, in the order of arrival."""
        while started := self._take():
            self._tell()
            self._report(started, ())
            for serial in started:
                attempt = self.held[serial]
                act = self.script(attempt.spec, attempt.run)
                if act.hold:
                    self._write(serial, act)
                else:
                    self._end(serial, Outcome.EXITED, act)

    def _take(self) -> tuple[int, ...]:
        started: list[int] = []
        while (serial := self._admission.head()) is not None:
            self._admission.admit(serial)
            self.held[serial].state = RUNNING
            started.append(serial)
        self.started += started
        return tuple(started)

    def _write(self, serial: int, act: Act) -> None:
        for stream, data in ((1, act.stdout), (2, act.stderr)):
            if data:
                offset = self.released.get((serial, stream), 0) + len(self.output.get((serial, stream), b""))
                self.output.setdefault((serial, stream), bytearray()).extend(data)
                if self.node:
                    self._outgoing.append(Output(serial, stream, offset, data))

    def _end(self, serial: int, outcome: Outcome, act: Act, reason: str = "") -> None:
        attempt = self.held[serial]
        if attempt.state == ENDED:
            return
        self._write(serial, act)
        sizes = [
            self.released.get((serial, stream), 0) + len(self.output.get((serial, stream), b"")) for stream in (1, 2)
        ]
        attempt.state = ENDED
        attempt.ending = AttemptEnding(
            serial, outcome, act.code, reason=reason, result=act.result, stdout=sizes[0], stderr=sizes[1]
        )
        self._admission.leave(serial)
        self._endings.append(attempt.ending)

    def _welcome(self, message: Welcome) -> None:
        if self._incarnation and message.incarnation != self._incarnation:
            self.held.clear()
            self._unacked.clear()
            self._admission = Admission(self.capacity)
        self._incarnation = message.incarnation
        self.node = message.node
        self._ack(Ack(message.acked))
        self._outgoing += self._unacked
        for (serial, stream), data in self.output.items():
            if data:
                offset = self.released.get((serial, stream), 0)
                self._outgoing.append(Output(serial, stream, offset, bytes(data)))

    def _ack(self, message: Ack) -> None:
        self.acked = max(self.acked, message.number)
        self._unacked = [report for report in self._unacked if report.number > message.number]

    def _output_ack(self, message: OutputAck) -> None:
        key = (message.attempt, message.stream)
        before = self.released.get(key, 0)
        if message.offset > before and key in self.output:
            del self.output[key][: message.offset - before]
            self.released[key] = message.offset

    def _start(self, message: Start) -> None:
        for run in message.runs:
            if run.attempt not in self.held:
                self.held[run.attempt] = _Attempt(message.spec, run)
                self._admission.arrive(run.attempt, message.spec.resources)

    def _files(self, message: Files) -> None:
        self.files.setdefault((message.job, message.task), {}).update(message.files)

    def _stop(self, message: Stop) -> None:
        for serial in message.attempts:
            attempt = self.held.get(serial)
            if attempt is not None and attempt.state != ENDED:
                code = 143 if attempt.state == RUNNING else 0
                self._end(serial, Outcome.KILLED, Act(code=code), "stopped")

    def _recall(self, message: Recall) -> None:
        for serial in message.attempts:
            attempt = self.held.get(serial)
            if attempt is not None and attempt.state == QUEUED:
                self._end(serial, Outcome.REJECTED, Act(), "recalled")

    def _forget(self, message: Forget) -> None:
        for serial in message.attempts:
            self.held.pop(serial, None)
            self._admission.leave(serial)

    def _nothing(self, message: ServerMessage) -> None:
        """It is in `received`; there is nothing to do about it."""
