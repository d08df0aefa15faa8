"""Counting, shared by the elements of the census and by the single-process check."""

from __future__ import annotations

import re
import sysconfig
from collections.abc import Iterable
from pathlib import Path

DEFINITION = re.compile(r"^\s*(?:async\s+def|def|class)\s+\w", re.MULTILINE)

LIBRARY = Path(sysconfig.get_path("stdlib"))


def sources() -> list[str]:
    """The library's own source files, relative to it: no installed packages, no tests."""
    outside = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"}
    return sorted(
        str(path.relative_to(LIBRARY))
        for path in LIBRARY.rglob("*.py")
        if not outside & set(path.relative_to(LIBRARY).parts)
    )


def tally(names: Iterable[str]) -> dict[str, dict[str, int]]:
    """Files, lines, words and definitions by package ("-" for single modules)."""
    totals: dict[str, dict[str, int]] = {}
    for name in names:
        text = (LIBRARY / name).read_text(encoding="utf-8", errors="replace")
        package = name.split("/")[0] if "/" in name else "-"
        row = totals.setdefault(package, {"files": 0, "lines": 0, "words": 0, "definitions": 0})
        row["files"] += 1
        row["lines"] += text.count("\n")
        row["words"] += len(text.split())
        row["definitions"] += len(DEFINITION.findall(text))
    return totals


def add(totals: Iterable[dict[str, dict[str, int]]]) -> dict[str, dict[str, int]]:
    """The sum of several tallies."""
    result: dict[str, dict[str, int]] = {}
    for total in totals:
        for package, row in total.items():
            into = result.setdefault(package, dict.fromkeys(row, 0))
            for column, count in row.items():
                into[column] += count
    return dict(sorted(result.items()))
