"""Connections to the server: a websocket, or within one process anything that carries frames.

The agent dials; it has no listening port. The address people give is the server's (http://host:8080); the path of the
websocket is our business.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit, urlunsplit

from styx.agent.joining import Joined
from styx.agent.ports import Dial, OwnerPort, ServerPort
from styx.errors import NotAllowed, ProtocolError, StyxError, UsageError
from styx.protocol.codec import MAX_FRAME, decode_server, encode
from styx.protocol.messages import AgentMessage, Credential, ServerMessage

if TYPE_CHECKING:
    import ssl

    from styx.agent.dial import Socket

__all__ = ["Dial", "LocalLink", "OwnerPort", "ServerPort", "Transport", "WebSocket", "dialler", "endpoint"]

PATH = "/api/v1/agents/connect"

log = logging.getLogger("styx.agent")

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

    def __init__(self, socket: Socket, keep: Callable[[Credential], None]) -> None:
        self._socket = socket
        self._keep = keep

    async def send(self, messages: list[AgentMessage], /) -> None:
        for frame in frames(messages):
            await self._socket.send(frame)

    async def recv(self) -> list[ServerMessage]:
        while True:
            messages = decode_server(await self._socket.receive(), self._keep)
            if messages:
                return messages

    async def close(self) -> None:
        await self._socket.close()


def frames(messages: Sequence[AgentMessage]) -> list[bytes]:
    """The messages as frames within the limit."""
    frame = encode(messages)
    if len(frame) < MAX_FRAME:
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
    if parts.username is not None:
        raise UsageError("a server's address holds no user and no password", hint="the agent shows a token instead")
    plain = all("!" <= letter <= "~" for letter in parts.netloc + parts.path)
    if scheme is None or not host or not plain or parts.query or parts.fragment:
        raise UsageError(
            f"not a server address: {server!r}", hint="it looks like http://127.0.0.1:8080 or https://styx.example.com"
        )
    path = parts.path.rstrip("/")
    return urlunsplit((scheme, parts.netloc, path if path.endswith(PATH) else path + PATH, "", ""))


def dialler(
    server: str, token: Callable[[], str], *, joined: Joined | None = None, tls: ssl.SSLContext | None = None
) -> Dial:
    """Dials this server; `token` is asked anew each time, since the file it comes from may appear later. `joined` is for agents
    that may have a join token, and then a credential."""
    from styx.agent.dial import open_socket  # an agent that never dials does not pay for it

    address = endpoint(server)

    def keep(credential: Credential) -> None:
        try:
            if joined is not None:
                joined.keep(credential.secret)
        except StyxError as error:  # the one before is good for a while, and the next will come
            log.warning("%s", error.message)

    async def dial() -> ServerPort:
        if joined is None:
            return WebSocket(await open_socket(server, address, token(), tls), keep)
        found, may_be_old = await joined.token()
        try:
            return WebSocket(await open_socket(server, address, found, tls), keep)
        except NotAllowed:
            if not may_be_old:
                raise
        return WebSocket(await open_socket(server, address, await joined.join(), tls), keep)

    return dial
