"""Dropping old jobs, and all that only they needed. The highest serials stay: one is part of a fence and never reused."""

from __future__ import annotations

from styx.store.memory.tables import Tables

__all__ = ["prune"]


def prune(tables: Tables, ended_before: int, keep_bytes: int, limit: int) -> tuple[int, list[int]]:
    """Returns how many jobs went, and the segments that nobody points at any more."""
    segments = _segments(tables)
    total = sum(row.length for row in tables.pieces())
    ended = sorted((job.ended.at, serial) for serial, job in tables.jobs.items() if job.ended is not None)
    dropped = 0
    for at, serial in ended[:limit]:
        if at >= ended_before and not (keep_bytes and total > keep_bytes):
            break
        total -= _forget(tables, serial)
        dropped += 1
    tables.events[:] = [row for row in tables.events if row.at >= ended_before]
    return dropped, sorted(segments - _segments(tables))


def _segments(tables: Tables) -> set[int]:
    return {row.segment for row in tables.pieces()}


def _forget(tables: Tables, serial: int) -> int:
    """Drops a job; returns the bytes of its output."""
    job = tables.jobs.pop(serial)
    for pair in [pair for pair in tables.costs if pair[0] == serial]:
        del tables.costs[pair]
    tables.secrets.pop(serial, None)
    if job.accepted is not None:
        del tables.by_id[job.accepted.id]
        if tables.by_key.get(job.accepted.key) == serial:
            del tables.by_key[job.accepted.key]
    gone = {attempt for attempts in job.attempts.values() for attempt in attempts}
    for attempt in gone:
        del tables.assigned[attempt]
        tables.ended.pop(attempt, None)
        tables.ended_told.pop(attempt, None)
    streams = [stream for stream in tables.outputs if stream[0] in gone]
    return sum(row.length for stream in streams for row in tables.outputs.pop(stream).values())
