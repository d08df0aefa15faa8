"""What the README shows of speed is what the benchmarks measured: the section is drawn from their documents, and only from them."""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"


@pytest.fixture(scope="module")
def modules() -> Iterator[dict[str, ModuleType]]:
    """The benchmarks are programs in a folder of their own, and no package: their modules are gone again after these tests."""
    before = set(sys.modules)
    sys.path.insert(0, str(BENCHMARKS))
    try:
        yield {name: importlib.import_module(name) for name in ("draw", "figures", "run", "show", "tables", "works")}
    finally:
        sys.path.remove(str(BENCHMARKS))
        for name in set(sys.modules) - before:
            where = getattr(sys.modules[name], "__file__", None)
            if where and Path(where).is_relative_to(BENCHMARKS):
                del sys.modules[name]


def test_the_readme_shows_what_the_results_say(modules: dict[str, ModuleType]) -> None:
    show = modules["show"]
    results = show.Results(BENCHMARKS / "results")
    page = (ROOT / "README.md").read_text()
    assert show.with_section(page, show.section(results.questions(), results.peers())) == page


def test_tables_and_charts_are_drawn_from_the_documents_beside_them(
    modules: dict[str, ModuleType], tmp_path: Path
) -> None:
    recorded = BENCHMARKS / "results"
    for file in recorded.rglob("*.json"):
        copy = tmp_path / file.relative_to(recorded)
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(file.read_bytes())
    modules["show"].Results(tmp_path).draw(None)
    for name in ("table.md", "chart.svg", "curves.svg"):
        assert (tmp_path / name).read_text() == (recorded / name).read_text(), f"{name}: run.py --draw"


def test_every_question_and_every_peer_is_there(modules: dict[str, ModuleType]) -> None:
    run, works = modules["run"], modules["works"]
    for question in run.QUESTIONS:
        assert (BENCHMARKS / f"{question.name}.py").exists(), question
    makefile = (ROOT / "Makefile").read_text()
    assert re.search(r"^PEERS := (.*)$", makefile, re.MULTILINE)[1].split() == list(works.PEERS)
    for peer in works.PEERS:
        assert (BENCHMARKS / "peers" / f"{peer}.py").exists()
        assert re.fullmatch(r"\w+>=[\d.]+,<[\d.]+\n", (BENCHMARKS / "peers" / f"{peer}.txt").read_text()), peer
    asked = {question.name for question in run.QUESTIONS}
    assert {file.stem for file in (BENCHMARKS / "results").glob("*.json")} <= asked


def figure(modules: dict[str, ModuleType], work: str, values: list[float], **more: Any) -> dict[str, Any]:
    row = modules["works"].WORKS[work]
    return modules["figures"].Figure(row.title, row.unit, values, less=row.less, work=work, **more).shown()


def answered(when: str, *figures: dict[str, Any]) -> dict[str, Any]:
    machine = {"cores": 2, "cpu": "a processor", "kernel": "6.1", "python": "3.11.7"}
    return {"figures": list(figures), "machine": machine, "noise": {"slowest_to_fastest_spin": 1.25}, "when": when}


def row(table: str, begins: str) -> list[str]:
    line = next(line for line in table.splitlines() if line.startswith(f"| {begins}"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_target_is_met_or_not_and_by_how_much(modules: dict[str, ModuleType]) -> None:
    least = modules["figures"].Figure("Popen", "tasks/s", [2_000, 2_500])
    questions = {
        "processes": answered("2026-11-25", figure(modules, "processes", [1_000, 1_500], floor=least, target=0.8)),
        "memory": answered("2026-11-25", figure(modules, "pss-server", [40.0, 30.0, 50.0], target=45)),
        "nowork": answered("2026-11-25", figure(modules, "nothing", [20_000], target=40_000)),
    }
    table = modules["tables"].comparison(questions, {})
    # 1,500 of 2,500: the best of both
    assert row(table, "10,000 x")[-4:] == ["2,500", "**1,500** (1,250)", "≥ 0.8 x the floor", "**not met**, 0.75 x"]
    assert row(table, "server, idle")[-4:] == ["-", "**30** (40)", "≤ 45", "met, 1.5 x"]
    assert row(table, "50,000 tasks")[-2:] == ["≥ 40,000", "**not met**, 0.5 x"]


def test_a_peer_without_a_figure_has_a_dash_and_a_reason(modules: dict[str, ModuleType]) -> None:
    questions = {"nowork": answered("2026-11-25", figure(modules, "nothing", [50_000], target=40_000))}
    dask = answered("2026-11-25", figure(modules, "nothing", [2_550, 2_500, 2_450], note="sent ahead"))
    queue = answered("2026-11-24")
    peers = {
        "hyperqueue": queue
        | {"version": "0.27.0", "handicaps": ["forks"], "absent": {"nothing": "its tasks are programs"}},
        "dask": dask | {"version": "2026.8.0", "handicaps": ["saturated"], "absent": {}},
    }
    table = modules["tables"].comparison(questions, peers)
    assert row(table, "50,000 tasks")[1:4] == ["-", "2,550\\* (2,500)", "-"]
    assert {
        "- **HyperQueue** 0.27.0: forks.",
        "- **HyperQueue** `-` tasks without work: its tasks are programs.",
    } <= set(table.splitlines())
    assert "`*` tasks without work: sent ahead." in table
    assert "| HyperQueue † | Dask |" in table, "what an earlier run measured is marked"
    assert "**Ray**: `make bench-peers` installs it, no figures yet." in table


def test_a_page_without_the_marks_is_refused(modules: dict[str, ModuleType]) -> None:
    with pytest.raises(ValueError, match="lacks the marks"):
        modules["show"].with_section("# A page\n", "x")


def test_a_curve_shows_the_cost_of_one(modules: dict[str, ModuleType]) -> None:
    drawn = modules["draw"].curves(
        {
            "some": {
                "figures": [
                    {"unit": "tasks/s", "best": 50_000, "curve": ["accepted", "different", 10_000]},
                    {"unit": "tasks/s", "best": 40_000, "curve": ["accepted", "different", 100_000]},
                    {"unit": "s", "best": 2.0, "curve": ["recovered", "different", 100_000]},
                ]
            }
        }
    )
    assert re.findall(r">([\d.]+)</text>", drawn)[-1] == "20"  # 2 s for 100,000
    assert {">20</text>", ">25</text>", ">100,000</text>"} <= set(re.findall(r">[\d.,]+</text>", drawn))


def test_no_round_begins_after_the_time_is_spent(modules: dict[str, ModuleType]) -> None:
    figures = modules["figures"]
    figures.spend(0)
    try:
        values = figures.interleave({"a": lambda: 1.0, "b": lambda: 2.0}, 5)
    finally:
        figures.spend(float("inf"))
    assert values == {"a": [1.0, 1.0], "b": [2.0, 2.0]}


def test_recorded_documents_are_whole(modules: dict[str, ModuleType]) -> None:
    works = modules["works"].WORKS
    for file in (BENCHMARKS / "results" / "peers").glob("*.json"):
        document = json.loads(file.read_text())
        answers = {figure["work"] for figure in document["figures"]} | set(document["absent"])
        assert answers == set(works), f"{file.name}: a work is neither measured nor said to be absent"
