"""Columns that line up: described once, drawn by rich on a terminal, and as plain aligned lines in a pipe.

A pipe has no width and its reader may be a program, so there nothing is cut, folded or ruled. It does without rich: importing it
costs 40 ms, half as much as the rest of `styx status`, and 10,000 rows take it 3.6 s where plain lines take 0.05 s.
"""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Callable, Sequence
from typing import NamedTuple

from styx.cli.words import STATE_STYLES, colourful, paint, visible

__all__ = ["Column", "table", "width_of"]

_GAP = "  "
LONG = 500  # rows that nobody reads on a terminal, and that rich would take long over


class Column(NamedTuple):
    """`right` sets it flush right; on a narrow terminal `folds` continues it below, and the others are cut."""

    head: str
    right: bool = False
    folds: bool = False


def table(columns: Sequence[Column], rows: Sequence[Sequence[str]], *, empty: str = "") -> str:
    """Rows under their heads, for stdout. A cell that is the name of a state is painted as one."""
    if not rows and empty:
        return empty
    cells = [[visible(cell) for cell in row] for row in rows]
    if sys.stdout.isatty() and len(rows) <= LONG:
        return _ruled(columns, cells)
    return _plain(columns, cells, colourful())


def _ruled(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> str:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(
        box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold", border_style="bright_black"
    )
    console = Console()
    for column in columns:
        drawn.add_column(
            column.head,
            justify="right" if column.right else "left",
            no_wrap=not column.folds,
            overflow="fold" if column.folds else "ellipsis",
            max_width=None if column.folds else max(12, console.width // 3),
            min_width=min(8, console.width // len(columns)) if column.folds else None,
        )
    for row in rows:
        drawn.add_row(*(Text(cell, style=STATE_STYLES.get(cell, "")) for cell in row))
    with console.capture() as captured:
        console.print(drawn)
    return "".join(f"{line.rstrip()}\n" for line in captured.get().splitlines())


def _plain(columns: Sequence[Column], rows: Sequence[Sequence[str]], colour: bool) -> str:
    heads = [column.head for column in columns]
    widths = [max(width_of(row[n]) for row in [heads, *rows]) for n in range(len(columns))]
    lines = [_line(columns, heads, widths, lambda _: "bold" if colour else "")]
    lines += [_line(columns, row, widths, lambda cell: STATE_STYLES.get(cell, "") if colour else "") for row in rows]
    return "".join(f"{line}\n" for line in lines)


def _line(columns: Sequence[Column], row: Sequence[str], widths: Sequence[int], style: Callable[[str], str]) -> str:
    parts = []
    for column, cell, width in zip(columns, row, widths, strict=True):
        blank = " " * (width - width_of(cell))
        painted = paint(cell, style(cell), True)
        parts.append(blank + painted if column.right else painted + blank)
    return _GAP.join(parts).rstrip()


def width_of(text: str) -> int:
    """Columns that a text takes on a terminal."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
