"""Secrets are struck out of what a program writes, before it goes anywhere, however the writes cut them.

What is shown is the stream in which each run of bytes that belong to values, overlapping or touching, has become `***`. So all
offsets from here on are those of the masked stream. To see a value that comes in pieces, bytes at the end that may be the beginning
of one are held back: at most one byte less than the longest value has. They are shown at the end, and after a short pause, so that
a prompt is not kept from its reader for ever; if the rest of a value comes after that, the rest is struck out.

This guards against accidents (a program that prints its environment), not against a program that wants to tell: it may write
its secrets backwards. Values of fewer than SHORTEST bytes are not looked for; they would be found in innocent words.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["MASK", "SHORTEST", "Masker", "masked", "worth_masking"]

MASK = b"***"
SHORTEST = 6  # characters

_Span = tuple[int, int]


def worth_masking(values: Iterable[str]) -> tuple[bytes, ...]:
    """The bytes of those values that are long enough to be looked for."""
    return tuple(sorted({value.encode("utf-8", "surrogateescape") for value in values if len(value) >= SHORTEST}))


def masked(data: bytes, values: tuple[bytes, ...]) -> bytes:
    """All of `data` at once."""
    masker = Masker(values)
    return masker.feed(data) + masker.flush()


class Masker:
    """One stream. `values` are from `worth_masking`."""

    __slots__ = ("_covered", "_inside", "_longest", "_shown", "_tail", "_values")

    def __init__(self, values: tuple[bytes, ...]) -> None:
        self._values = values
        self._longest = max(map(len, values), default=1)
        self._tail = b""  # the end of what came: it may be the beginning of a value
        self._shown = 0  # so many bytes of the tail have been shown
        self._covered = 0  # so many bytes of the tail belong to a value that began before it
        self._inside = False  # the last byte that was shown belongs to a run whose mask is out

    @property
    def holds(self) -> bool:
        """Whether `flush` would show something."""
        return len(self._tail) > self._shown

    def feed(self, data: bytes) -> bytes:
        """More of the stream; returns what of it can be shown."""
        buffer = self._tail + data
        spans = self._spans(buffer)
        keep = self._kept_from(buffer)
        out = self._render(buffer, spans, keep)
        self._tail = buffer[keep:]
        self._shown = max(0, self._shown - keep)
        self._covered = max((end for start, end in spans if start < keep), default=keep) - keep
        return out

    def flush(self) -> bytes:
        """Show what is held, as it is: nothing more comes, or not soon."""
        tail = self._tail
        out = self._render(tail, self._spans(tail), len(tail))
        self._shown = max(self._shown, len(tail))
        return out

    def _spans(self, buffer: bytes) -> list[_Span]:
        """Runs of bytes that belong to values, joined where they overlap or touch."""
        found: list[_Span] = [(-1, self._covered)] if self._covered > 0 else []  # it began before
        for value in self._values:
            at = buffer.find(value)
            while at >= 0:
                found.append((at, at + len(value)))
                at = buffer.find(value, at + 1)
        if len(found) < 2:
            return found
        found.sort()
        runs = [found[0]]
        for start, end in found[1:]:
            if start <= runs[-1][1]:
                runs[-1] = (runs[-1][0], max(runs[-1][1], end))
            else:
                runs.append((start, end))
        return runs

    def _kept_from(self, buffer: bytes) -> int:
        """Where the longest end of the buffer begins that is a beginning of a value, and not all of it."""
        first = len(buffer)
        for value in self._values:
            at = buffer.find(value[:1], max(0, len(buffer) - len(value) + 1), first)
            while 0 <= at < first:
                if value.startswith(buffer[at:]):
                    first = at
                    break
                at = buffer.find(value[:1], at + 1, first)
        return first

    def _render(self, buffer: bytes, spans: list[_Span], upto: int) -> bytes:
        at = self._shown
        if at >= upto:
            return b""
        parts: list[bytes] = []
        for start, end in spans:
            if start >= upto:
                break
            if end <= at:
                continue
            if start > at:
                parts.append(buffer[at:start])
                self._inside = False
            if not self._inside:
                parts.append(MASK)
                self._inside = True
            at = min(end, upto)
        if at < upto:
            parts.append(buffer[at:upto])
            self._inside = False
        return b"".join(parts)
