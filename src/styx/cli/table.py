"""Columns that line up, in the width there is. A pipe gets everything; a terminal gets the last column cut to fit."""

from __future__ import annotations

import shutil
import sys
import unicodedata
from collections.abc import Sequence

from styx.cli.words import STATE_COLOURS, colourful, paint, visible

__all__ = ["table", "width_of"]

_GAP = "  "


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = (), empty: str = "") -> str:
    """Rows under their heads. `right` are the columns that are set flush right; a cell that is a state is painted as one."""
    if not rows and empty:
        return empty
    on = colourful()
    limit = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    cells = [[visible(cell) for cell in row] for row in rows]
    widths = [max(width_of(row[n]) for row in [heads, *cells]) for n in range(len(heads))]
    if limit:
        room = limit - sum(widths[:-1]) - len(_GAP) * (len(heads) - 1)
        widths[-1] = max(8, min(widths[-1], room))
    lines = [_line(heads, widths, right, on, head=True)]
    lines += [_line(row, widths, right, on) for row in cells]
    return "\n".join(lines) + "\n"


def _line(row: Sequence[str], widths: Sequence[int], right: Sequence[int], on: bool, *, head: bool = False) -> str:
    parts = []
    for position, (cell, width) in enumerate(zip(row, widths, strict=True)):
        text = _cut(cell, width)
        blank = " " * (width - width_of(text))
        painted = paint(text, "1" if head else STATE_COLOURS.get(text, ""), on)
        parts.append(blank + painted if position in right else painted + blank)
    return _GAP.join(parts).rstrip()


def width_of(text: str) -> int:
    """Columns that a text takes on a terminal."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _cut(text: str, width: int) -> str:
    if width_of(text) <= width:
        return text
    kept = ""
    for c in text:
        if width_of(kept + c) >= width:
            break
        kept += c
    return kept + "…"
