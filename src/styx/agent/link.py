"""Connections to the server: a websocket, or within one process anything that carries frames.

The agent dials; it has no listening port. The address people give is the server's (http://host:8080); the path of the
websocket is our business.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit, urlunsplit

from styx.agent.ports import Dial, OwnerPort, ServerPort
from styx.errors import Busy, NotAllowed, ProtocolError, Unreachable, UsageError
from styx.protocol.codec import MAX_FRAME, decode_server, encode
from styx.protocol.messages import AgentMessage, ServerMessage

if TYPE_CHECKING:
    import aiohttp
    from aiohttp import ClientSession, ClientWebSocketResponse

__all__ = ["Dial", "LocalLink", "OwnerPort", "ServerPort", "Transport", "WebSocket", "dialler", "endpoint"]

SUBPROTOCOL = "styx"
PATH = "/api/v1/agents/connect"
CONNECT_LIMIT = 10.0  # seconds for the connection and the handshake
_CLOSE_LIMIT = 3.0  # seconds for the other side to agree to a close

_SCHEMES = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}


class Transport(Protocol):
    """Frames, whole and in order, both ways: what the server's hub also sees (`runtime.transport`)."""

    async def send(self, frame: bytes) -> None: ...

    async def close(self) -> None: ...

    def __aiter__(self) -> AsyncIterator[bytes]: ...


class LocalLink:
    """A ServerPort over a transport within this process."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._frames = aiter(transport)

    async def send(self, messages: list[AgentMessage], /) -> None:
        for frame in frames(messages):
            await self._transport.send(frame)

    async def recv(self) -> list[ServerMessage]:
        try:
            return decode_server(await anext(self._frames))
        except StopAsyncIteration:
            raise ConnectionResetError("the control plane closed the link") from None

    async def close(self) -> None:
        await self._transport.close()


class WebSocket:
    """A ServerPort over a websocket."""

    def __init__(self, client: ClientSession, socket: ClientWebSocketResponse) -> None:
        self._client = client
        self._socket = socket

    async def send(self, messages: list[AgentMessage], /) -> None:
        for frame in frames(messages):
            await self._socket.send_bytes(frame)

    async def recv(self) -> list[ServerMessage]:
        from aiohttp import WSMsgType

        message = await self._socket.receive()
        if message.type is WSMsgType.BINARY:
            return decode_server(message.data)
        if message.type is WSMsgType.TEXT:
            raise ProtocolError("the server sent text where frames are binary")
        raise ConnectionResetError(f"the server closed the link (code {self._socket.close_code or 1006})")

    async def close(self) -> None:
        await self._socket.close()
        await self._client.close()


def frames(messages: Sequence[AgentMessage]) -> list[bytes]:
    """The messages as frames within the limit."""
    frame = encode(messages)
    if len(frame) <= MAX_FRAME:
        return [frame]
    if len(messages) == 1:
        raise ProtocolError(f"a {type(messages[0]).__name__} of {len(frame)} bytes is longer than a frame may be")
    middle = len(messages) // 2
    return frames(messages[:middle]) + frames(messages[middle:])


def endpoint(server: str) -> str:
    """The websocket's address for a server's; UsageError when it is no http(s) address."""
    try:
        parts = urlsplit(server if "://" in server else f"http://{server}")
        scheme, host, _ = _SCHEMES.get(parts.scheme), parts.hostname, parts.port
    except ValueError as error:
        raise UsageError(f"not a server address: {server!r} ({error})") from error
    if scheme is None or not host or parts.query or parts.fragment:
        raise UsageError(
            f"not a server address: {server!r}", hint="it looks like http://127.0.0.1:8080 or https://styx.example.com"
        )
    path = parts.path.rstrip("/")
    return urlunsplit((scheme, parts.netloc, path if path.endswith(PATH) else path + PATH, "", ""))


def dialler(server: str, token: Callable[[], str]) -> Dial:
    """Dials this server; `token` is asked anew each time, since the file it comes from may appear later."""
    address = endpoint(server)

    async def dial() -> ServerPort:
        return await _dial(server, address, token())

    return dial


async def _dial(server: str, address: str, token: str) -> WebSocket:
    import aiohttp

    headers = {"Authorization": f"Bearer {token}"} if token else {}
    limits = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_LIMIT)
    try:
        async with AsyncExitStack() as undo:
            client = await undo.enter_async_context(aiohttp.ClientSession(timeout=limits))
            async with asyncio.timeout(CONNECT_LIMIT):
                socket = await client.ws_connect(
                    address,
                    headers=headers,
                    protocols=(SUBPROTOCOL,),
                    max_msg_size=MAX_FRAME + 1,  # aiohttp refuses what is as long as the limit
                    timeout=aiohttp.ClientWSTimeout(ws_close=_CLOSE_LIMIT),
                )
            undo.pop_all()
    except aiohttp.WSServerHandshakeError as error:
        raise _refusal(server, error, bool(token)) from error
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise Unreachable(f"no server answers at {server}: {_reason(error)}") from error
    return WebSocket(client, socket)


def _refusal(server: str, error: aiohttp.WSServerHandshakeError, had_token: bool) -> Exception:
    status = error.status
    if status in {401, 403}:
        if not had_token:
            return NotAllowed(
                f"{server} wants a token and there is none",
                hint="give --token-file, STYX_TOKEN, or the STYX_HOME of the server on this host",
            )
        return NotAllowed(f"{server} refused the token ({status})", hint="see `styx token` on the server's host")
    if status in {429, 503}:
        given = error.headers.get("Retry-After", "") if error.headers else ""
        return Busy(f"{server} is busy ({status})", retry_after=float(given) if given.isdigit() else 1.0, status=status)
    return Unreachable(f"{server} answers, but not as a Styx server does ({status})")


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {CONNECT_LIMIT:g} s"
    cause = getattr(error, "os_error", None) or error
    return getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
