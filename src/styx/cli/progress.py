"""What `styx run` shows beside the output: nothing, lines, or a view that stays at the bottom of the terminal.

They look at the job again and again and show what has changed, instead of following events: a state that was passed in
between is of no interest, and nothing can be missed. How often depends on what a look costs.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from styx.cli.emit import note
from styx.cli.table import width_of
from styx.cli.words import STATE_COLOURS, paint, took, visible

if TYPE_CHECKING:
    from styx.protocol.http import Created, JobView, TaskView
    from styx.protocol.verbs import Verbs

__all__ = ["Lines", "Progress", "Quiet", "Screen"]

FIRST_WORD = 2.0  # seconds without a start after which the reason is told
MANY = 50  # tasks above which lines are about the whole
BAR = 24
_BAD = ("FAILED", "CANCELLED", "SKIPPED")


class Progress:
    """`run` goes on until cancelled; `write` passes on output and may be called from a thread."""

    interval = 0.25

    def __init__(self, verbs: Verbs, created: Created, *, to_stderr: bool = False) -> None:
        self._verbs = verbs
        self._created = created
        self._to_stderr = to_stderr
        self._began = time.monotonic()

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self._began

    def write(self, stream: str, data: bytes) -> None:
        out = sys.stderr if stream == "stderr" or self._to_stderr else sys.stdout
        out.buffer.write(data)
        out.flush()

    def say(self, text: str) -> None:
        """A line for people beside the output; may be called from a thread."""
        note(text)

    async def run(self) -> None:
        from styx.errors import StyxError

        told = False
        while True:
            began = time.monotonic()
            try:
                job = await self._verbs.job(self._created.job_id)
                await self.show(job)
                if not told and self.elapsed > FIRST_WORD:
                    told = await self._explain(job)
            except StyxError as error:
                # The output and the end are followed elsewhere, and tell of a server that is gone.
                if error.code not in {"unreachable", "busy"}:
                    self.say(error.message)
                    return
            await asyncio.sleep(max(self.interval, 10 * (time.monotonic() - began)))

    async def show(self, job: JobView) -> None:
        """The job as it is now."""

    async def close(self) -> None:
        """No more is shown."""

    async def _explain(self, job: JobView) -> bool:
        """Say once why nothing has started yet."""
        if any(job.counts.get(state) for state in ("RUNNING", "SUCCEEDED", "FAILED", "CANCELLED", "CANCELLING")):
            return True
        found = await self._verbs.why(self._created.task_id or self._created.job_id)
        self.say(f"waiting: {visible(found.reason)}")
        return True


class Quiet(Progress):
    """For one program: its output is all there is to see."""

    interval = 1.0


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
                note(f"{visible(task.name)}: {_state(task)}")
            self._seen[task.name] = task.status

    def _whole(self, job: JobView) -> None:
        from styx.cli.show import counts_text

        text = counts_text(job.counts)
        if text != self._seen.get("") and time.monotonic() - self._last > 2:
            self._seen[""] = text
            self._last = time.monotonic()
            note(text)

    async def close(self) -> None:
        """The last states, which the job reached since it was looked at."""
        from styx.errors import StyxError

        try:
            job = await self._verbs.job(self._created.job_id)
        except StyxError:
            return
        if job.tasks <= MANY:
            await self.show(job)


class Screen(Progress):
    """A view at the bottom of the terminal; output scrolls above it."""

    def __init__(self, verbs: Verbs, created: Created, *, to_stderr: bool = False) -> None:
        super().__init__(verbs, created, to_stderr=to_stderr)
        self._lock = threading.Lock()
        self._drawn = 0
        self._lines: list[str] = []
        self._last_output: dict[str, str] = {}

    def write(self, stream: str, data: bytes) -> None:
        with self._lock:
            self._erase()
            super().write(stream, data)
            self._note_last(data)
            self._draw()

    def say(self, text: str) -> None:
        with self._lock:
            self._erase()
            super().say(text)
            self._draw()

    async def show(self, job: JobView) -> None:
        width, height = shutil.get_terminal_size()
        lines = list(self._view(job, width - 1, max(4, height // 2)))
        await asyncio.to_thread(self._redraw, lines)

    async def close(self) -> None:
        """The view stays on the terminal as the job ended."""
        from styx.errors import StyxError

        try:
            await self.show(await self._verbs.job(self._created.job_id))
        except StyxError:
            return
        with self._lock:
            self._drawn = 0
            self._lines = []

    def _redraw(self, lines: list[str]) -> None:
        with self._lock:
            self._erase()
            self._lines = lines
            self._draw()

    def _erase(self) -> None:
        if self._drawn:
            sys.stderr.write(f"\x1b[{self._drawn}A\r\x1b[J")
            sys.stderr.flush()
            self._drawn = 0

    def _draw(self) -> None:
        if self._lines:
            sys.stderr.write("\n".join(self._lines) + "\n")
            sys.stderr.flush()
            self._drawn = len(self._lines)

    def _note_last(self, data: bytes) -> None:
        """The last line of each task, for the view. Lines come as `NAME | text`."""
        for line in data[-4_096:].splitlines()[-20:]:
            head, bar, text = line.decode(errors="replace").partition(" |")
            if bar:
                name = head.rpartition("m")[2] if head.startswith("\x1b") else head
                self._last_output[name.partition(".")[0]] = visible(text.removeprefix("\x1b[0m").strip())

    def _view(self, job: JobView, width: int, height: int) -> Iterator[str]:
        yield paint("─" * width, "90", True)
        yield _cut(
            [(visible(job.name), "1"), (f"  {took(self.elapsed)}  ", "90"), *_counts(job)],
            width,
        )
        names = max((width_of(task.name) for task in job.graph), default=0)
        rows = sorted(job.graph, key=_interest)[: height - 2]
        chosen = {task.task_id for task in rows}
        for task in job.graph:
            if task.task_id in chosen:
                yield _cut(self._row(task, min(names, width // 3)), width)
        if len(job.graph) > len(rows):
            yield paint(f"  and {len(job.graph) - len(rows):,} more tasks", "90", True)

    def _row(self, task: TaskView, names: int) -> list[tuple[str, str]]:
        name = visible(task.name)[:names]
        parts = [(f"  {_mark(task)} {name}{' ' * (names - width_of(name))}  ", STATE_COLOURS.get(task.status, ""))]
        if task.array:
            parts += _bar(task)
        else:
            parts.append((f"{task.status.lower():<10}", STATE_COLOURS.get(task.status, "")))
        if task.started_at:
            ended = task.ended_at or time.time()
            parts.append((f" {took(ended - task.started_at):>6}", "90"))
        if task.status == "RUNNING" and (last := self._last_output.get(task.name)):
            parts.append((f"  {last}", "2"))
        return parts


def _mark(task: TaskView) -> str:
    return {"SUCCEEDED": "✓", "FAILED": "✗", "RUNNING": "▶", "ASSIGNED": "▶", "CANCELLED": "■", "SKIPPED": "-"}.get(
        task.status, "·"
    )


def _interest(task: TaskView) -> int:
    """Failures and what runs come first when not all fit."""
    order = ("FAILED", "RUNNING", "CANCELLING", "BACKOFF", "ASSIGNED", "READY", "PENDING", "CANCELLED", "SUCCEEDED")
    return order.index(task.status) if task.status in order else len(order)


def _bar(task: TaskView) -> list[tuple[str, str]]:
    good = task.counts.get("SUCCEEDED", 0)
    bad = sum(task.counts.get(state, 0) for state in _BAD)
    running = task.counts.get("RUNNING", 0)
    filled = BAR * (good + bad) // task.array
    wrong = min(filled, -(-BAR * bad // task.array)) if bad else 0
    active = min(BAR - filled, max(1, BAR * running // task.array)) if running else 0
    return [
        ("█" * (filled - wrong), "32"),
        ("█" * wrong, "31"),
        ("▒" * active, "36"),
        ("░" * (BAR - filled - active), "90"),
        (f" {good + bad:,}/{task.array:,}", ""),
        *(
            (f", {task.counts[state]:,} {state.lower()}", STATE_COLOURS[state])
            for state in _BAD
            if task.counts.get(state)
        ),
    ]


def _counts(job: JobView) -> Iterator[tuple[str, str]]:
    for state in ("RUNNING", "READY", "BACKOFF", "PENDING", "SUCCEEDED", "FAILED", "CANCELLED", "SKIPPED"):
        if number := job.counts.get(state):
            yield f"{number:,} {state.lower()}  ", STATE_COLOURS.get(state, "")


def _state(task: TaskView) -> str:
    text = task.status.lower()
    if task.array:
        ended = sum(task.counts.get(state, 0) for state in ("SUCCEEDED", "FAILED", "CANCELLED", "SKIPPED"))
        text += f" ({ended:,} of {task.array:,} ended)" if ended < task.array else f" ({task.array:,} elements)"
    elif task.status == "FAILED" and task.exit_code is not None:
        text += f", exit code {task.exit_code}"
    if task.ended_at and task.started_at:
        text += f" after {took(task.ended_at - task.started_at)}"
    return text


def _cut(parts: list[tuple[str, str]], width: int) -> str:
    """Painted parts in one line that does not wrap."""
    line, left = "", width
    for text, colour in parts:
        kept = text
        while width_of(kept) > left:
            kept = kept[:-1]
        line += paint(kept, colour, True)
        left -= width_of(kept)
        if kept != text:
            break
    return line
