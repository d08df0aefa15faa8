"""How ids, times, sizes and states are written for people."""

from __future__ import annotations

import os
import sys
import time
from typing import TextIO

__all__ = [
    "STATE_STYLES",
    "ago",
    "clock",
    "colourful",
    "count",
    "drawable",
    "paint",
    "short",
    "size",
    "took",
    "visible",
]

# Styles by name, so that a terminal's tables and views, which rich draws, and plain lines look alike.
_CODES = {
    "bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "blue": "34", "magenta": "35", "cyan": "36",
    "bright_black": "90", "bright_green": "92", "bright_yellow": "93", "bright_blue": "94", "bright_magenta": "95",
    "bright_cyan": "96",
}  # fmt: skip
STATE_STYLES = {
    "RUNNING": "cyan",
    "ASSIGNED": "cyan",
    "SUCCEEDED": "green",
    "FAILED": "red",
    "CANCELLED": "yellow",
    "CANCELLING": "yellow",
    "SKIPPED": "bright_black",
    "BACKOFF": "magenta",
    "PENDING": "bright_black",
    "UP": "green",
    "SUSPECT": "yellow",
    "LOST": "red",
    "GONE": "bright_black",
}


def short(identifier: str) -> str:
    """The last 12 digits of an id, which are what differs: ids of one time begin alike. An index stays."""
    head, dot, index = identifier.partition(".")
    return head[-12:] + dot + index


def ago(at: float, now: float | None = None) -> str:
    """`3s ago`; an empty time is `-`."""
    return f"{took((time.time() if now is None else now) - at)} ago" if at else "-"


def took(seconds: float) -> str:
    """A span in at most two units: `0.3s`, `42s`, `5m12s`, `3h05m`, `2d4h`."""
    seconds = max(0.0, seconds)
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3_600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86_400:
        return f"{whole // 3_600}h{whole % 3_600 // 60:02}m"
    return f"{whole // 86_400}d{whole % 86_400 // 3_600}h"


def clock(at: float) -> str:
    """A local time to the second; an empty one is `-`."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at)) if at else "-"


def size(number: float) -> str:
    """Bytes in decimal units: `512MB`, `1.5GB`."""
    units = ("B", "KB", "MB", "GB", "TB", "PB")
    power = 0
    while abs(number) >= 999.5 and power < len(units) - 1:
        number /= 1_000
        power += 1
    whole = power == 0 or number >= 99.5 or number == int(number)
    return f"{number:.0f}{units[power]}" if whole else f"{number:.1f}{units[power]}"


def count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def visible(text: str, *, lines: bool = False) -> str:
    """Text that cannot play tricks on a terminal: what does not print becomes its escape; newlines may stay."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or (lines and c == "\n") else c.encode("unicode_escape").decode() for c in text)


def colourful(stream: TextIO | None = None) -> bool:
    """Whether to paint on a stream (stdout): a terminal, unless NO_COLOR is set or it is a dumb one; FORCE_COLOR insists."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return (stream or sys.stdout).isatty() and os.environ.get("TERM", "") != "dumb"


def drawable(stream: TextIO) -> bool:
    """Whether a view can be drawn over and over on a stream; NO_COLOR only takes its colours."""
    utf8 = (getattr(stream, "encoding", "") or "").lower().startswith("utf")
    return stream.isatty() and utf8 and os.environ.get("TERM", "") not in {"", "dumb"}


def paint(text: str, style: str, on: bool) -> str:
    """Text in one of the styles above, for a line that is printed as it is."""
    return f"\x1b[{_CODES[style]}m{text}\x1b[0m" if on and style else text
