"""Dropping old jobs without holding up the commits of new ones.

A job first leaves the table of jobs, so nobody sees it half gone, and is noted as an orphan. Then its rows are swept in
steps of some thousand, each a transaction of its own, so commits get in between and a crash leaves only an orphan for
the next time. The highest serials are written down before their rows go: a serial is part of a fence and never reused.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from styx.store.statements import SQL, for_rows
from styx.store.write import place

__all__ = ["drop_oldest", "dropped_jobs", "forsake_staged", "free_segments", "sweep", "trim_events"]

STEP = 2_000
"""Rows that one transaction deletes from a table: some 10 ms."""


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def forsake_staged(connection: sqlite3.Connection) -> None:
    """Nobody is submitting now; what was staged is to be swept."""
    connection.execute(SQL["forsake_staged"])


def dropped_jobs(connection: sqlite3.Connection) -> list[int]:
    return [row[0] for row in connection.execute(SQL["dropped_jobs"])]


def drop_oldest(connection: sqlite3.Connection, ended_before: int, keep_bytes: int) -> int:
    """Take the job that ended first out of sight if it is old enough, or if there is too much output. Returns its serial,
    0 when nothing is to go. It still has to be swept."""
    with transaction(connection):
        oldest = connection.execute(SQL["oldest_ended"]).fetchone()
        if oldest is None:
            return 0
        job, ended_at = int(oldest[0]), oldest[1]
        if ended_at >= ended_before:
            (total,) = connection.execute(SQL["output_bytes"]).fetchone()
            if not keep_bytes or total <= keep_bytes:
                return 0
        connection.execute(SQL["unstage_job"], (job,))
        connection.execute(SQL["drop_key"], (job,))
        connection.execute(SQL["drop_secrets"], (job,))
        connection.execute(SQL["sweep_costs"], (job,))
        connection.execute(SQL["drop_job"], (job,))
        return job


def sweep(connection: sqlite3.Connection, job: int, segments: set[int]) -> bool:
    """Delete a step's worth of an orphan's rows; adds the segments its outputs were in. Returns whether it is gone."""
    with transaction(connection):
        pieces = connection.execute(SQL["swept_segments"], (job, STEP)).fetchall()
        segments.update(segment for segment, _ in pieces)
        connection.execute(SQL["remember_serials"], (job, STEP, sum(length for _, length in pieces)))
        connection.execute(SQL["sweep_outputs"], (job, STEP))
        swept = [
            connection.execute(SQL["sweep_attempts"], (job, STEP)).rowcount,
            connection.execute(SQL["sweep_spans"], (job, STEP)).rowcount,
            connection.execute(SQL["sweep_tasks"], (place(job, 0), place(job + 1, 0) - 1, STEP)).rowcount,
        ]
        done = max(swept) < STEP
        if done:
            connection.execute(for_rows("adopt_job", 1), (job,))
        return done


def trim_events(connection: sqlite3.Connection, before: int) -> bool:
    """Delete a step's worth of events older than a time. Returns whether none are left. Their times never fall."""
    rows = connection.execute(SQL["oldest_events"], (STEP,)).fetchall()
    old = [last for last, at in rows if at < before]
    if old:
        connection.execute(SQL["trim_events"], (old[-1],))
    return len(old) < STEP


def free_segments(connection: sqlite3.Connection, segments: set[int]) -> list[int]:
    """Those that hold no output of anybody."""
    return [
        segment
        for segment in sorted(segments)
        if not connection.execute(SQL["segment_in_use"], (segment,)).fetchone()[0]
    ]
