"""Two tables in Markdown: Styx beside its peers and floors with each target, and everything that was measured."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from math import inf
from typing import Any

from works import PEERS, WORKS

__all__ = ["beyond", "comparison", "everything", "number", "reached", "work_figures"]

Document = dict[str, Any]
EARLIER = "†"
QUIET = 2.0  # noise beyond which the table says of itself that it is worth little
TOGETHER = timedelta(hours=2)  # what lies so far apart still counts as one run, whose parts were asked for one by one


def number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def work_figures(questions: dict[str, Document]) -> dict[str, list[Document]]:
    """The figures that answer each work, the one with the target first; each with what its document says of the run."""
    found: dict[str, list[Document]] = {}
    for document in questions.values():
        for figure in document["figures"]:
            if figure.get("work") in WORKS:
                found.setdefault(figure["work"], []).append(figure | {"when": document["when"]})
    return found


def reached(figure: Document) -> float:
    """What is held against the target."""
    return float(figure["ratio_best"] if "floor" in figure else figure["best"])


def beyond(figure: Document) -> float:
    """How many times as good as its target: 1 meets it."""
    held, target = reached(figure), float(figure["target"])
    if not figure["less_is_better"]:
        return held / target
    return target / held if held > 0 else inf


def floor_of(figures: Iterable[Document]) -> float | None:
    return next((float(figure["floor_best"]) for figure in figures if "floor_best" in figure), None)


def comparison(questions: dict[str, Document], peers: dict[str, Document]) -> str:
    """One row a work, one column a peer; what has no figure is a dash. Below: who is who, what handicaps it, how noisy it was."""
    ours = work_figures(questions)
    # What has no row here says nothing of these rows: neither when they were measured nor how busy the machine was.
    rows = [
        document
        for document in questions.values()
        if any(figure.get("work") in WORKS for figure in document["figures"])
    ]
    documents = [*rows, *peers.values()]
    if not documents:
        return "nothing was measured\n"
    newest = max(document["when"] for document in documents)
    columns = {key: {figure["work"]: figure for figure in document["figures"]} for key, document in peers.items()}
    heads = [
        title + (f" {EARLIER}" if key in peers and _earlier(peers[key], newest) else "") for key, title in PEERS.items()
    ]
    lines = [
        f"| best (median) | {' | '.join(heads)} | floor | Styx | target | |",
        f"| --- | {' | '.join('---:' for _ in heads)} | ---: | ---: | --- | --- |",
    ]
    for key, work in WORKS.items():
        figures = ours.get(key, [])
        cells = [_cell(columns.get(peer, {}).get(key)) for peer in PEERS]
        floor = floor_of(figures)
        cells += [number(floor) if floor is not None else "-", *_styx(figures, newest)]
        lines.append(f"| {work.title}, {work.unit} | {' | '.join(cells)} |")
    why = "<details><summary>What the starred figures include, and why some have none</summary>"
    notes = [why, "", *_reasons(peers), "", "</details>", ""]
    return "\n".join([*lines, "", _machine(documents, newest), "", *_handicaps(peers), "", *notes])


def _earlier(document: Document, newest: str) -> bool:
    return datetime.fromisoformat(newest) - datetime.fromisoformat(document["when"]) > TOGETHER


def _cell(figure: Document | None) -> str:
    if figure is None:
        return "-"
    mark = "\\*" if figure.get("note") else ""
    return f"{number(figure['best'])}{mark} ({number(figure['median'])})"


def _styx(figures: list[Document], newest: str) -> list[str]:
    """Its cell, the target, and whether that is met and by how much."""
    if not figures:
        return ["-", "", ""]
    figure = figures[0]
    cell = f"**{number(figure['best'])}** ({number(figure['median'])})"
    if _earlier(figure, newest):
        cell += f" {EARLIER}"
    if "target" not in figure:
        return [cell, "", ""]
    bound = "≤" if figure["less_is_better"] else "≥"
    target = f"{bound} {number(figure['target'])}{' x the floor' if 'floor' in figure else ''}"
    return [cell, target, f"{'met' if figure['met'] else '**not met**'}, {number(beyond(figure))} x"]


def _machine(documents: list[Document], newest: str) -> str:
    machine = next(document for document in documents if document["when"] == newest)["machine"]
    noises = [document["noise"]["slowest_to_fastest_spin"] for document in documents]
    text = (
        f"{newest[:10]}, {machine['cores']} cores of {machine['cpu']}, Linux {machine['kernel']}, Python {machine['python']}; "
        f"two slots each, one after the other on the same cores. The slowest run of a fixed piece of Python took {min(noises):.1f} to "
        f"{max(noises):.1f} times the fastest: 1.0 is a machine that nobody else uses."
    )
    if max(noises) > QUIET:
        text += (
            " **The machine was busy: these are not the figures that it can reach, and rows are not to be compared.**"
        )
    if any(_earlier(document, newest) for document in documents):
        text += f" {EARLIER}: from an earlier run."
    return text


def _handicaps(peers: dict[str, Document]) -> list[str]:
    lines = []
    for key, title in PEERS.items():
        if key in peers:
            lines.append(f"- **{title}** {peers[key]['version']}: {'; '.join(peers[key]['handicaps'])}.")
        else:
            lines.append(f"- **{title}**: `make bench-peers` installs it, no figures yet.")
    return lines


def _reasons(peers: dict[str, Document]) -> list[str]:
    lines = []
    for key, document in peers.items():
        notes = _grouped({figure["work"]: figure["note"] for figure in document["figures"] if figure.get("note")})
        parts = [f"`*` {what}: {why}." for why, what in notes.items()]
        parts += [f"`-` {what}: {why}." for why, what in _grouped(document["absent"]).items()]
        lines.append(f"- **{PEERS[key]}** {' '.join(parts)}")
    return lines


def _grouped(reasons: dict[str, str]) -> dict[str, str]:
    """Reason to the names of the works that it stands for."""
    found: dict[str, list[str]] = {}
    for work, why in reasons.items():
        found.setdefault(why, []).append(WORKS[work].name)
    return {why: ", ".join(works) for why, works in found.items()}


def everything(questions: dict[str, Document]) -> str:
    """One row a figure: best and median, the share of the floor where there is one, the target and whether it is met."""
    lines = [
        "| figure | best | median | unit | of its floor (best, median) | target | met | noise | measured |",
        "| --- | ---: | ---: | --- | ---: | ---: | --- | ---: | --- |",
    ]
    for name, document in questions.items():
        noise = document["noise"]["slowest_to_fastest_spin"]
        for figure in document["figures"]:
            ratio = f"{figure['ratio_best']:.2f}, {figure['ratio_median']:.2f}" if "floor" in figure else ""
            goal, met = "", ""
            if "target" in figure:
                bound = "≤" if figure["less_is_better"] else "≥"
                goal = f"{bound} {number(figure['target'])}{' of it' if 'floor' in figure else ''}"
                met = f"{'yes' if figure['met'] else '**no**'}, {number(beyond(figure))} x"
            lines.append(
                f"| {name}: {figure['name']} | {number(figure['best'])} | {number(figure['median'])} | {figure['unit']} "
                f"| {ratio} | {goal} | {met} | {noise:.1f} | {document['when'][:16]} |"
            )
    return "\n".join(lines) + "\n"
