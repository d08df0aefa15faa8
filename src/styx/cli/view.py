"""A job as people watch it: how far it is, what moves, what failed, and what running programs said last.

    ── census ── running ── 4.2s ─────────────────────────────────────
    ━━━━━━━━━━━━━━━━━━━━━━━━╍╍╍╍╍╍─────────   6/11   3 running, 2 pending, 6 succeeded
    ✓ split   succeeded                    0.3s
    ▸ count   ━━━━━━━━━━━━━╍╍╍╍╍── 5/8     3.9s   .6 part.6: 91 files
    · merge   pending                             needs count

Only layout: no clock, no terminal. All tasks are shown when they fit, else those that move and those that failed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from rich.console import Group
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from styx.cli.show import ORDER, counts_text
from styx.cli.tails import ENDED, state_of
from styx.cli.words import STATE_STYLES, took, visible

if TYPE_CHECKING:
    from rich.console import RenderableType

    from styx.cli.tails import Shot
    from styx.protocol.http import JobView, TaskView

__all__ = ["bar", "frame"]

FINAL = 30  # tasks at most that the last frame shows
NARROW = 50  # cells; below, names and states are all there is room for
SPEAKING = 3  # programs of one array whose words are shown
QUIET = "bright_black"
_MOVING = frozenset({"RUNNING", "CANCELLING", "BACKOFF", "ASSIGNED"})
_MARKS = {
    "SUCCEEDED": "✓", "FAILED": "✗", "RUNNING": "▸", "ASSIGNED": "▸", "CANCELLING": "▸", "CANCELLED": "■", "SKIPPED": "-",
    "BACKOFF": "↻",
}  # fmt: skip
_PIECES = (("SUCCEEDED", "━"), ("FAILED", "━"), ("CANCELLED", "━"), ("SKIPPED", "╌"), ("RUNNING", "╍"))


def frame(shot: Shot, width: int, height: int) -> RenderableType:
    """At most half the height of the terminal, or whatever the last frame needs."""
    job = shot.job
    room = FINAL if shot.over else max(3, height // 2 - 2)
    shown, hidden = _chosen(shot, room)
    parts: list[RenderableType] = [_title(shot), _whole(job, width)]
    parts.append(_rows(shot, shown, width, room - len(shown) - bool(hidden)))
    if hidden:
        parts.append(
            Text(f"  and {len(hidden):,} more: {_tally(hidden)}", style=QUIET, no_wrap=True, overflow="ellipsis")
        )
    return Group(*parts)


def bar(counts: Mapping[str, int], total: int, width: int) -> Text:
    """What has ended, what failed and what runs, of `total`; a piece that is there at all is seen."""
    text, left = Text(), width
    for state, piece in _PIECES:
        number = counts.get(state, 0)
        cells = min(left, max(1, width * number // max(1, total))) if number else 0
        text.append(piece * cells, STATE_STYLES[state])
        left -= cells
    return text.append("─" * left, QUIET)


def _title(shot: Shot) -> Rule:
    job = shot.job
    title = Text().append(visible(job.name), "bold")
    title.append(" ── ", QUIET).append(job.status.lower(), STATE_STYLES.get(job.status, ""))
    title.append(" in " if shot.over else " ── ", QUIET).append(took(shot.elapsed), "" if shot.over else QUIET)
    if shot.over and job.exit_code:
        title.append(" ── ", QUIET).append(f"exit code {job.exit_code}", "red")
    return Rule(Text("── ", QUIET).append_text(title), characters="─", style=QUIET, align="left")


def _whole(job: JobView, width: int) -> Text:
    ended = sum(job.counts.get(state, 0) for state in ENDED)
    text = bar(job.counts, job.elements, max(6, min(40, width // 3)))
    text.append(f" {ended:,}/{job.elements:,}", "bold")
    for state in ORDER:
        if number := job.counts.get(state):
            text.append(f"  {number:,} {state.lower()}", STATE_STYLES.get(state, ""))
    text.no_wrap, text.overflow = True, "ellipsis"
    return text


def _rows(shot: Shot, tasks: list[TaskView], width: int, spare: int) -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0), expand=True)
    grid.add_column(no_wrap=True, overflow="ellipsis", min_width=8, max_width=max(8, width // 4))
    grid.add_column(no_wrap=True, overflow="ellipsis", ratio=None if width >= NARROW else 1)
    if width >= NARROW:
        grid.add_column(no_wrap=True, justify="right", min_width=5)
        grid.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    states = {task.name: task.status for task in shot.job.graph}
    for task in tasks:
        cells, words = _row(task, width), _words(shot, task)
        if width >= NARROW:
            span = shot.spans.of(task, shot.now)
            cells += [Text("" if span is None else took(span), QUIET), words[0] if words else _detail(task, states)]
        grid.add_row(*cells)
        more = words[1 : 1 + max(0, spare)] if width >= NARROW else []
        spare -= len(more)
        for line in more:
            grid.add_row("", "", "", line)
    return grid


def _row(task: TaskView, width: int) -> list[Text]:
    state = state_of(task)
    style = STATE_STYLES.get(state, "")
    name = Text(f"{_MARKS.get(state, '·')} {visible(task.name)}", style)
    return [name, _progress(task, width) if task.array else Text(state.lower(), style)]


def _progress(task: TaskView, width: int) -> Text:
    ended = sum(task.counts.get(state, 0) for state in ENDED)
    text = bar(task.counts, task.array, max(6, min(20, width // 5)))
    text.append(f" {ended:,}/{task.array:,}")
    for state in ("FAILED", "CANCELLED", "SKIPPED"):
        if number := task.counts.get(state):
            text.append(f" {number:,} {state.lower()}", STATE_STYLES[state])
    return text


def _words(shot: Shot, task: TaskView) -> list[Text]:
    if shot.over or state_of(task) not in _MOVING:
        return []
    return [
        Text(line if index is None else f".{index} {line}", "dim")
        for index, line in shot.tails.of(task.name)[:SPEAKING]
    ]


def _detail(task: TaskView, states: Mapping[str, str]) -> Text:
    if task.status == "PENDING":
        waits = [name for name in task.needs if states.get(name) not in ENDED]
        return Text(f"needs {visible(', '.join(waits))}" if waits else "", QUIET)
    if task.status == "FAILED":
        code = "" if task.exit_code is None or task.array else f"exit code {task.exit_code}"
        return Text(", ".join(part for part in (code, visible(task.reason)) if part), "red")
    return Text(visible(task.reason), QUIET)


def _chosen(shot: Shot, room: int) -> tuple[list[TaskView], list[TaskView]]:
    """The tasks to show, in the order of the graph, and the others."""
    graph = shot.job.graph
    if len(graph) <= room:
        return graph, []
    room -= 1
    failed = sorted((task for task in graph if task.counts.get("FAILED")), key=lambda task: -task.ended_at)
    if shot.over:  # nothing moves any more: what took longest
        spans = {task.name: shot.spans.of(task, shot.now) or 0.0 for task in graph}
        slow = sorted((task for task in graph if spans[task.name] > 0), key=lambda task: -spans[task.name])
        other = slow[: room // 3]
    else:
        other = [task for task in graph if state_of(task) in _MOVING]
    taken = failed[: max(room // 2, room - len(other))]
    chosen = {task.name for task in taken}
    chosen.update(task.name for task in other[: room - len(taken)])
    return [task for task in graph if task.name in chosen], [task for task in graph if task.name not in chosen]


def _tally(tasks: Iterable[TaskView]) -> str:
    return counts_text(Counter(task.status for task in tasks))
