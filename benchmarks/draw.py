"""Two charts in plain SVG, written by hand: Styx beside its peers, and the curves that must stay flat."""

from __future__ import annotations

from html import escape
from math import floor, log10
from typing import Any

from tables import floor_of, number, work_figures
from works import PEERS, WORKS, Work

__all__ = ["chart", "curves"]

Document = dict[str, Any]
INK, FAINT, GRID = "#1a202c", "#64748b", "#e2e8f0"
STYX, PEER, FLOOR = "#1d4ed8", "#94a3b8", "#d9b36c"
LINES = ("#1d4ed8", "#c2410c", "#15803d", "#7e22ce", "#0f766e")
PANEL, GAP = 400, 30  # pixels
NAMES, VALUES = 82, 62  # what the names at the left and the values at the right of the bars take
BAR = 19


def text(
    x: float, y: float, what: str, *, anchor: str = "start", fill: str = INK, bold: bool = False, size: int = 12
) -> str:
    weight = ' font-weight="600"' if bold else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{fill}" font-size="{size}"{weight}>{escape(what)}</text>'


def page(width: float, height: float, parts: list[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="system-ui, Segoe UI, Helvetica, Arial, sans-serif">'
    )
    return "\n".join([head, '<rect width="100%" height="100%" fill="#ffffff"/>', *parts, "</svg>", ""])


def columns(panels: list[tuple[float, list[str]]], head: list[str], top: float) -> str:
    """Panels of these heights, two beside one another."""
    parts, y = list(head), top
    for first in range(0, len(panels), 2):
        for place, (_, drawn) in enumerate(panels[first : first + 2]):
            parts.append(f'<g transform="translate({GAP + place * (PANEL + GAP)},{y:.0f})">')
            parts += [*drawn, "</g>"]
        y += max(height for height, _ in panels[first : first + 2]) + 18
    return page(2 * PANEL + 3 * GAP, y, parts)


def chart(questions: dict[str, Document], peers: dict[str, Document]) -> str:
    """A panel for each charted work that Styx has a figure of: the best of Styx, of every peer that can do it, and the floor, each
    from zero on a scale of the panel's own."""
    ours = work_figures(questions)
    panels = [
        _bars(work, ours[key], _theirs(key, peers)) for key, work in WORKS.items() if work.charted and key in ours
    ]
    head = [
        _swatch(GAP, STYX, "Styx, each task on disk"),
        _swatch(GAP + 185, PEER, "peers, in memory"),
        _swatch(GAP + 335, FLOOR, "floor: the least that Python can do it with here"),
        f'<line x1="{GAP + 660}" x2="{GAP + 660}" y1="14" y2="28" stroke="{INK}" stroke-width="2"/>',
        text(GAP + 667, 25, "target"),
    ]
    return columns(panels, head, 48)


def _swatch(x: float, colour: str, what: str) -> str:
    return f'<rect x="{x}" y="15" width="12" height="12" fill="{colour}"/>' + text(x + 18, 25, what)


def _theirs(key: str, peers: dict[str, Document]) -> list[tuple[str, float]]:
    return [
        (PEERS[peer], float(figure["best"]))
        for peer, document in peers.items()
        for figure in document["figures"]
        if figure["work"] == key
    ]


def _bars(work: Work, figures: list[Document], theirs: list[tuple[str, float]]) -> tuple[float, list[str]]:
    figure, least = figures[0], floor_of(figures)
    rows = [("Styx", float(figure["best"]), STYX), *((name, value, PEER) for name, value in theirs)]
    if least is not None:
        rows.append(("floor", least, FLOOR))
    target = figure.get("target")
    if target is not None and "floor" in figure:
        target *= figure["floor_best"]
    room = PANEL - NAMES - VALUES
    scale = room / max([value for _, value, _ in rows] + ([target] if target else []))
    better = "less is better" if work.less else "more is better"
    parts = [
        text(0, 12, work.name, bold=True, size=13),
        text(PANEL, 12, f"{work.unit}, {better}", anchor="end", fill=FAINT),
    ]
    mark = NAMES + target * scale if target else 0.0
    for row, (name, value, colour) in enumerate(rows):
        y = 22 + row * BAR
        long = max(1.5, value * scale)
        beside = NAMES + long + 5
        if row == 0 and beside - 6 < mark < beside + VALUES:
            beside = mark + 6  # not through the number
        parts += [
            text(NAMES - 8, y + 12, name, anchor="end", bold=colour == STYX),
            f'<rect x="{NAMES}" y="{y + 1}" width="{long:.1f}" height="{BAR - 5}" fill="{colour}"/>',
            text(beside, y + 12, number(value), bold=colour == STYX),
        ]
    if target:
        parts.append(f'<line x1="{mark:.1f}" x2="{mark:.1f}" y1="19" y2="{22 + BAR}" stroke="{INK}" stroke-width="2"/>')
    return 22 + BAR * len(rows), parts


def curves(questions: dict[str, Document]) -> str:
    """A panel for each curve: what one costs, against how many there are, both in powers of ten."""
    panels: dict[str, dict[str, list[tuple[int, float]]]] = {}
    units: dict[str, str] = {}
    for document in questions.values():
        for figure in document["figures"]:
            if "curve" in figure:
                panel, line, count = figure["curve"]
                cost, units[panel] = _cost(figure, count)
                panels.setdefault(panel, {}).setdefault(line, []).append((count, cost))
    head = [text(GAP, 24, "What one task costs, by how many there are: flat is what it must be", bold=True, size=14)]
    return columns([_lines(name, units[name], lines) for name, lines in panels.items()], head, 50)


def _cost(figure: Document, count: int) -> tuple[float, str]:
    best = max(
        float(figure["best"]), 0.1
    )  # what is too little to be seen has a place on the logarithmic axis all the same
    if figure["unit"] == "tasks/s":
        return 1e6 / best, "µs a task"
    if figure["unit"] == "s":
        return best / count * 1e6, "µs a task"
    return best, figure["unit"].replace("/task", " a task")


def _lines(name: str, unit: str, lines: dict[str, list[tuple[int, float]]]) -> tuple[float, list[str]]:
    left, right, top, bottom = 46, PANEL - 14, 44, 184
    counts = sorted({count for points in lines.values() for count, _ in points})
    costs = [cost for points in lines.values() for _, cost in points]
    low, high = log10(min(costs) / 1.6), log10(max(costs) * 1.8)
    first, last = log10(counts[0]), log10(counts[-1])

    def x(count: int) -> float:
        return left + 16 + (right - left - 40) * ((log10(count) - first) / (last - first) if last > first else 0.5)

    def y(cost: float) -> float:
        return bottom - (bottom - top) * (log10(cost) - low) / (high - low)

    parts = [text(0, 12, name, bold=True, size=13), text(PANEL, 12, unit, anchor="end", fill=FAINT)]
    for tick in _ticks(low, high):
        at = y(tick)
        parts.append(f'<line x1="{left}" x2="{right}" y1="{at:.1f}" y2="{at:.1f}" stroke="{GRID}"/>')
        parts.append(text(left - 6, at + 4, f"{tick:,.10g}", anchor="end", fill=FAINT, size=11))
    parts += [text(x(count), bottom + 16, f"{count:,}", anchor="middle", fill=FAINT, size=11) for count in counts]
    begin, labels = 0.0, []
    for (line, points), colour in zip(lines.items(), LINES, strict=False):
        parts.append(
            f'<rect x="{begin}" y="22" width="10" height="10" fill="{colour}"/>' + text(begin + 14, 31, line, size=11)
        )
        begin += 26 + 6.2 * len(line)
        points.sort()
        path = " ".join(f"{x(count):.1f},{y(cost):.1f}" for count, cost in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x(count):.1f}" cy="{y(cost):.1f}" r="3" fill="{colour}"/>' for count, cost in points]
        labels += [(count, y(cost), number(cost), colour) for count, cost in points]
    for count in counts:
        above = bottom + 12.0
        for _, at, what, colour in sorted(
            (label for label in labels if label[0] == count), key=lambda label: -label[1]
        ):
            above = min(at - 7, above - 12)  # one above the other where lines lie close
            parts.append(text(x(count), above, what, anchor="middle", fill=colour, size=11))
    return bottom + 22, parts


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers within a range of powers of ten: a few for each power where the range is short."""
    powers = range(floor(low), floor(high) + 1)
    steps = (1,) if high - low > 2 else (1, 2, 5)
    return [step * 10.0**power for power in powers for step in steps if low <= log10(step * 10.0**power) <= high]
