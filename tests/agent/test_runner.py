"""The shell around a session, in one process: links that break, owners that break, and the embedded agent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from fake_server import start
from session_dialogue import PROFILE

from styx.agent.clock import boottime
from styx.agent.embedded import run_embedded
from styx.agent.folders import apply
from styx.agent.nowork import NoWorkOwner
from styx.agent.results import DropResults, WriteResults
from styx.agent.runner import PARDON, AgentRunner, Refusal
from styx.agent.session import Session
from styx.aiokit.backoff import Backoff
from styx.core.resources import Resources
from styx.core.states import Outcome
from styx.errors import NotAllowed, Revoked, StyxError, Unreachable
from styx.protocol.codec import decode_agent, encode
from styx.protocol.messages import (
    Ack,
    Bye,
    Files,
    Forget,
    Heartbeat,
    HeartbeatAck,
    Hello,
    Output,
    OutputAck,
    Refused,
    Report,
    Welcome,
)


def run(body: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(30):
            await body()

    asyncio.run(limited())


class Line:
    """A ServerPort whose other end is the test."""

    def __init__(self) -> None:
        self.to_agent: asyncio.Queue[Any] = asyncio.Queue()
        self.to_test: asyncio.Queue[Any] = asyncio.Queue()
        self.closed = False

    async def send(self, messages: list[Any], /) -> None:
        for message in messages:
            self.to_test.put_nowait(message)

    async def recv(self) -> list[Any]:
        message = await self.to_agent.get()
        if message is None:
            raise ConnectionResetError("cut")
        return message if isinstance(message, list) else [message]

    async def close(self) -> None:
        self.closed = True

    async def hear(self, kind: type[Any]) -> Any:
        while True:
            message = await self.to_test.get()
            if not isinstance(message, Heartbeat):
                assert isinstance(message, kind), message
                return message

    async def join(self, acked: int = 0) -> Hello:
        hello = await self.hear(Hello)
        self.to_agent.put_nowait(Welcome(1, "inc", 1, acked, 10_000, 300_000, "1"))
        assert isinstance(hello, Hello)
        return hello


class Scene:
    """A runner with an owner that does no work, whose every dial takes the next line or error."""

    def __init__(self, open_owner: Callable[[], Awaitable[Any]] | None = None) -> None:
        self.dials: asyncio.Queue[Any] = asyncio.Queue()
        self.waiting = asyncio.Event()  # a dial has nothing to take
        self.now = 0  # milliseconds that have passed at one stroke
        self.session = Session(PROFILE)
        self.owner = NoWorkOwner()
        self.runner = AgentRunner(
            self.session,
            open_owner or self.owner.open,
            self._dial,
            clock=lambda: self.now + boottime(),
            backoff=lambda: Backoff(0.001, 0.001, jitter=0),
        )

    async def _dial(self) -> Line:
        if self.dials.empty():
            self.waiting.set()
        answer = await self.dials.get()
        self.waiting.clear()
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, Line)
        return answer

    def line(self) -> Line:
        line = Line()
        self.dials.put_nowait(line)
        return line


def test_reports_survive_a_link_that_breaks_and_draining_ends_it() -> None:
    async def body() -> None:
        scene = Scene()
        running = asyncio.create_task(scene.runner.run())
        first = scene.line()
        await first.join()
        first.to_agent.put_nowait(start(1, "true"))
        report = await first.hear(Report)
        assert report.ended[0].outcome is Outcome.EXITED
        scene.dials.put_nowait(Unreachable("nobody there"))
        first.to_agent.put_nowait(None)
        second = scene.line()
        assert [held.attempt for held in (await second.join()).held] == [1]
        assert first.closed
        assert (await second.hear(Report)).number == report.number
        second.to_agent.put_nowait(Ack(report.number))
        second.to_agent.put_nowait(Forget((1,)))
        scene.runner.drain("done")
        assert await second.hear(Bye) == Bye(False, "done")
        assert await second.hear(Bye) == Bye(True)
        await running
        assert second.closed

    run(body)


def test_a_refused_token_ends_it_and_so_does_a_final_refusal() -> None:
    async def body() -> None:
        scene = Scene()
        scene.dials.put_nowait(NotAllowed("no"))
        with pytest.raises(NotAllowed):
            await scene.runner.run()

        scene = Scene()
        line = scene.line()
        running = asyncio.create_task(scene.runner.run())
        await line.hear(Hello)
        line.to_agent.put_nowait(Refused("too old"))
        with pytest.raises(Refusal, match="too old"):
            await running
        assert line.closed

    run(body)


def test_a_token_that_had_been_good_is_shown_again_for_a_while() -> None:
    """A proxy refused it, or a server that was restored from a backup does not know it until it is made anew."""

    async def body() -> None:
        scene = Scene()
        running = asyncio.create_task(scene.runner.run())
        first = scene.line()
        await first.join()
        for _ in range(3):
            scene.dials.put_nowait(NotAllowed("not known here", status=401))
        first.to_agent.put_nowait(None)
        second = scene.line()
        await second.join()
        scene.dials.put_nowait(NotAllowed("not known here", status=401))
        scene.now += int(PARDON * 1_000)  # it has been heard since: that does not count
        second.to_agent.put_nowait(None)
        await scene.waiting.wait()
        scene.now += int(PARDON * 1_000)
        scene.dials.put_nowait(NotAllowed("not known here", status=401))
        with pytest.raises(NotAllowed, match="not known here"):
            await running

    run(body)


def test_a_token_that_was_revoked_is_not_shown_again() -> None:
    async def body() -> None:
        scene = Scene()
        running = asyncio.create_task(scene.runner.run())
        first = scene.line()
        await first.join()
        scene.dials.put_nowait(Revoked("it was revoked", status=401))
        first.to_agent.put_nowait(None)
        with pytest.raises(Revoked):
            await running

    run(body)


def test_an_owner_that_cannot_be_started_ends_it() -> None:
    async def body() -> None:
        async def broken() -> Any:
            raise StyxError("no python")

        with pytest.raises(Refusal, match="cannot be started: no python"):
            await Scene(broken).runner.run()

    run(body)


def test_an_owner_whose_connection_broke_is_opened_again() -> None:
    async def body() -> None:
        opened: list[NoWorkOwner] = []
        scene = Scene()

        async def reopen() -> NoWorkOwner:
            opened.append(await scene.owner.open())
            return opened[-1]

        scene.runner._open_owner = reopen
        running = asyncio.create_task(scene.runner.run())
        line = scene.line()
        await line.join()
        await scene.owner.close()
        line.to_agent.put_nowait(start(1, "true"))
        assert [ending.attempt for ending in (await line.hear(Report)).ended] == [1]
        assert len(opened) == 2
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    run(body)


def test_results_that_cannot_be_written_give_the_start_back(tmp_path: Path) -> None:
    async def body() -> None:
        scene = Scene()
        running = asyncio.create_task(scene.runner.run())
        line = scene.line()
        await line.join()
        (tmp_path / "file").write_text("")
        order = start(1, "true")
        scene.session.results._root = str(tmp_path / "file")
        line.to_agent.put_nowait([Files(1, 1, (("a", b"x"),)), order])  # one frame, as the server sends it
        ending = (await line.hear(Report)).ended[0]
        assert ending.outcome is Outcome.REJECTED
        assert "cannot be written" in ending.reason
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    run(body)


def test_results_on_disk(tmp_path: Path) -> None:
    folder = str(tmp_path / "results" / "1-2")
    apply([WriteResults(folder, (("a", b"1"), ("b.0", b"2")))])
    apply([WriteResults(folder, (("a", b"3"),))])
    assert {path.name: path.read_bytes() for path in Path(folder).iterdir()} == {"a": b"3", "b.0": b"2"}
    assert [path.name for path in Path(folder).parent.iterdir()] == ["1-2"]
    for bad in ("../x", "", ".", "..", "a/b", "a\0b"):
        with pytest.raises(OSError, match="not a file name"):
            apply([WriteResults(folder, ((bad, b""),))])
    apply([DropResults(folder), DropResults(folder)])
    assert not Path(folder).exists()


class Pipe:
    """A transport for the embedded agent, whose other end is the test."""

    def __init__(self) -> None:
        self.said: list[Any] = []
        self.output = b""
        self._frames: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.greeted = asyncio.Event()
        self.wrote = asyncio.Event()
        self.ended = asyncio.Event()

    async def send(self, frame: bytes) -> None:
        for message in decode_agent(frame):
            self.said.append(message)
            if isinstance(message, Hello):
                self.order(Welcome(1, "inc", 1, 0, 10_000, 300_000, "1"))
                self.greeted.set()
            elif isinstance(message, Heartbeat):
                self.order(HeartbeatAck(message.number))
            elif isinstance(message, Output):
                self.output += message.data
                self.wrote.set()
                self.order(OutputAck(message.attempt, message.stream, message.offset + len(message.data)))
            elif isinstance(message, Report):
                self.order(Ack(message.number), Forget(tuple(ending.attempt for ending in message.ended)))
                if message.ended:
                    self.ended.set()

    def order(self, *messages: Any) -> None:
        self._frames.put_nowait(encode(list(messages)))

    async def close(self) -> None:
        self._frames.put_nowait(None)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (frame := await self._frames.get()) is not None:
            yield frame


def test_an_embedded_agent_runs_programs_and_takes_them_with_it(tmp_path: Path) -> None:
    async def body() -> None:
        pipe = Pipe()
        runners: list[AgentRunner] = []

        async def connect() -> Pipe:
            return pipe

        running = asyncio.create_task(
            run_embedded(connect, home=tmp_path, capacity_override=Resources(2_000), on_start=runners.append)
        )
        await pipe.greeted.wait()
        pipe.order(start(1, "sh", "-c", "echo hi"))
        await pipe.ended.wait()
        assert pipe.output == b"hi\n"
        pipe.output = b""
        pipe.wrote.clear()
        pipe.order(start(2, "sh", "-c", "echo $$; exec sleep 600"))
        await pipe.wrote.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        pids.append(int(pipe.output))
        assert runners[0].session.profile.tied

    pids: list[int] = []
    run(body)
    assert not Path(f"/proc/{pids[0]}").exists(), "a program outlived its embedded agent"
