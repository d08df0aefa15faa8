"""The SQL file: cut into statements without slips, all of them used, and none that walks through a whole table."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import pytest

import styx.store
from styx.store.migrate import migrate, migrations
from styx.store.statements import SQL, for_rows, parse

# These read all of a small table, or the first rows of a big one in its own order.
WALKS = {
    "nodes", "marks", "tokens", "oldest_ended", "oldest_events", "dropped_jobs", "forsake_staged", "renew",
    "drop_credentials", "instances", "all_instances", "refusals",
}  # fmt: skip
# These sort: what a rebuild tells and what is live have an order that no index keeps.
SORTS = {
    "attempts_of_job", "spans_of_job", "spans_of_task", "live_jobs", "jobs_live", "jobs_live_named", "find_jobs",
    "ended_counts", "spanned_tasks", "swept_segments", "fates", "refusals",
}  # fmt: skip


@pytest.fixture
def connection(tmp_path: Path) -> sqlite3.Connection:
    made = sqlite3.connect(tmp_path / "x.db", isolation_level=None)
    migrate(made, migrations())
    return made


@pytest.mark.parametrize("name", sorted(SQL))
def test_no_statement_walks_through_a_table(name: str, connection: sqlite3.Connection) -> None:
    statement = for_rows(name, 2)
    numbered = [int(number) for number in re.findall(r"\?(\d+)", statement)]
    count = max(numbered) if numbered else statement.count("?")
    plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", (1,) * count)]
    walks = [step for step in plan if re.match(r"SCAN (?!\(|CONSTANT|r\b|\d+ CONSTANT|SUBQUERY)", step)]
    if name not in WALKS:
        assert not [step for step in walks if "subquery" not in step.lower()], plan
    if name not in SORTS:
        assert not [step for step in plan if "TEMP B-TREE" in step], plan


def test_every_statement_is_used() -> None:
    folder = Path(styx.store.__file__).parent
    source = "\n".join(file.read_text() for file in folder.glob("*.py"))
    built = {f"{which}_named" for which in ("jobs", "jobs_live", "jobs_in_state")}
    assert [name for name in SQL if f'"{name}"' not in source and name not in built] == []


def test_rows_are_spread() -> None:
    assert for_rows("stage_task", 2).endswith("VALUES (?, ?, ?), (?, ?, ?)")
    assert for_rows("job", 7) == SQL["job"]


@pytest.mark.parametrize(
    "text",
    [
        "-- name: a\n-- what it is\nSELECT 1;\n-- name: a\n-- again\nSELECT 2;",
        "-- name: a\nSELECT 1;",
        "-- name: a\n-- what it is\n",
        "-- name: not a name\n-- what it is\nSELECT 1;",
    ],
)
def test_slips_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"queries\.sql"):
        parse(text)
