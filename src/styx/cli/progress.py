"""What `styx run` shows beside the output: nothing, lines, or (in `screen`) a view that stays at the bottom of the terminal.

They look at the job again and again and show what has changed, instead of following events: a state that was passed in
between is of no interest, and nothing can be missed. How often depends on what a look costs.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING

from styx.cli.emit import note
from styx.cli.tails import ENDED, Spans
from styx.cli.words import took, visible

if TYPE_CHECKING:
    from styx.protocol.http import Created, JobResult, JobView, LogChunk, TaskView
    from styx.protocol.verbs import Verbs

__all__ = ["Lines", "Progress", "Quiet"]

SLOWEST = 3.0  # seconds between two looks
SILENCE = 3.0  # seconds without an answer after which people are told
FIRST_WORD = 2.0  # seconds without a start after which the reason is told
MANY = 50  # tasks above which lines are about the whole


class Progress:
    """`run` goes on until cancelled; `write` passes on output and may be called from a thread, as may `say`."""

    interval = 0.25

    def __init__(self, verbs: Verbs, created: Created, *, to_stderr: bool = False) -> None:
        self._verbs = verbs
        self._created = created
        self._to_stderr = to_stderr
        self._began = time.monotonic()
        self._spans = Spans()

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self._began

    def hear(self, chunk: LogChunk) -> None:
        """Output is about to be passed on."""

    def clean(self, stream: str, data: bytes) -> bytes:
        """Lines of output as they may be shown."""
        return data

    def write(self, stream: str, data: bytes) -> None:
        out = sys.stderr if self._onto_stderr(stream) else sys.stdout
        out.buffer.write(data)
        out.flush()

    def _onto_stderr(self, stream: str) -> bool:
        return stream == "stderr" or self._to_stderr

    def say(self, text: str) -> None:
        """A line for people beside the output."""
        note(text)

    async def run(self) -> None:
        from styx.errors import StyxError

        told = False
        while True:
            began = time.monotonic()
            try:
                job = await self._look()
                self._spans.see(job.graph, time.time())
                await self.show(job)
                if not told and self.elapsed > FIRST_WORD:
                    told = await self._explain(job)
            except StyxError as error:
                # The output and the end are followed elsewhere, and tell of a server that is gone for good.
                if error.code not in {"unreachable", "busy"}:
                    await asyncio.to_thread(self.say, error.message)
                    return
            await asyncio.sleep(min(SLOWEST, max(self.interval, 10 * (time.monotonic() - began))))

    async def _look(self) -> JobView:
        """The job; a server that is away is waited for, and people are told so."""
        asked = asyncio.ensure_future(self._verbs.job(self._created.job_id))
        try:
            await asyncio.wait({asked}, timeout=SILENCE)
            if asked.done():
                return asked.result()
            await asyncio.to_thread(self.say, "the server does not answer; waiting for it, the job is safe there")
            job = await asked
        finally:
            asked.cancel()
        await asyncio.to_thread(self.say, "the server answers again")
        return job

    async def show(self, job: JobView) -> None:
        """The job as it is now."""

    async def close(self) -> None:
        """No more is shown. The last states, which the job reached since it was looked at, are."""

    def sum_up(self, result: JobResult, code: int) -> None:
        """How the job ended; `code` is what the command exits with."""

    async def _last_look(self) -> JobView | None:
        from styx.errors import StyxError

        try:
            job = await self._verbs.job(self._created.job_id)
        except StyxError:
            return None
        self._spans.see(job.graph, time.time())
        return job

    async def _explain(self, job: JobView) -> bool:
        """Say once why nothing has started yet."""
        if any(job.counts.get(state) for state in ("RUNNING", "SUCCEEDED", "FAILED", "CANCELLED", "CANCELLING")):
            return True
        found = await self._verbs.why(self._created.task_id or self._created.job_id)
        await asyncio.to_thread(self.say, f"waiting: {visible(found.reason)}")
        return True


class Quiet(Progress):
    """For one program: its output is all there is to see."""

    interval = 1.0

    def sum_up(self, result: JobResult, code: int) -> None:
        reason = result.reason or (result.failed[0].reason if result.failed else "")
        if code and (reason or result.by == "styx"):
            note(f"{visible(result.name)}: {visible(reason or result.status.lower())}")


class Lines(Progress):
    """A line on stderr for each change of a task, or of the whole when there are many."""

    def __init__(self, verbs: Verbs, created: Created, *, to_stderr: bool = False) -> None:
        super().__init__(verbs, created, to_stderr=to_stderr)
        self._seen: dict[str, str] = {}
        self._last = 0.0

    async def show(self, job: JobView) -> None:
        if job.tasks > MANY:
            self._whole(job)
            return
        for task in job.graph:
            if self._seen.get(task.name) != task.status and task.status not in {"PENDING", "READY", "ASSIGNED"}:
                note(f"{visible(task.name)}: {self._state(task)}")
            self._seen[task.name] = task.status

    async def close(self) -> None:
        job = await self._last_look()
        if job is not None and job.tasks <= MANY:
            await self.show(job)

    def sum_up(self, result: JobResult, code: int) -> None:
        from styx.cli.summary import summary

        for line in summary(result, self.elapsed, code):
            note(line)

    def _whole(self, job: JobView) -> None:
        from styx.cli.show import counts_text

        text = counts_text(job.counts)
        if text != self._seen.get("") and time.monotonic() - self._last > 2:
            self._seen[""] = text
            self._last = time.monotonic()
            note(text)

    def _state(self, task: TaskView) -> str:
        text = task.status.lower()
        if task.array:
            ended = sum(task.counts.get(state, 0) for state in ENDED)
            text += f" ({ended:,} of {task.array:,} ended)" if ended < task.array else f" ({task.array:,} elements)"
        elif task.status == "FAILED" and task.exit_code is not None:
            text += f", exit code {task.exit_code}"
        span = self._spans.of(task, time.time()) if task.status in ENDED else None
        return text if span is None else f"{text} after {took(span)}"
