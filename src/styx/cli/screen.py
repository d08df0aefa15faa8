"""The live view of `styx run` in a terminal: the job at the bottom, output scrolling above it, and at the end a summary."""

from __future__ import annotations

import asyncio
import sys
import time
from functools import partial
from typing import TYPE_CHECKING

from styx.cli.controls import calm
from styx.cli.pinned import Pinned
from styx.cli.progress import Progress
from styx.cli.summary import failures
from styx.cli.tails import Shot, Tails
from styx.cli.view import frame
from styx.cli.words import colourful

if TYPE_CHECKING:
    from styx.protocol.http import Created, JobResult, JobView, LogChunk
    from styx.protocol.verbs import Verbs

__all__ = ["Screen"]


class Screen(Progress):
    """Output that goes to the same terminal is written above the view, calmed; what is piped elsewhere goes there as it is."""

    def __init__(self, verbs: Verbs, created: Created, *, to_stderr: bool = False) -> None:
        super().__init__(verbs, created, to_stderr=to_stderr)
        self._tails = Tails()
        self._pinned = Pinned(sys.stderr)

    def hear(self, chunk: LogChunk) -> None:
        self._tails.hear(chunk)

    def clean(self, stream: str, data: bytes) -> bytes:
        return calm(data, colour=colourful(sys.stderr)) if self._here(stream) else data

    def write(self, stream: str, data: bytes) -> None:
        if self._here(stream):
            self._pinned.above(data.decode(errors="replace"))
        else:
            super().write(stream, data)

    def _here(self, stream: str) -> bool:
        return self._onto_stderr(stream) or sys.stdout.isatty()

    def say(self, text: str) -> None:
        self._pinned.above(f"styx: {text}\n")

    async def show(self, job: JobView) -> None:
        await asyncio.to_thread(self._pinned.draw, partial(frame, self._shot(job)))

    async def close(self) -> None:
        job = await self._last_look()
        layout = None if job is None else partial(frame, self._shot(job, over=bool(job.ended_at)))
        await asyncio.to_thread(self._pinned.close, layout)

    def sum_up(self, result: JobResult, code: int) -> None:
        """The last frame has told the rest."""
        for line in failures(result):
            self.say(line)

    def _shot(self, job: JobView, *, over: bool = False) -> Shot:
        elapsed = job.ended_at - job.submitted_at if over else self.elapsed
        return Shot(job, time.time(), elapsed, self._tails, self._spans, over)
