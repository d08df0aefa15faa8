"""A websocket to a server, through the library `websockets`, and what a person is told when there is none.

Imported when an agent dials, and not before: one within another program never does (docs/adr/0004). The library keeps the
protocol; what is decided here is that nothing is compressed, that beats are the session's and not the library's, that no
redirect is followed (the token is for the server that was named), and that goodbye has an end.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import ssl
from contextlib import suppress
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.datastructures import Headers
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidMessage,
    InvalidProxy,
    InvalidStatus,
    ProxyError,
)
from websockets.frames import CloseCode
from websockets.typing import Subprotocol

from styx.agent.joining import was_revoked
from styx.errors import Busy, NotAllowed, ProtocolError, Revoked, StyxError, Unreachable
from styx.protocol.codec import MAX_FRAME

__all__ = ["Socket", "open_socket"]

SUBPROTOCOL = Subprotocol("styx")
CONNECT_LIMIT = 10.0  # seconds for the connection and the handshake
CLOSE_LIMIT = 1.0  # seconds for goodbye, whether the server answers it or not

# We end a link with these when the other side broke the protocol.
_BROKEN = {CloseCode.PROTOCOL_ERROR, CloseCode.INVALID_DATA, CloseCode.MESSAGE_TOO_BIG}


class _Answered(Exception):
    """The server answered with HTTP, and not with a websocket."""

    def __init__(self, status: int, headers: Headers, body: bytes) -> None:
        super().__init__(f"HTTP status {status}")
        self.status = status
        self.headers = headers
        self.body = body


class _Connection(ClientConnection):
    """One that tells a redirect as it tells any other answer: the library would follow it, in some versions with the token."""

    async def handshake(self, *args: object, **kwargs: object) -> None:
        try:
            await super().handshake(*args, **kwargs)  # type: ignore[arg-type]
        except InvalidStatus as error:
            answer = error.response
            raise _Answered(answer.status_code, answer.headers, bytes(answer.body or b"")) from None


class Socket:
    """An open websocket. One task reads, any may write. Errors: ConnectionError, ProtocolError."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    async def send(self, data: bytes) -> None:
        """Returns when the connection can take more."""
        try:
            await self._connection.send(data)
        except ConnectionClosed as closed:
            raise _farewell(closed) from None

    async def receive(self) -> bytes:
        """The next message."""
        try:
            message = await self._connection.recv()
        except ConnectionClosed as closed:
            raise _farewell(closed) from None
        if isinstance(message, str):
            raise ProtocolError("the server sent text where a binary message was expected")
        return message

    async def close(self) -> None:
        """Say goodbye and go. The library waits without end for a peer that takes nothing; this does not."""
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_LIMIT):
                    await self._connection.close()
        finally:
            self._connection.transport.abort()


async def open_socket(server: str, address: str, token: str, tls: ssl.SSLContext | None = None) -> Socket:
    """Dial ws://... or wss://..., through the proxy that the environment names, if any. `server` is the address that people know.

    Errors: Unreachable and Busy (to be tried again), NotAllowed, and Revoked when the server says that it took the token back.
    """
    if not all("!" <= letter <= "~" for letter in token):
        raise NotAllowed("the token holds a character that no token has", hint="is it the right file?")
    parts = urlsplit(address)
    try:
        connection = await connect(
            address,
            subprotocols=[SUBPROTOCOL],
            compression=None,
            additional_headers={"Authorization": f"Bearer {token}"} if token else {},
            user_agent_header=None,
            proxy=None if _is_here(parts.hostname or "") else True,
            open_timeout=CONNECT_LIMIT,
            ping_interval=None,
            close_timeout=CLOSE_LIMIT,
            max_size=MAX_FRAME,
            create_connection=_Connection,
            ssl=(tls or True) if parts.scheme == "wss" else None,
        )
    except _Answered as answer:
        raise _refusal(server, answer, bool(token)) from None
    except TimeoutError:
        raise Unreachable(f"no server answers at {server}: nothing came within {CONNECT_LIMIT:g} s") from None
    except OSError as error:
        raise Unreachable(f"no server answers at {server}: {_reason(error)}") from error
    except InvalidProxy as error:  # its text would repeat the proxy's password
        raise Unreachable(f"{server} is behind a proxy that the environment names wrongly: {error.msg}") from None
    except ProxyError as error:
        raise Unreachable(f"no server answers at {server} through the proxy: {error}") from error
    except ImportError as error:
        raise Unreachable(f"{server} is behind a proxy: {error}") from error
    except InvalidMessage as error:
        if isinstance(error.__cause__, EOFError):
            raise Unreachable(f"no server answers at {server}: the connection was closed instead") from error
        raise Unreachable(f"{server} is not a Styx server: it does not speak HTTP ({error.__cause__})") from error
    except InvalidHandshake as error:
        raise Unreachable(f"{server} is not a Styx server: no websocket answers so ({error})") from error
    return Socket(connection)


def _is_here(host: str) -> bool:
    """Whether the address is this machine's own, which no proxy can reach."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _farewell(closed: ConnectionClosed) -> ConnectionError | ProtocolError:
    sent, received = closed.sent, closed.rcvd
    if sent is not None and sent.code in _BROKEN and not closed.rcvd_then_sent:
        return ProtocolError(f"the server broke the websocket protocol: {sent.reason or int(sent.code)}")
    if received is None:
        return ConnectionResetError("the server closed the connection")
    reason = f", {received.reason}" if received.reason else ""
    return ConnectionResetError(f"the server closed the link (code {int(received.code)}{reason})")


def _refusal(server: str, answer: _Answered, had_token: bool) -> StyxError:
    status = answer.status
    if status in {401, 403}:
        if not had_token:
            return NotAllowed(
                f"{server} wants a token and there is none",
                hint="give --token-file, STYX_TOKEN, or the STYX_HOME of the server on this host",
            )
        kind = Revoked if was_revoked(answer.body) else NotAllowed
        return kind(
            f"{server} refused the token ({status}{', it was revoked' if kind is Revoked else ''})",
            hint="see `styx token` on the server's host",
            status=status,
        )
    if status in {429, 503}:
        given = answer.headers.get("Retry-After", "")
        return Busy(f"{server} is busy ({status})", retry_after=float(given) if given.isdigit() else 1.0, status=status)
    if status in {301, 302, 303, 307, 308}:
        where = answer.headers.get("Location", "nowhere")
        return Unreachable(
            f"{server} answers with a redirect ({status}) to {where!r}, which an agent does not follow: give it the server's own address"
        )
    return Unreachable(f"{server} answers, but not as a Styx server does ({status})")


def _reason(error: OSError) -> str:
    """One line; asyncio joins the errors of several addresses into one that repeats itself."""
    if isinstance(error, ssl.SSLError):
        return str(getattr(error, "verify_message", "") or error.reason or error)
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return error.strerror or str(error) or type(error).__name__
