"""A websocket client (RFC 6455) over asyncio's streams: binary messages, no extensions, no redirects.

The agent needs this small part of the protocol and nothing else of HTTP. aiohttp's client would do, but importing it costs
12 MB, more than a third of what an agent and its owner take together, on every machine there is.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from styx.errors import ProtocolError

if TYPE_CHECKING:
    import ssl

__all__ = ["Handshake", "Socket", "connect"]

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_MOST_HEADERS = 64 << 10
_MOST_BODY = 16 << 10  # of an answer that is no websocket
_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0, 1, 2, 8, 9, 10
_FIN, _MASKED, _RESERVED = 0x80, 0x80, 0x70
_NORMAL = (1000).to_bytes(2, "big")


class Handshake(Exception):
    """The server answered, and not with a websocket."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        super().__init__(f"HTTP status {status}")
        self.status = status
        self.headers = headers  # names in lower case
        self.body = body


class Socket:
    """An open websocket. One task reads, any may write."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limit: int) -> None:
        self._reader = reader
        self._writer = writer
        self._limit = limit  # bytes of a message

    async def send(self, data: bytes) -> None:
        """Returns when the connection can take more; ConnectionError when it is gone."""
        self._frame(_BINARY, data)
        await self._writer.drain()

    async def receive(self) -> bytes:
        """The next message. ConnectionError when the connection is gone or was closed, ProtocolError when the server broke
        the protocol."""
        message = b""
        within = False
        while True:
            final, opcode, data = await self._read()
            if opcode == _PING:
                self._frame(_PONG, data)
            elif opcode == _CLOSE:
                self._frame(_CLOSE, data[:2])
                raise ConnectionResetError(_farewell(data))
            elif (opcode == _BINARY and not within) or (opcode == _CONTINUATION and within):
                message = message + data if within else data
                if len(message) > self._limit:
                    raise ProtocolError(f"the server sent a message of more than {self._limit} bytes")
                if final:
                    return message
                within = True
            elif opcode != _PONG:
                kind = "text" if opcode == _TEXT else f"a frame of kind {opcode}"
                raise ProtocolError(f"the server sent {kind} where a binary message was expected")

    async def close(self) -> None:
        """Say goodbye and go; the server's answer is not waited for."""
        if not self._writer.is_closing():
            self._frame(_CLOSE, _NORMAL)
        self._writer.close()
        try:
            async with asyncio.timeout(1):
                await self._writer.wait_closed()
        except (OSError, TimeoutError):
            self._writer.transport.abort()

    def _frame(self, opcode: int, data: bytes) -> None:
        size = len(data)
        head = bytearray((_FIN | opcode,))
        if size < 126:
            head.append(_MASKED | size)
        elif size < 1 << 16:
            head.append(_MASKED | 126)
            head += size.to_bytes(2, "big")
        else:
            head.append(_MASKED | 127)
            head += size.to_bytes(8, "big")
        mask = os.urandom(4)
        self._writer.write(bytes(head) + mask + _masked(data, mask))

    async def _read(self) -> tuple[bool, int, bytes]:
        try:
            first, second = await self._reader.readexactly(2)
            size = second & 0x7F
            if size == 126:
                size = int.from_bytes(await self._reader.readexactly(2), "big")
            elif size == 127:
                size = int.from_bytes(await self._reader.readexactly(8), "big")
            opcode = first & 0x0F
            if first & _RESERVED or second & _MASKED or (opcode >= _CLOSE and (size > 125 or not first & _FIN)):
                raise ProtocolError("the server sent a frame that no websocket allows")
            if size > self._limit:
                raise ProtocolError(f"the server sent a frame of {size} bytes, and {self._limit} is the limit")
            return bool(first & _FIN), opcode, await self._reader.readexactly(size)
        except asyncio.IncompleteReadError:
            raise ConnectionResetError("the server closed the connection") from None


async def connect(
    address: str, *, headers: dict[str, str], protocol: str, limit: int, tls: ssl.SSLContext | None = None
) -> Socket:
    """Dial ws://... or wss://...; errors: OSError, Handshake, ProtocolError. The caller sets the time limit."""
    parts = urlsplit(address)
    host = parts.hostname or ""
    if parts.scheme == "wss" and tls is None:
        import ssl

        tls = ssl.create_default_context()
    port = parts.port or (443 if tls else 80)
    reader, writer = await asyncio.open_connection(host, port, ssl=tls, limit=1 << 20)
    try:
        key = base64.b64encode(os.urandom(16))
        lines = [
            f"GET {parts.path or '/'} HTTP/1.1",
            f"Host: {parts.netloc.rpartition('@')[2]}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key.decode()}",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Protocol: {protocol}",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
        await writer.drain()
        status, answer = await _answer(reader)
        if status != 101:
            raise Handshake(status, answer, await _body(reader, answer))
        wanted = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest()).decode()
        if answer.get("sec-websocket-accept") != wanted or answer.get("upgrade", "").lower() != "websocket":
            raise ProtocolError("the answer to the websocket handshake is not a websocket's")
        return Socket(reader, writer, limit)
    except BaseException:
        writer.transport.abort()
        raise


async def _answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        raise ConnectionResetError("the connection was closed before there was an answer") from None
    except asyncio.LimitOverrunError:
        raise ProtocolError("the answer has no end to its headers") from None
    if len(head) > _MOST_HEADERS:
        raise ProtocolError("the answer's headers are too long")
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ", 2)
    if not first.startswith("HTTP/1.") or len(words) < 2 or not words[1].isdigit():
        raise ProtocolError("what answers there does not speak HTTP")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            headers[name.strip().lower()] = value.strip()
    return int(words[1]), headers


async def _body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    """The beginning of the body of a refusal, for its message."""
    size = headers.get("content-length", "0")
    if not size.isdigit() or int(size) > _MOST_BODY:
        return b""
    try:
        return await reader.readexactly(int(size))
    except asyncio.IncompleteReadError:
        return b""


def _masked(data: bytes, mask: bytes) -> bytes:
    """Each byte XORed with the mask's, as one long number: a loop over bytes would be a hundred times slower."""
    size = len(data)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "little") ^ int.from_bytes(key, "little")).to_bytes(size, "little")


def _farewell(data: bytes) -> str:
    if len(data) < 2:
        return "the server closed the link"
    reason = data[2:].decode("utf-8", errors="replace")
    return f"the server closed the link (code {int.from_bytes(data[:2], 'big')}{', ' + reason if reason else ''})"
