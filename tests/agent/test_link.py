"""Dialling a server: what goes over the websocket, and what a person is told when it does not work."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import subprocess
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import WSCloseCode, web

from styx.agent.link import PATH, LocalLink, dialler, endpoint
from styx.errors import Busy, NotAllowed, ProtocolError, Unreachable, UsageError
from styx.protocol.codec import MAX_FRAME, decode_agent, encode
from styx.protocol.messages import Ack, HeartbeatAck, Output, Report

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def run(body: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(30):
            await body()

    asyncio.run(limited())


class Server:
    """An aiohttp server with one handler where agents connect."""

    def __init__(self, handler: Handler) -> None:
        app = web.Application()
        app.router.add_get(PATH, handler)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)

    async def __aenter__(self) -> str:
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()


def websocket(talk: Callable[[web.WebSocketResponse], Awaitable[None]], **options: Any) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(protocols=("styx",), **{"max_msg_size": MAX_FRAME, **options})
        await socket.prepare(request)
        await talk(socket)
        return socket

    return handler


@pytest.mark.parametrize(
    ("server", "expected"),
    [
        ("http://127.0.0.1:8080", "ws://127.0.0.1:8080/api/v1/agents/connect"),
        ("127.0.0.1:8080", "ws://127.0.0.1:8080/api/v1/agents/connect"),
        ("https://styx.example.com/", "wss://styx.example.com/api/v1/agents/connect"),
        ("http://[::1]:80/base", "ws://[::1]:80/base/api/v1/agents/connect"),
        ("ws://h/api/v1/agents/connect", "ws://h/api/v1/agents/connect"),
    ],
)
def test_the_address_of_the_websocket(server: str, expected: str) -> None:
    assert endpoint(server) == expected


@pytest.mark.parametrize(
    "server", ["", "ftp://h", "http://", "http://h:99999", "http://h?x=1", "http://h/a b", "http://h/ä"]
)
def test_what_is_no_address(server: str) -> None:
    with pytest.raises(UsageError, match="not a server address"):
        endpoint(server)


def test_an_address_with_a_password_is_refused_and_not_repeated() -> None:
    with pytest.raises(UsageError, match="no user and no password") as caught:
        endpoint("http://me:s3cret@h:8080")
    assert "s3cret" not in caught.value.message + caught.value.hint


def test_frames_both_ways_with_the_token() -> None:
    async def body() -> None:
        seen: list[Any] = []

        async def talk(socket: web.WebSocketResponse) -> None:
            async for message in socket:
                seen.extend(decode_agent(message.data))
                await socket.send_bytes(encode([Ack(1), HeartbeatAck(2)]))

        async def handler(request: web.Request) -> web.StreamResponse:
            seen.append(request.headers["Authorization"])
            return await websocket(talk)(request)

        async with Server(handler) as url:
            port = await dialler(url, lambda: "s3cret")()
            await port.send([Report(1), Report(2)])
            assert await port.recv() == [Ack(1), HeartbeatAck(2)]
            await port.close()
        assert seen == ["Bearer s3cret", Report(1), Report(2)]

    run(body)


def test_more_than_a_frame_holds_is_sent_in_several() -> None:
    async def body() -> None:
        got: list[Any] = []
        frames: list[int] = []
        done = asyncio.Event()

        async def talk(socket: web.WebSocketResponse) -> None:
            async for message in socket:
                frames.append(len(message.data))
                got.extend(decode_agent(message.data))
                if len(got) == 40:
                    done.set()

        async with Server(websocket(talk)) as url:
            port = await dialler(url, lambda: "")()
            sent = [Output(attempt, 1, 0, bytes([attempt]) * (256 << 10)) for attempt in range(40)]
            await port.send(list(sent))
            await done.wait()
            await port.close()
        assert got == sent
        assert max(frames) < MAX_FRAME

    run(body)


def test_one_message_that_no_frame_holds_is_an_error() -> None:
    async def body() -> None:
        async def talk(socket: web.WebSocketResponse) -> None:
            await socket.receive()

        async with Server(websocket(talk)) as url:
            port = await dialler(url, lambda: "")()
            with pytest.raises(ProtocolError, match="longer than a frame may be"):
                await port.send([Output(1, 1, 0, bytes(MAX_FRAME))])
            await port.close()

    run(body)


def test_a_link_that_the_server_closes_says_why() -> None:
    async def body() -> None:
        async def talk(socket: web.WebSocketResponse) -> None:
            await socket.close(code=WSCloseCode.GOING_AWAY, message=b"back soon")

        async with Server(websocket(talk)) as url:
            port = await dialler(url, lambda: "")()
            with pytest.raises(ConnectionError, match=r"code 1001, back soon"):
                await port.recv()
            await port.close()

    run(body)


@pytest.mark.parametrize(
    ("status", "kind", "message"),
    [
        (401, NotAllowed, "refused the token"),
        (403, NotAllowed, "refused the token"),
        (404, Unreachable, "not as a Styx server does"),
        (500, Unreachable, "not as a Styx server does"),
        (200, Unreachable, "not as a Styx server does"),
        (429, Busy, "is busy"),
        (503, Busy, "is busy"),
    ],
)
def test_refusals_are_told_apart(status: int, kind: type[Exception], message: str) -> None:
    async def body() -> None:
        async def handler(request: web.Request) -> web.StreamResponse:
            return web.json_response({"title": "no"}, status=status, headers={"Retry-After": "7"})

        async with Server(handler) as url:
            with pytest.raises(kind, match=message) as caught:
                await dialler(url, lambda: "t")()
            if isinstance(caught.value, Busy):
                assert caught.value.retry_after == 7
            if kind is NotAllowed:
                assert caught.value.exit_code == 77  # type: ignore[attr-defined]

    run(body)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed_and_the_token_goes_nowhere_else(status: int) -> None:
    async def body() -> None:
        reached: list[str] = []

        async def elsewhere(request: web.Request) -> web.StreamResponse:
            reached.append(request.headers.get("Authorization", ""))
            return await websocket(lambda socket: socket.close())(request)

        async with Server(elsewhere) as other:

            async def handler(request: web.Request) -> web.StreamResponse:
                return web.Response(status=status, headers={"Location": f"{other}{PATH}"})

            async with Server(handler) as url:
                with pytest.raises(Unreachable, match=rf"redirect \({status}\) to .*server's own address"):
                    await dialler(url, lambda: "s3cret")()
        assert reached == []

    run(body)


def test_a_missing_token_is_said() -> None:
    async def body() -> None:
        async def handler(request: web.Request) -> web.StreamResponse:
            return web.Response(status=401)

        async with Server(handler) as url:
            with pytest.raises(NotAllowed, match="wants a token and there is none"):
                await dialler(url, lambda: "")()

    run(body)


def test_a_token_that_would_break_the_request_is_not_sent() -> None:
    async def body() -> None:
        with pytest.raises(NotAllowed, match="no token has"):
            await dialler("http://127.0.0.1:1", lambda: "a\r\nX: y")()

    run(body)


def test_nobody_there() -> None:
    async def body() -> None:
        listener = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", 0)
        port = listener.sockets[0].getsockname()[1]
        with pytest.raises(Unreachable, match="no server answers"):
            await dialler(f"http://127.0.0.1:{port}", lambda: "")()
        listener.close()
        await listener.wait_closed()
        with pytest.raises(Unreachable, match="Connection refused"):
            await dialler(f"http://127.0.0.1:{port}", lambda: "")()
        with pytest.raises(Unreachable, match=r"no server answers at http://no-such-host.invalid"):
            await dialler("http://no-such-host.invalid", lambda: "")()

    run(body)


async def raw(answer: bytes, *, upgrade: bool) -> tuple[asyncio.Server, str]:
    """A server that says exactly this, behind a proper handshake if `upgrade`."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if upgrade:
            key = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key")).split()[1]
            accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
            writer.write(
                b"HTTP/1.1 101 OK\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
                + accept
                + b"\r\n\r\n"
            )
        writer.write(answer)
        await writer.drain()
        await reader.read(1)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    return server, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (b"\xc2\x01a", "broke the websocket protocol"),  # a reserved bit: an extension that was not agreed
        (b"\x82\x81aaaab", "broke the websocket protocol"),  # masked by the server
        (b"\x81\x02hi", "sent text"),
        (b"\x81\x02\xff\xfe", "broke the websocket protocol"),  # text, and not even that
        (b"\x82\x7f" + (1 << 40).to_bytes(8, "big"), "exceeds limit"),
        (b"\x82\x03abc", "not a frame of messages"),
    ],
)
def test_what_breaks_the_protocol_is_recognised(frame: bytes, message: str) -> None:
    async def body() -> None:
        server, url = await raw(frame, upgrade=True)
        port = await dialler(url, lambda: "")()
        with pytest.raises(ProtocolError, match=message):
            await port.recv()
        await port.close()
        server.close()

    run(body)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "does not speak HTTP"),
        (b"HTTP/1.1 101 OK\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: wrong\r\n\r\n", "no websocket answers so"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n", "is not a Styx server"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000, "is not a Styx server"),
        (b"x" * (2 << 20), "is not a Styx server"),
    ],
)
def test_what_is_no_styx_server_is_said(answer: bytes, message: str) -> None:
    async def body() -> None:
        server, url = await raw(answer, upgrade=False)
        with pytest.raises(Unreachable, match=message):
            await dialler(url, lambda: "")()
        server.close()

    run(body)


def test_a_server_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body() -> None:
        monkeypatch.setattr("styx.agent.dial.CONNECT_LIMIT", 0.2)
        asked = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            asked.set()
            await reader.read()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        with pytest.raises(Unreachable, match=r"nothing came within 0\.2 s"):
            await dialler(url, lambda: "")()
        assert asked.is_set()
        server.close()

    run(body)


def test_goodbye_to_a_server_that_takes_nothing_has_an_end() -> None:
    async def body() -> None:
        over = asyncio.Event()

        async def talk(socket: web.WebSocketResponse) -> None:
            await over.wait()  # and reads nothing

        async with Server(websocket(talk)) as url:
            port = await dialler(url, lambda: "")()

            async def pour() -> None:
                while True:
                    await port.send([Output(1, 1, 0, bytes(1 << 20))])

            with pytest.raises(TimeoutError):
                await asyncio.wait_for(pour(), 0.3)
            await port.close()
            with pytest.raises(ConnectionError):
                await port.recv()
            over.set()

    run(body)


def test_a_proxy_is_asked_for_a_server_elsewhere_and_not_for_one_here(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body() -> None:
        asked: list[bytes] = []

        async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            asked.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(proxy, "127.0.0.1", 0)
        for name in ("no_proxy", "NO_PROXY", "ALL_PROXY", "all_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        with pytest.raises(Unreachable, match=r"through the proxy.*407"):
            await dialler("http://styx.invalid:8080", lambda: "s3cret")()
        assert asked[0].startswith(b"CONNECT styx.invalid:8080")
        assert b"s3cret" not in asked[0]

        async def talk(socket: web.WebSocketResponse) -> None:
            await socket.send_bytes(encode([Ack(1)]))

        async with Server(websocket(talk)) as url:
            port = await dialler(url, lambda: "")()
            assert await port.recv() == [Ack(1)]
            await port.close()
        assert len(asked) == 1
        monkeypatch.setenv("http_proxy", "ftp://me:s3cret@proxy")
        with pytest.raises(Unreachable, match="names wrongly") as caught:
            await dialler("http://styx.invalid:8080", lambda: "")()
        assert "s3cret" not in caught.value.message
        server.close()

    run(body)


def test_the_library_is_loaded_only_to_dial() -> None:
    code = "import sys, styx.agent.embedded, styx.agent.link; sys.exit('websockets' in sys.modules or 'aiohttp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_link_within_the_process_speaks_frames() -> None:
    class Lane:
        def __init__(self) -> None:
            self.sent: list[bytes] = []
            self.closed = False

        async def send(self, frame: bytes) -> None:
            self.sent.append(frame)

        async def close(self) -> None:
            self.closed = True

        async def __aiter__(self) -> Any:
            yield encode([Ack(3)])

    async def body() -> None:
        lane = Lane()
        link = LocalLink(lane)
        await link.send([Report(1)])
        assert [decode_agent(frame) for frame in lane.sent] == [[Report(1)]]
        assert await link.recv() == [Ack(3)]
        with pytest.raises(ConnectionError):
            await link.recv()
        await link.close()
        assert lane.closed

    run(body)
