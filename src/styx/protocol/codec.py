"""Frames: a msgpack list of messages, and the limits that both sides hold to."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from styx.errors import ProtocolError
from styx.protocol.messages import AgentMessage, Credential, ServerMessage

__all__ = ["BROKEN", "MAX_CHUNK", "MAX_FRAME", "decode_agent", "decode_server", "encode"]

MAX_FRAME = 8 << 20  # bytes; a longer frame closes the link
MAX_CHUNK = 256 << 10  # bytes of output in one message

BROKEN = (
    msgspec.MsgspecError,
    UnicodeDecodeError,
    RecursionError,
)  # what a decoder raises for bytes that are no messages

_encoder = msgspec.msgpack.Encoder()
_agent = msgspec.msgpack.Decoder(list[AgentMessage])
_server = msgspec.msgpack.Decoder(list[ServerMessage | Credential])


def encode(messages: Sequence[AgentMessage | ServerMessage | Credential]) -> bytes:
    return _encoder.encode(messages)


def decode_agent(frame: bytes) -> list[AgentMessage]:
    """What an agent sent; raises ProtocolError when it is no valid frame."""
    try:
        return _agent.decode(frame)
    except BROKEN as error:
        raise ProtocolError(f"not a frame of messages: {error}") from error


def decode_server(frame: bytes, keep: Callable[[Credential], None] = lambda credential: None) -> list[ServerMessage]:
    """What a server sent, less the credentials in it, which go to `keep`; raises ProtocolError when it is no valid frame."""
    try:
        messages = _server.decode(frame)
    except BROKEN as error:
        raise ProtocolError(f"not a frame of messages: {error}") from error
    found: list[ServerMessage] = []
    for message in messages:
        if isinstance(message, Credential):
            keep(message)
        else:
            found.append(message)
    return found
