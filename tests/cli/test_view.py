"""The live view: its layout, what it knows beside the job, and how it stays whole on a terminal of any width."""

from __future__ import annotations

import asyncio
import io
import os
import re
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.text import Text

sys.path.insert(0, str(Path(__file__).parent))

from cli_fakes import JOB, FakeVerbs, job_view, task_view

from styx.cli.controls import calm, last_line
from styx.cli.pinned import Pinned
from styx.cli.screen import Screen
from styx.cli.table import Column, table, width_of
from styx.cli.tails import Shot, Spans, Tails
from styx.cli.view import bar, frame
from styx.protocol.http import Created, JobResult, JobView, LogChunk

CREATED = Created(JOB, "j", "RUNNING")


def chunk(data: bytes, index: int | None = None, *, task: str = "count", end: bool = False) -> LogChunk:
    return LogChunk(task, "", index, 1, "stdout", 0, data, end=end)


def drawn(
    job: JobView, width: int = 80, height: int = 40, *, tails: Tails | None = None, over: bool = False
) -> list[str]:
    console = Console(width=width, height=height, file=io.StringIO(), color_system=None)
    shot = Shot(job, 100.0, 4.2, tails or Tails(), Spans(), over)
    with console.capture() as captured:
        console.print(frame(shot, width, height))
    return [line.rstrip() for line in captured.get().splitlines()]


def wide(number: int) -> JobView:
    states = {7: "FAILED", 500: "RUNNING", 501: "BACKOFF"}
    graph = [task_view(f"t{n}", state := states.get(n, "PENDING"), counts={state: 1}) for n in range(number)]
    return job_view("RUNNING", name="wide", single=False, tasks=number, elements=number, counts={}, graph=graph)


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_no_line_is_longer_than_the_terminal(width: int) -> None:
    tails = Tails()
    tails.hear(chunk("漢字".encode() * 100, 3))
    graph = [
        task_view("a-name-that-is-long" * 9, "FAILED", reason="because " * 40, exit_code=3),
        task_view("count", "RUNNING", array=4_000, counts={"RUNNING": 3, "SUCCEEDED": 5, "FAILED": 1}),
        task_view("後で" * 9, "PENDING", needs=["count"] * 50),
    ]
    job = job_view("RUNNING", name="w" * 300, single=False, elements=4_002, counts={"RUNNING": 3}, graph=graph)
    for over in (False, True):
        lines = drawn(job, width, tails=tails, over=over)
        assert max(width_of(line) for line in lines) <= width
        assert any(line.startswith("✗ a-") for line in lines)


def test_of_many_tasks_it_shows_what_moves_and_what_failed() -> None:
    lines = drawn(wide(1_000), height=24)
    assert len(lines) <= 12
    assert [line.split()[1] for line in lines[2:-1]] == ["t7", "t500", "t501"]
    assert lines[-1].strip() == "and 997 more: 997 pending"


def test_failures_do_not_crowd_out_what_runs() -> None:
    graph = [task_view(f"f{n}", "FAILED", ended_at=float(n)) for n in range(50)]
    graph += [task_view(f"r{n}", "RUNNING") for n in range(50)]
    names = [line.split()[1] for line in drawn(job_view("RUNNING", single=False, graph=graph), height=24)[2:-1]]
    assert {name[0] for name in names} == {"f", "r"}
    assert "f49" in names  # the latest failures


def test_the_last_words_of_what_runs_are_shown_and_go_with_it() -> None:
    tails = Tails()
    for index in range(3):
        tails.hear(chunk(f"line {index}\npart".encode(), index))
    tails.hear(chunk(b"ial 2", 2))
    tails.hear(chunk(b"", 0, end=True))
    running = task_view("count", "READY", array=9, counts={"RUNNING": 2, "READY": 7}, started_at=0.0)
    lines = drawn(job_view("RUNNING", single=False, graph=[running]), tails=tails)
    assert lines[2].startswith("▸ count")
    assert lines[2].endswith(".2 partial 2")
    assert lines[3].strip() == ".1 part"
    assert len(lines) == 4


def test_an_array_is_timed_by_what_was_seen() -> None:
    spans = Spans()
    running = task_view("count", "READY", array=9, counts={"RUNNING": 2}, started_at=0.0)
    ended = task_view("count", "SUCCEEDED", array=9, counts={"SUCCEEDED": 9}, started_at=0.0)
    assert spans.of(running, 10.0) is None
    for now, task in ((10.0, running), (12.0, running), (14.0, ended), (16.0, ended)):
        spans.see([task], now)
    assert spans.of(ended, 99.0) == 4.0
    spans.see([running], 20.0)  # it was retried
    assert spans.of(running, 21.0) == 11.0


def test_every_piece_of_a_bar_is_seen_and_none_too_many() -> None:
    text = bar({"SUCCEEDED": 9_998, "FAILED": 1, "RUNNING": 1}, 10_000, 20)
    assert text.cell_len == 20
    assert {str(span.style) for span in text.spans} == {"green", "red", "bright_black"} or len(text.plain) == 20
    assert bar({}, 0, 5).plain == "─────"
    assert bar({"SUCCEEDED": 4}, 4, 5).plain == "━━━━━"


@pytest.mark.parametrize(
    ("data", "coloured", "plain"),
    [
        (b"just text\tand tabs\n", b"just text\tand tabs\n", b"just text\tand tabs\n"),
        (b"\x1b[31mred", b"\x1b[31mred\x1b[0m", b"red"),
        (b"a\x1b[2Jb\x1b[5;5Hc\x1b[?25ld", b"abcd", b"abcd"),
        (b"\x1b]0;a title\x07x\x1b]52;c;bG9v\x1b\\y", b"xy", b"xy"),
        (b"10%\r50%\r100%\nnext\r\n", b"100%\nnext\n", b"100%\nnext\n"),
        (b"bell\x07\x08 nul\x00 \xc2\x9b2J", b"bell nul 2J", b"bell nul 2J"),
        (b"\x1b", b"", b""),
        (b"\xff\xfe\x01", "��".encode(), "��".encode()),
    ],
)
def test_output_cannot_move_the_cursor(data: bytes, coloured: bytes, plain: bytes) -> None:
    assert calm(data, colour=True) == coloured
    assert calm(data, colour=False) == plain


def test_the_last_line_is_found_without_its_end() -> None:
    assert last_line(b"one\n\x1b[1mtwo\x1b[0m\r\n \n") == "two"
    assert last_line(b"10%\r20%") == "20%"
    assert last_line("half a \N{SNOWMAN}".encode()[:-1]) == "half a"
    assert last_line(b"\n\x1b[2K\r\n") == ""


class Terminal(io.StringIO):
    """A terminal of some width that wraps, and that wraps anew when the width changes, for what rich writes."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.whole = [""]  # lines as written; the cursor is in the last physical line of the last one

    encoding = "utf-8"

    def write(self, text: str) -> int:
        plain = re.sub(r"\x1b\[[\d;]*m|\x1b\[\?25[lh]", "", text)
        for part in re.split(r"(\x1b\[\d*[A-Z]|\r|\n)", plain):
            if part == "\n":
                self.whole.append("")
            elif part == "\r" or not part:
                continue
            elif part == "\x1b[2K":
                head = self.rows(self.whole[-1])[:-1]
                self.whole[-1] = "".join(head)
                self.hollow = bool(head)
            elif part == "\x1b[1A":
                if not self.hollow:
                    self.whole.pop()
                self.hollow = False
            else:
                assert not part.startswith("\x1b"), part
                self.whole[-1] += part
                self.hollow = False
        return len(text)

    hollow = False  # the cursor is in an emptied row below what is left of its line

    def rows(self, line: str) -> list[str]:
        return [line[at : at + self.width] for at in range(0, len(line), self.width)] or [""]

    def flush(self) -> None:
        """Nothing is kept back."""

    @property
    def buffer(self) -> Any:
        return self

    def isatty(self) -> bool:
        return True

    @property
    def lines(self) -> list[str]:
        return [line.rstrip() for line in self.whole]


def at_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Called in a test's body: what a fixture sets would be set again by pytest's own capture."""
    screen = Terminal(60)
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.delenv("LINES", raising=False)
    monkeypatch.setattr(os, "get_terminal_size", lambda *_: os.terminal_size((screen.width, 40)))
    monkeypatch.delenv("NO_COLOR", raising=False)
    return screen


def test_the_view_stays_below_the_output(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = at_terminal(monkeypatch)
    verbs = FakeVerbs()
    counts = {"SUCCEEDED": 3, "RUNNING": 1}
    running = job_view(
        "RUNNING", name="w", single=False, tasks=2, elements=5, counts=counts,
        graph=[task_view("split"), task_view("count", "RUNNING", array=4, counts=counts, ended_at=0.0)],
    )  # fmt: skip
    verbs.view = job_view(
        "FAILED", name="w", single=False, exit_code=3, graph=[task_view("split", "FAILED", exit_code=3)]
    )
    result = JobResult(JOB, "w", "FAILED", 3, "program", {"FAILED": 1}, [task_view("split", "FAILED", exit_code=3)])

    async def play() -> list[str]:
        screen = Screen(verbs, CREATED)
        await screen.show(running)
        screen.hear(chunk(b"hello\n", 1))
        screen.write("stdout", b"count.1 | hello\n")
        screen.say("a word")
        await screen.show(running)
        shown = list(terminal.lines)
        await screen.close()
        await screen.show(running)  # a look that comes late
        screen.sum_up(result, 3)
        return shown

    shown = asyncio.run(play())
    assert shown[:2] == ["count.1 | hello", "styx: a word"]
    assert shown[2].startswith("── w ── running ── ")
    assert shown[3].split()[1] == "3/5"
    assert shown[4].startswith("✓ split")
    assert "3/4" in shown[5]
    assert shown[5].endswith(".1 hello")
    assert len(shown) == 6
    assert all(width_of(line) < 60 for line in shown)
    last = terminal.lines
    assert last[:2] == shown[:2]
    assert last[2].startswith("── w ── failed in 2.0s ── exit code 3 ─")
    assert last[4].split() == ["✗", "split", "failed", "1.0s", "exit", "code", "3"]
    assert not [line for line in last if "running" in line]
    assert last[-3:] == ["styx:   split failed: exit code 3", "styx:   its output: styx logs 0000000000aa/split", ""]


def test_what_is_piped_elsewhere_goes_there_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = at_terminal(monkeypatch)

    class Pipe(io.StringIO):
        buffer: Any = None

    pipe = Pipe()
    pipe.buffer = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", pipe)
    screen = Screen(FakeVerbs(), CREATED)
    data = b"\x1b[2Jraw\x00"
    assert screen.clean("stdout", data) == data
    screen.write("stdout", data)
    assert pipe.buffer.getvalue() == data
    assert screen.clean("stderr", data) == b"raw"
    assert terminal.lines == [""]


def test_a_view_that_the_terminal_has_wrapped_is_erased_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = at_terminal(monkeypatch)

    def layout(width: int, _height: int, *, mark: str) -> Text:
        return Text("\n".join(mark * width for _ in range(3)))

    pinned = Pinned(sys.stderr)
    pinned.above("kept\n")
    pinned.draw(partial(layout, mark="a"))
    for width in (25, 17, 60):
        terminal.width = width
        pinned.draw(partial(layout, mark="b"))
        assert terminal.lines == ["kept", *["b" * (width - 1)] * 3]
    terminal.width = 20
    pinned.above("more\n")
    pinned.close()
    assert terminal.lines == ["kept", "more", *["b" * 19] * 3, ""]


def test_a_table_on_a_terminal_folds_what_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    at_terminal(monkeypatch)
    columns = [Column("JOB"), Column("STATUS"), Column("REASON", folds=True)]
    text = table(columns, [["0123456789ab", "FAILED", "because " * 12], ["0123456789ac", "SUCCEEDED", ""]])
    assert "\x1b[31mFAILED" in text
    lines = re.sub(r"\x1b\[[\d;]*m", "", text).splitlines()
    assert max(width_of(line) for line in lines) <= 60
    assert sum(line.count("because") for line in lines) == 12
    assert lines[2].startswith("0123456789ab")


def test_a_table_in_a_pipe_is_whole_and_without_rich(capfd: pytest.CaptureFixture[str]) -> None:
    text = table([Column("A"), Column("B")], [["x" * 500, "FAILED"]])
    assert text.splitlines() == ["A".ljust(500) + "  B", "x" * 500 + "  FAILED"]
