"""A pod's log as a stream of bytes that survives broken connections.

Each line is asked for with its timestamp, which is taken off again. To go on after a break, the log is asked for from the second of the last
line that came (the API cuts `sinceTime` to seconds), and as many lines are passed over as had come since that second; lines come in the order
they stand in, so these are the same ones. If the first of them is another, the node has turned its log over meanwhile: what was in between
is lost, and a line says so.

Kubernetes keeps one log for both outputs of a container, so everything is standard output here.
"""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["CUT", "LATE", "LogPosition", "missing"]

LATE = b"[styx: the pod's log was turned over while no server was there: lines may be missing here, or stand twice]\n"
CUT = b"[styx: a part of the pod's log is missing here]\n"


def missing(reason: str) -> bytes:
    """What stands at the end of a log that could not be read to its end."""
    return f"[styx: the rest of the pod's log could not be read: {reason}]\n".encode()


class LogPosition:
    """Feed it what comes over each connection, `resume` before the next. `total` bytes were passed on. `beginning` is the time
    of the first line as it was known before, b"" when it was not."""

    __slots__ = (
        "_beginning",
        "_buffer",
        "_first",
        "_in_line",
        "_known",
        "_line_at",
        "_lines",
        "_pending",
        "_second",
        "_skip",
        "begun",
        "late",
        "noted",
        "total",
    )

    def __init__(self, beginning: bytes = b"") -> None:
        self.total = 0
        self.begun = b""  # the time of the first line
        self.late = False  # the log does not begin as it did
        self.noted = bool(beginning)  # `begun` is kept for later
        self._beginning = beginning
        self._second = ""  # the latest second, as the API writes it without fractions
        self._first = b""  # the timestamp of its first line
        self._lines = 0  # whole lines since then
        self._pending = 0  # bytes of the line behind them that were passed on
        self._buffer = b""  # the beginning of a line, up to its timestamp's end
        self._in_line = False
        self._line_at = b""  # the timestamp of the line that is being read
        self._known = 0  # lines to pass over on this connection
        self._skip = 0  # bytes of the next line to pass over

    @property
    def since(self) -> str:
        """From when to ask; "" from the beginning."""
        return f"{self._second}Z" if self._second else ""

    def resume(self) -> None:
        """A new connection."""
        self._buffer = b""
        self._in_line = False
        self._known = self._lines
        self._skip = self._pending

    def feed(self, data: bytes) -> Iterator[bytes]:
        """More of the log; what of it is to be passed on."""
        while data:
            if not self._in_line:
                begun, data = self._begin(data)
                if begun and self._begins_late():
                    yield self._passed(LATE)
                elif begun and self._gap():
                    yield self._passed(CUT)
                continue
            content, newline, data = data.partition(b"\n")
            content += newline
            if self._known:
                if newline:
                    self._known -= 1
                    self._in_line = False
                continue
            if self._skip:
                cut = min(self._skip, len(content))
                content = content[cut:]
                self._skip -= cut
            if content:
                self._pending += len(content)
                yield self._passed(content)
            if newline:
                self._end()

    def _begin(self, data: bytes) -> tuple[bool, bytes]:
        """Take a line's timestamp off: whether it is all there, and what is left."""
        self._buffer += data
        stamp, space, rest = self._buffer.partition(b" ")
        if space or len(self._buffer) > 64 or b"\n" in self._buffer:
            if not space or not stamp[:4].isdigit() or b"\n" in stamp:
                stamp, rest = b"", self._buffer  # the node's own words, without a time
            self._line_at = stamp
            self._in_line = True
            self._buffer = b""
            return True, rest
        return False, b""

    def _begins_late(self) -> bool:
        """Whether this is the first line, and not that with which the log once began."""
        if self.begun:
            return False
        self.begun = self._line_at or b"-"
        self.late = bool(self._beginning) and self._beginning != self.begun
        return self.late

    def _gap(self) -> bool:
        """Whether this line shows that something in between is missing."""
        if not (self._known or self._skip) or self._known != self._lines or not self._first:
            return False
        if self._line_at == self._first:
            return False
        self._second, self._first, self._lines = "", b"", 0
        self._known = self._skip = self._pending = 0
        return True

    def _passed(self, data: bytes) -> bytes:
        self.total += len(data)
        return data

    def _end(self) -> None:
        """A line is whole."""
        self._in_line = False
        self._pending = 0
        second = self._line_at[:19].decode("ascii", "replace")
        if second > self._second:
            self._second, self._first, self._lines = second, self._line_at, 1
        elif second == self._second:
            self._lines += 1
        # a line with an earlier time does not come again when asked from this second on
