"""Text for people: columns, spans, prefixes; and where an embedded job is found."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from cli_fakes import JOB, FakeVerbs, job_view, task_view

from styx.cli.follow import Sink
from styx.cli.places import embedded_jobs, left_behind
from styx.cli.progress import Lines
from styx.cli.table import Column, table, width_of
from styx.cli.words import short, size, took, visible
from styx.core import ids
from styx.errors import AmbiguousId, NotFound, Unreachable
from styx.protocol.http import Created, LogChunk

CREATED = Created(JOB, "j", "RUNNING")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0.0s"), (0.34, "0.3s"), (9.96, "10s"), (59.6, "1m00s"), (61, "1m01s"), (3_660, "1h01m"), (180_000, "2d2h")],
)
def test_spans_have_at_most_two_units(seconds: float, text: str) -> None:
    assert took(seconds) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0B"), (999, "999B"), (1_500, "1.5KB"), (512_000_000, "512MB"), (25.3e9, "25.3GB"), (10**15, "1PB")],
)
def test_sizes_are_decimal(number: float, text: str) -> None:
    assert size(number) == text


def test_ids_are_cut_to_what_differs() -> None:
    assert short("01890000-0000-7000-8000-0000000000aa.12") == "0000000000aa.12"


def test_text_cannot_play_tricks_on_a_terminal() -> None:
    assert visible("a\x1b[31mb\n") == "a\\x1b[31mb\\n"
    assert "\x1b" not in table([Column("A")], [["\x1b[2J"]])


def test_columns_line_up_for_wide_characters_too() -> None:
    lines = table([Column("NAME"), Column("N", right=True)], [["漢字", "1"], ["ab", "22"]]).splitlines()
    assert len({width_of(line) for line in lines}) == 1


def test_lines_come_whole_under_the_names_of_their_tasks() -> None:
    shown: list[tuple[str, bytes]] = []

    def chunk(data: bytes, index: int, *, end: bool = False, stream: str = "stdout") -> LogChunk:
        return LogChunk("count", "", index, 1, stream, 0, data, end=end)

    async def play() -> None:
        sink = Sink(prefix=True, show=lambda stream, data: shown.append((stream, data)))
        for piece in (
            chunk(b"a", 0),
            chunk(b"b\n", 1),
            chunk(b"\nc\nd", 0),
            chunk(b"", 0, end=True),
            chunk(b"e", 1, stream="stderr"),
        ):
            await sink.take(piece)
        await sink.close()

    asyncio.run(play())
    assert shown == [
        ("stdout", b"count.1 | b\n"),
        ("stdout", b"count.0 | a\ncount.0 | c\n"),
        ("stdout", b"count.0 | d\n"),
        ("stderr", b"count.1 | e\n"),
    ]


def test_lines_of_progress_tell_each_change_once(capfd: pytest.CaptureFixture[str]) -> None:
    async def play() -> None:
        lines = Lines(FakeVerbs(), CREATED)
        for status in ("PENDING", "RUNNING", "RUNNING", "FAILED"):
            await lines.show(job_view("RUNNING", graph=[task_view("a", status, exit_code=3)]))

    asyncio.run(play())
    assert capfd.readouterr().err.splitlines() == [
        "styx: a: running",
        "styx: a: failed, exit code 3 after 1.0s",
    ]


def test_an_embedded_job_is_found_by_its_id_and_that_of_its_task(tmp_path: Path) -> None:
    with pytest.raises(Unreachable):
        left_behind(tmp_path, "@latest")
    old, new = ids.job_id(1_000, 7), ids.job_id(2_000, 9)
    for job in (old, new):
        (tmp_path / "embedded" / ids.text(job)).mkdir(parents=True)
    (tmp_path / "embedded" / ".run-x").mkdir()
    assert [path.name for path in embedded_jobs(tmp_path)] == [ids.text(new), ids.text(old)]
    assert left_behind(tmp_path, "@latest/task").name == ids.text(new)
    for ref in (ids.text(old), ids.text(old)[-12:], ids.text(old)[-6:], f"{ids.text(old)}/a.1"):
        assert left_behind(tmp_path, ref).name == ids.text(old)
    for task in (0, 5):
        assert left_behind(tmp_path, f"{ids.text(ids.join(old, task))}.3").name == ids.text(old)
    assert left_behind(tmp_path, ids.text(ids.join(old, 0))[-12:]).name == ids.text(old)
    with pytest.raises(NotFound):
        left_behind(tmp_path, "ffffffffffff")
    with pytest.raises(NotFound):
        left_behind(tmp_path, "xy")
    with pytest.raises(AmbiguousId):
        left_behind(tmp_path, ids.text(old)[:6])
