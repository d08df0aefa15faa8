"""Floor of keeping a task: rows into one table through aiosqlite, synchronous=FULL, 1,000 rows a commit, in one hop to its
thread each. Two rows a task (it was assigned; it ended) is the least that accounts for it.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time

import aiosqlite

BATCH = 1_000


async def _rows(count: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        async with aiosqlite.connect(f"{folder}/floor.db", isolation_level=None) as database:
            await database.execute("PRAGMA journal_mode = WAL")
            await database.execute("PRAGMA synchronous = FULL")
            await database.execute(
                "CREATE TABLE rows (id INTEGER PRIMARY KEY, job INTEGER, task INTEGER, state INTEGER)"
            )

            def write(first: int) -> None:
                connection = database._conn
                connection.execute("BEGIN")
                rows = [(row, 1, row, 2) for row in range(first, first + BATCH)]
                connection.executemany("INSERT INTO rows VALUES (?, ?, ?, ?)", rows)
                connection.execute("COMMIT")

            begin = time.perf_counter()
            for first in range(0, count, BATCH):
                await database._execute(write, first)
            return count / (time.perf_counter() - begin)


def rows_a_second(count: int) -> float:
    return asyncio.run(_rows(count))


if __name__ == "__main__":
    print(rows_a_second(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000))
