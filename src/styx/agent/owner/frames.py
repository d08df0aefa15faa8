"""Framing on the owner's socket: four bytes of length, big-endian, and a msgpack list of messages. Both sides use this."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

import msgspec

from styx.errors import ProtocolError
from styx.protocol.codec import BROKEN
from styx.protocol.owner import AgentToOwner, OwnerToAgent

__all__ = ["MAX_FRAME", "Frames", "encode", "from_agent", "from_owner"]

MAX_FRAME = 8 << 20  # bytes of the list; a longer one closes the connection

_Message = TypeVar("_Message")
_encoder = msgspec.msgpack.Encoder()
_from_agent: msgspec.msgpack.Decoder[list[AgentToOwner]] = msgspec.msgpack.Decoder(list[AgentToOwner])
_from_owner: msgspec.msgpack.Decoder[list[OwnerToAgent]] = msgspec.msgpack.Decoder(list[OwnerToAgent])


def encode(messages: Sequence[AgentToOwner] | Sequence[OwnerToAgent]) -> bytes:
    """One frame; raises ProtocolError when it would be longer than the other side takes."""
    body = _encoder.encode(messages)
    if len(body) > MAX_FRAME:
        raise ProtocolError(f"a frame of {len(body)} bytes is longer than {MAX_FRAME}: send fewer messages at a time")
    return len(body).to_bytes(4, "big") + body


class Frames(Generic[_Message]):
    """Bytes in, as they come; whole messages out."""

    __slots__ = ("_buffer", "_decoder")

    def __init__(self, decoder: msgspec.msgpack.Decoder[list[_Message]]) -> None:
        self._decoder = decoder
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[_Message]:
        """The messages that are complete with `data`; raises ProtocolError on what is no frame."""
        buffer = self._buffer
        buffer += data
        messages: list[_Message] = []
        start = 0
        while len(buffer) - start >= 4:
            size = int.from_bytes(buffer[start : start + 4], "big")
            if size > MAX_FRAME:
                raise ProtocolError(f"a frame of {size} bytes is longer than {MAX_FRAME}")
            end = start + 4 + size
            if end > len(buffer):
                break
            try:
                messages += self._decoder.decode(bytes(buffer[start + 4 : end]))
            except BROKEN as error:
                raise ProtocolError(f"not a frame of messages: {error}") from error
            start = end
        del buffer[:start]
        return messages


def from_agent() -> Frames[AgentToOwner]:
    """The owner's side: decodes what the agent sends."""
    return Frames(_from_agent)


def from_owner() -> Frames[OwnerToAgent]:
    """The agent's side: decodes what the owner sends."""
    return Frames(_from_owner)
