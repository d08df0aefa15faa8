"""Passing on what programs write: stdout to stdout, stderr to stderr, byte for byte for one program, and line by line under
the name of its task for several.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from styx.protocol.http import LogChunk

__all__ = ["Sink", "follow"]

_STYLES = (
    "cyan", "yellow", "magenta", "green", "blue", "bright_cyan", "bright_yellow", "bright_magenta", "bright_green", "bright_blue",
)  # fmt: skip
MAX_LINE = 64 << 10  # bytes; a longer line is passed on in pieces

Show = Callable[[str, bytes], None]
Clean = Callable[[str, bytes], bytes]
Hear = Callable[["LogChunk"], None]


class Sink:
    """Where output goes. With `prefix`, whole lines with the name of their task before them; `show` gets the bytes for one
    stream ("stdout" or "stderr") and may block, so it is called in a thread. `hear` is told of each piece as it comes, and
    `clean` may change lines before they get their prefix."""

    def __init__(
        self,
        *,
        prefix: bool,
        show: Show | None = None,
        colour: bool = False,
        hear: Hear | None = None,
        clean: Clean | None = None,
    ) -> None:
        self._prefix = prefix
        self._show = show or _write
        self._colour = colour
        self._hear = hear
        self._clean = clean
        self._pending: dict[tuple[str, int | None, int, str], bytearray] = {}
        self._heads: dict[str, bytes] = {}

    async def take(self, chunk: LogChunk) -> None:
        if self._hear is not None:
            self._hear(chunk)
        if chunk.gap:
            await self._put(chunk.stream, self._gap(chunk))
        data = self._lines(chunk) if self._prefix else chunk.data
        if data:
            await self._put(chunk.stream, data)

    async def close(self) -> None:
        """Pass on lines that never got their end."""
        for (task, index, _, stream), rest in self._pending.items():
            if rest:
                await self._put(stream, self._under(self._head(task, index), stream, bytes(rest)))
        self._pending.clear()

    async def _put(self, stream: str, data: bytes) -> None:
        # The reader of our output may be slow, and an embedded plane lives in this loop.
        await asyncio.to_thread(self._show, stream, data)

    def _gap(self, chunk: LogChunk) -> bytes:
        return f"[{chunk.gap:,} bytes of {chunk.task} are missing here]\n".encode()

    def _lines(self, chunk: LogChunk) -> bytes:
        key = (chunk.task, chunk.index, chunk.attempt, chunk.stream)
        pending = self._pending.setdefault(key, bytearray())
        pending += chunk.data
        head = self._head(chunk.task, chunk.index)
        whole = pending.rfind(b"\n") + 1
        if not whole and len(pending) > MAX_LINE:
            whole = len(pending)
        if chunk.end:
            whole = len(pending)
        if not whole:
            return b""
        taken = bytes(pending[:whole])
        del pending[:whole]
        if chunk.end:
            del self._pending[key]
        return self._under(head, chunk.stream, taken[:-1] if taken.endswith(b"\n") else taken)

    def _under(self, head: bytes, stream: str, text: bytes) -> bytes:
        if self._clean is not None:
            text = self._clean(stream, text)
        return head + text.replace(b"\n", b"\n" + head) + b"\n"

    def _head(self, task: str, index: int | None) -> bytes:
        name = task if index is None else f"{task}.{index}"
        head = self._heads.get(name)
        if head is None:
            from styx.cli.words import paint

            # Equal for the elements of an array, different for tasks, and the same each time.
            style = _STYLES[sum(task.encode()) % len(_STYLES)]
            head = self._heads[name] = paint(f"{name} |", style, self._colour).encode() + b" "
        return head


async def follow(chunks: AsyncIterator[LogChunk], sink: Sink) -> None:
    """Pass on everything until the stream ends."""
    try:
        async for chunk in chunks:
            await sink.take(chunk)
    finally:
        await sink.close()


def _write(stream: str, data: bytes) -> None:
    out: BinaryIO = (sys.stderr if stream == "stderr" else sys.stdout).buffer
    out.write(data)
    out.flush()
