"""Framing on the owner's socket: four bytes of length, big-endian, and a msgpack list of messages. Both sides use this.

The owner gathers a frame from messages and from output that stays where it is (`Gathered`): the bytes of a program are copied
from its pipe into memory, and from there into the socket, and nowhere between.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

import msgspec

from styx.errors import ProtocolError
from styx.protocol.codec import BROKEN
from styx.protocol.owner import AgentToOwner, OwnerOutput, OwnerToAgent

__all__ = ["MAX_FRAME", "Frames", "Gathered", "decode_owner", "encode", "from_agent", "from_owner"]

MAX_FRAME = 8 << 20  # bytes of the list; a longer one closes the connection

_Message = TypeVar("_Message")
_NOTHING = memoryview(b"")
_encoder = msgspec.msgpack.Encoder()
_from_agent: msgspec.msgpack.Decoder[list[AgentToOwner]] = msgspec.msgpack.Decoder(list[AgentToOwner])
_from_owner: msgspec.msgpack.Decoder[list[OwnerToAgent]] = msgspec.msgpack.Decoder(list[OwnerToAgent])


def encode(messages: Sequence[AgentToOwner] | Sequence[OwnerToAgent]) -> bytes:
    """One frame; raises ProtocolError when it would be longer than the other side takes."""
    body = _encoder.encode(messages)
    if len(body) > MAX_FRAME:
        raise ProtocolError(f"a frame of {len(body)} bytes is longer than {MAX_FRAME}: send fewer messages at a time")
    return len(body).to_bytes(4, "big") + body


class Gathered:
    """One frame of the owner's. `size` counts the bytes of output in it."""

    __slots__ = ("_count", "_length", "_parts", "size")

    def __init__(self) -> None:
        self._parts: list[bytes | memoryview] = []
        self._count = 0
        self._length = 0
        self.size = 0

    def __bool__(self) -> bool:
        return bool(self._count)

    def add(self, message: OwnerToAgent) -> None:
        part = _encoder.encode(message)
        self._parts.append(part)
        self._length += len(part)
        self._count += 1

    def output(self, attempt: int, stream: int, offset: int, data: Sequence[bytes | memoryview], size: int) -> None:
        """An OwnerOutput of `size` bytes that lie in pieces."""
        # That of no bytes ends with the header of an empty `bin`; ours has the header of a long one in its place.
        head = _encoder.encode(OwnerOutput(attempt, stream, offset, _NOTHING))[:-2] + b"\xc6" + size.to_bytes(4, "big")
        self._parts.append(head)
        self._parts += data
        self._length += len(head) + size
        self.size += size
        self._count += 1

    def parts(self) -> tuple[list[bytes | memoryview], int]:
        """The frame in pieces, and its length in all."""
        count = self._count
        head = bytes((0x90 | count,)) if count < 16 else b"\xdd" + count.to_bytes(4, "big")
        length = self._length + len(head)
        if length > MAX_FRAME:
            raise ProtocolError(f"a frame of {length} bytes is longer than {MAX_FRAME}: send fewer messages at a time")
        return [length.to_bytes(4, "big") + head, *self._parts], length + 4


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


def decode_owner(frame: bytes | bytearray) -> list[OwnerToAgent]:
    """What the owner said in one frame, without its length; output is a view into it. Raises ProtocolError when it is none."""
    try:
        return _from_owner.decode(frame)
    except BROKEN as error:
        raise ProtocolError(f"not a frame of messages: {error}") from error


def from_agent() -> Frames[AgentToOwner]:
    """The owner's side: decodes what the agent sends."""
    return Frames(_from_agent)


def from_owner() -> Frames[OwnerToAgent]:
    """The agent's side: decodes what the owner sends."""
    return Frames(_from_owner)
