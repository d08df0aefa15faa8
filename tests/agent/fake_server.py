"""A server for agents to dial: it speaks the protocol, acknowledges what it is told, and orders what a test wants."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from aiohttp import web

from styx.agent.link import PATH
from styx.core.resources import Resources
from styx.protocol.codec import MAX_FRAME, decode_agent, encode
from styx.protocol.messages import (
    Ack,
    Forget,
    Heartbeat,
    HeartbeatAck,
    Hello,
    Output,
    OutputAck,
    Report,
    Run,
    ServerMessage,
    Spec,
    Start,
    Welcome,
)

M = TypeVar("M")


def start(attempt: int, *command: str, env: tuple[tuple[str, str], ...] = ()) -> Start:
    spec = Spec(1, attempt, "J", "T", f"task-{attempt}", command, False, 0, Resources(100), env, "", 0, 1_000)
    return Start(spec, (Run(attempt, 0, 1),))


class FakeServer:
    """`said` is all that agents said, in order. With `token` set, others are refused."""

    def __init__(self, *, token: str = "", heartbeat: int = 1_000, port: int = 0) -> None:
        self.said: list[Any] = []
        self.output: dict[tuple[int, int], bytes] = {}
        self.ended: dict[int, Any] = {}
        self.port = port
        self._token = token
        self._heartbeat = heartbeat
        self._numbers: dict[str, int] = {}
        self._news = asyncio.Condition()
        self._socket: web.WebSocketResponse | None = None
        app = web.Application()
        app.router.add_get(PATH, self._connect)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> FakeServer:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.hang_up()
        await self._runner.cleanup()

    async def hang_up(self) -> None:
        """Cut the agent off; it may dial again."""
        if self._socket is not None:
            await self._socket.close()

    async def order(self, *messages: ServerMessage) -> None:
        assert self._socket is not None
        await self._socket.send_bytes(encode(list(messages)))

    async def until(self, condition: Callable[[], bool]) -> None:
        async with self._news:
            await self._news.wait_for(condition)

    async def heard(self, kind: type[M], count: int = 1) -> M:
        """The `count`th message of a kind, waiting for it."""
        await self.until(lambda: sum(isinstance(message, kind) for message in self.said) >= count)
        return [message for message in self.said if isinstance(message, kind)][count - 1]

    async def _connect(self, request: web.Request) -> web.StreamResponse:
        if self._token and request.headers.get("Authorization") != f"Bearer {self._token}":
            return web.json_response({"title": "not allowed", "status": 401}, status=401)
        socket = web.WebSocketResponse(max_msg_size=MAX_FRAME, protocols=("styx",))
        await socket.prepare(request)
        self._socket = socket
        session = ""
        async for frame in socket:
            answers: list[ServerMessage] = []
            for message in decode_agent(frame.data):
                if isinstance(message, Hello):
                    session = message.session
                    welcome = Welcome(1, "inc", 1, self._numbers.get(session, 0), self._heartbeat, 60_000, "fake")
                    answers.append(welcome)
                else:
                    self._deal(session, message, answers)
                self.said.append(message)
            if answers:
                await socket.send_bytes(encode(answers))
            async with self._news:
                self._news.notify_all()
        return socket

    def _deal(self, session: str, message: Any, answers: list[ServerMessage]) -> None:
        if isinstance(message, Heartbeat):
            answers.append(HeartbeatAck(message.number))
        elif isinstance(message, Report):
            if message.number > self._numbers.get(session, 0):
                self._numbers[session] = message.number
                for ending in message.ended:
                    assert ending.attempt not in self.ended, "an end was told twice"
                    self.ended[ending.attempt] = ending
            answers += [Ack(message.number), Forget(tuple(ending.attempt for ending in message.ended))]
        elif isinstance(message, Output):
            key = (message.attempt, message.stream)
            have = self.output.get(key, b"")
            assert message.offset <= len(have), "a gap in the output"
            self.output[key] = have[: message.offset] + message.data
            answers.append(OutputAck(message.attempt, message.stream, len(self.output[key])))
