"""The power goes while a database is brought up to date: it is of the old version or of the new one, with all of its rows."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from styx.store import migrate as migrate_module
from styx.store import sqlite as sqlite_module
from styx.store.base import Batch
from styx.store.migrate import migrations
from styx.store.sqlite import SqliteStore
from styx.testing.contracts.store.telling import submitted
from styx.testing.power.disk import Platter, Tape
from styx.testing.power.files import recorded_files
from styx.testing.power.notes import fingerprint
from styx.testing.power.recorder import RecordedStore
from styx.testing.power.verdict import lay_out

CUTS = 200
JOBS = 150
NEXT = len(migrations()) + 1

CHANGE = """
CREATE TABLE moved (job INTEGER PRIMARY KEY, text TEXT NOT NULL);
INSERT INTO moved SELECT job, name || ' was moved, and takes up some room: ' || hex(zeroblob(500)) FROM jobs;
ALTER TABLE jobs ADD COLUMN more TEXT NOT NULL DEFAULT '';
UPDATE jobs SET more = 'more of ' || name;
DROP INDEX jobs_by_name;
CREATE INDEX jobs_by_more ON jobs (more);
"""


def look(path: Path) -> tuple[int, bytes]:
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return database.execute("PRAGMA user_version").fetchone()[0], fingerprint(database)


def test_the_power_goes_in_the_middle_of_a_migration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"

    async def fill() -> None:
        store = SqliteStore(home)
        epoch = (await store.open()).epoch
        for job in range(1, JOBS + 1):
            await store.commit(epoch, Batch(submitted(job, name=f"job {job}")))
        await store.close()

    asyncio.run(fill())
    before = look(home / "styx.db")
    tape = Tape({str(home / "styx.db"): (home / "styx.db").read_bytes()})
    steps = [*migrate_module.migrations(), (NEXT, "more.sql", CHANGE)]
    monkeypatch.setattr(sqlite_module, "migrations", lambda: steps)

    async def bring_up_to_date() -> None:
        store = RecordedStore(home, tape)
        with recorded_files(tape):
            await store.open()
            await store.close()

    asyncio.run(bring_up_to_date())
    after = look(home / "styx.db")
    assert (before[0], after[0]) == (NEXT - 1, NEXT)

    dice = random.Random(1)
    platter = Platter(tape)
    seen = set()
    for number, place in enumerate(sorted(dice.randint(0, len(tape.entries)) for _ in range(CUTS))):
        platter.advance(place)
        folder = tmp_path / f"cut-{number}"
        folder.mkdir()
        lay_out(platter.cut(dice), home, folder)
        found = look(folder / "styx.db")
        assert found in {before, after}, f"cut at {place} of {len(tape.entries)}, kept in {folder}"
        seen.add(found)
        if number % 10 == 0:

            async def again(folder: Path = folder) -> None:
                store = SqliteStore(folder)
                await store.open()
                await store.close()

            asyncio.run(again())
            assert look(folder / "styx.db") == after
    assert seen == {before, after}


@pytest.mark.parametrize("position", range(7))
def test_a_migration_that_fails_at_any_of_its_statements_leaves_nothing(
    position: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    statements = [statement for statement in CHANGE.strip().split("\n") if statement]
    assert len(statements) == 6
    statements.insert(position, "INSERT INTO nowhere VALUES (1);")

    async def fill() -> None:
        store = SqliteStore(tmp_path)
        await store.commit((await store.open()).epoch, Batch(submitted(1)))
        await store.close()

    asyncio.run(fill())
    before = look(tmp_path / "styx.db")
    steps = [*migrate_module.migrations(), (NEXT, "more.sql", "\n".join(statements))]
    with monkeypatch.context() as patch:
        patch.setattr(sqlite_module, "migrations", lambda: steps)
        with pytest.raises(sqlite_module.StoreError, match=r"more\.sql, which was rolled back"):
            asyncio.run(SqliteStore(tmp_path).open())
    assert look(tmp_path / "styx.db") == before
    asyncio.run(fill_again(tmp_path))


async def fill_again(folder: Path) -> None:
    """The program of before goes on with it."""
    store = SqliteStore(folder)
    await store.commit((await store.open()).epoch, Batch(submitted(2)))
    await store.close()
