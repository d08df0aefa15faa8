"""Server-sent events, read: bytes in any pieces in, whole events out."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from styx.errors import ProtocolError

__all__ = ["Parser", "Received"]

MAX_EVENT = 16 << 20  # bytes; longer ones are no event of ours


class Received(msgspec.Struct, frozen=True, gc=False):
    event: str
    data: bytes
    ident: str  # the last id seen in the stream, which may be of an earlier event


class Parser:
    """The field rules of the HTML standard, section 9.2.6, without what our server never sends (BOM, lone CR)."""

    def __init__(self) -> None:
        self._rest = b""
        self._event = ""
        self._data: list[bytes] = []
        self._size = 0
        self.ident = ""

    def feed(self, piece: bytes) -> Iterator[Received]:
        lines = (self._rest + piece).split(b"\n")
        self._rest = lines.pop()
        if len(self._rest) + self._size > MAX_EVENT:
            raise ProtocolError("the server sent an event that does not end")
        for line in lines:
            whole = self._line(line.removesuffix(b"\r"))
            if whole is not None:
                yield whole

    def _line(self, line: bytes) -> Received | None:
        if not line:
            received = Received(self._event or "message", b"\n".join(self._data), self.ident) if self._data else None
            self._event, self._data, self._size = "", [], 0
            return received
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
            self._size += len(value)
        elif name == b"event":
            self._event = value.decode(errors="replace")
        elif name == b"id" and b"\0" not in value:
            self.ident = value.decode(errors="replace")
        return None
