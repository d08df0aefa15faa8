"""The table and the chart, from the documents of the benchmarks. Plain Markdown and plain SVG, written by hand."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from math import log2
from typing import Any

__all__ = ["chart", "table"]

BAR = 22  # pixels of one line of the chart
LEFT, WIDTH = 430, 420
COLOURS = {True: "#2f855a", False: "#c05621"}


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def table(documents: list[dict[str, Any]]) -> str:
    """One row a figure: best and median, the share of the floor where there is one, the target and whether it is met."""
    if not documents:
        return "nothing was measured\n"
    machine = documents[-1]["machine"]
    lines = [
        f"Measured on {machine['cores']} cores of {machine['cpu']}, Linux {machine['kernel']}, Python {machine['python']}.",
        "",
        "| figure | best | median | unit | of its floor (best, median) | target | met | noise |",
        "| --- | ---: | ---: | --- | ---: | ---: | --- | ---: |",
    ]
    for document in documents:
        noise = document["noise"]["slowest_to_fastest_spin"]
        for figure in document["figures"]:
            ratio = f"{figure['ratio_best']:.2f}, {figure['ratio_median']:.2f}" if "floor" in figure else ""
            goal, met = "", ""
            if "target" in figure:
                bound = "≤" if figure["less_is_better"] else "≥"
                goal = f"{bound} {_number(figure['target'])}{' of it' if 'floor' in figure else ''}"
                met = "yes" if figure["met"] else "**no**"
            lines.append(
                f"| {figure['name']} | {_number(figure['best'])} | {_number(figure['median'])} | {figure['unit']} "
                f"| {ratio} | {goal} | {met} | {noise:.1f} |"
            )
    return "\n".join(lines) + "\n"


def _held(documents: list[dict[str, Any]]) -> Iterator[tuple[str, float, bool]]:
    """(what, how many times as good as its target, met) of each figure that has one."""
    for document in documents:
        for figure in document["figures"]:
            if "target" not in figure:
                continue
            reached = figure["ratio_best"] if "floor" in figure else figure["best"]
            if reached <= 0 or figure["target"] <= 0:
                continue
            good = figure["target"] / reached if figure["less_is_better"] else reached / figure["target"]
            yield f"{figure['name']}: {_number(figure['best'])} {figure['unit']}", good, figure["met"]


def chart(documents: list[dict[str, Any]]) -> str:
    """A bar for each figure: how far it is beyond (or short of) its target, which is the line in the middle; the scale is in
    powers of two, up to sixteenfold."""
    bars = list(_held(documents))
    height = BAR * len(bars) + 56
    middle = LEFT + WIDTH // 2
    step = WIDTH / 8
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + 20}" height="{height}" '
        'font-family="system-ui, sans-serif" font-size="12">',
        f'<rect width="100%" height="100%" fill="#ffffff"/><text x="{middle}" y="18" text-anchor="middle" '
        'font-weight="bold">measured against the target: right of the line is better</text>',
    ]
    for power in range(-4, 5):
        x = middle + power * step
        label = f"{2**power}x" if power >= 0 else f"1/{2**-power}"
        parts.append(
            f'<line x1="{x}" x2="{x}" y1="38" y2="{height - 8}" stroke="{"#4a5568" if not power else "#e2e8f0"}"/>'
            f'<text x="{x}" y="34" text-anchor="middle" fill="#718096">{label}</text>'
        )
    for row, (name, good, met) in enumerate(bars):
        y = 44 + row * BAR
        reach = max(-4.0, min(4.0, log2(good))) * step
        x = middle + min(0.0, reach)
        parts.append(
            f'<text x="{LEFT - 10}" y="{y + 13}" text-anchor="end" fill="#1a202c">{escape(name)}</text>'
            f'<rect x="{x:.1f}" y="{y + 2}" width="{abs(reach):.1f}" height="{BAR - 8}" fill="{COLOURS[met]}"/>'
        )
    return "\n".join([*parts, "</svg>", ""])
