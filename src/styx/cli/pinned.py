"""A view that stays below whatever else is printed, drawn by rich.

rich draws and erases. Added here: what is above is written as it is; a view is laid out once for each width and not again with
every line above it; and when the terminal has become narrower, and has wrapped the lines that stand there, they are still erased
whole.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

from rich.console import Console
from rich.control import Control
from rich.live import Live
from rich.segment import ControlType, Segment, Segments

if TYPE_CHECKING:
    from rich.console import ConsoleOptions, RenderableType, RenderResult

__all__ = ["Layout", "Pinned"]

Layout = Callable[[int, int], "RenderableType"]  # from a width and a height in cells


class Pinned:
    """All methods may be called from any thread; each blocks while the terminal is stopped."""

    def __init__(self, stream: TextIO) -> None:
        self._console = Console(file=stream, highlight=False, emoji=False, markup=False)
        self._live: Live | None = None
        self._view: _View | None = None
        self._lock = threading.Lock()
        self._closed = False

    def draw(self, layout: Layout) -> None:
        """Show this from now on; after `close` nothing happens."""
        with self._lock:
            if self._closed:
                return
            live = self._started()
            self._mend()
            self._view = _View(layout)
            live.update(self._view, refresh=True)

    def above(self, text: str) -> None:
        """Print text, which ends with a newline, above the view."""
        with self._lock:
            self._mend()
            self._console.print(Segments([Segment(text)]), soft_wrap=True, end="")

    def close(self, layout: Layout | None = None) -> None:
        """Leave the view as it is, or this one, and give the cursor back."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            if layout is not None:
                live = self._started()
                self._mend()
                self._view = _View(layout)
                live.update(self._view)
            if self._live is not None:
                self._live.stop()

    def _started(self) -> Live:
        if self._live is None:
            self._live = Live(
                console=self._console,
                auto_refresh=False,
                redirect_stdout=False,
                redirect_stderr=False,
                vertical_overflow="crop",
            )
            self._live.start()
        return self._live

    def _mend(self) -> None:
        """rich goes up as many lines as it drew; go up first by those that wrapping has added since."""
        if self._view is None or self._closed:
            return
        more = self._view.wrapped(self._console.width)
        if more:
            up = ((ControlType.ERASE_IN_LINE, 2), (ControlType.CURSOR_UP, 1)) * more
            self._console.control(Control(*up))


class _View:
    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._size = (0, 0)
        self._lines: list[list[Segment]] = []

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if console.size != self._size:
            width = max(1, console.width - 1)  # a full line would make some terminals wrap
            body = self._layout(width, console.height)
            plain = options.update(width=width, no_wrap=False, overflow="fold", height=None)
            self._lines = [_trimmed(line) for line in console.render_lines(body, plain, pad=False)]
            self._size = console.size
        for line in self._lines:
            yield from line
            yield Segment.line()

    def wrapped(self, width: int) -> int:
        """Lines more than were drawn that a terminal of this width, which wraps, shows."""
        if width >= self._size[0] or width < 1:
            return 0
        return sum(max(0, -(-Segment.get_line_length(line) // width) - 1) for line in self._lines)


def _trimmed(line: list[Segment]) -> list[Segment]:
    """Without blanks at its end, which would wrap too."""
    line = [segment for segment in line if not segment.control]
    while line and not line[-1].text.rstrip():
        line.pop()
    if line:
        line[-1] = Segment(line[-1].text.rstrip(), line[-1].style)
    return line
