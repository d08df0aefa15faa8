"""News of the attempts of a job as they start and end, for those who follow its output. Driven by committed records."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from styx.core.records import AttemptEnded, AttemptStarted, JobEnded, Record, SpansEnded
from styx.core.world import World

__all__ = ["Feed", "Feeds"]

News = tuple[int, int, int]
"""(attempt, task, index): there is something to be read of this attempt."""


class Feed:
    """News of one job for one reader: lists of attempts that started or ended. A list may be empty when only something else
    ended. The end of the iteration is the end of the job."""

    def __init__(self) -> None:
        self._news: list[News] = []
        self._stirred = False
        self._over = False
        self._wake = asyncio.Event()

    def put(self, *news: News) -> None:
        self._news += news
        self._stirred = True
        self._wake.set()

    def end(self) -> None:
        self._over = True
        self._wake.set()

    async def __aiter__(self) -> AsyncIterator[list[News]]:
        while True:
            if self._stirred:
                news, self._news, self._stirred = self._news, [], False
                yield news
            elif self._over:
                return
            else:
                self._wake.clear()
                await self._wake.wait()


class Feeds:
    def __init__(self, world: World) -> None:
        self._world = world
        self._feeds: dict[int, list[Feed]] = {}

    def note(self, records: Iterable[Record]) -> None:
        """Take notice of committed records."""
        if not self._feeds:
            return
        for record in records:
            kind: type[Any] = type(record)
            if kind in _TOLD:
                self._tell(record)

    @contextmanager
    def feed(self, job: int) -> Iterator[Feed]:
        """News of the job's attempts from now on. The caller has seen that it is live, just now."""
        feed = Feed()
        self._feeds.setdefault(job, []).append(feed)
        try:
            yield feed
        finally:
            feeds = self._feeds.get(job, [])
            if feed in feeds:
                feeds.remove(feed)
                if not feeds:
                    del self._feeds[job]

    def _tell(self, record: Record) -> None:
        news: tuple[News, ...] = ()
        if isinstance(record, AttemptStarted):
            attempt = self._world.attempts.get(record.attempt)
            if attempt is None:
                return  # its end comes in the same batch, and says where it belongs
            job = attempt.task.job.serial
            news = ((record.attempt, attempt.task.ordinal, attempt.index),)
        elif isinstance(record, AttemptEnded):
            job = record.job
            news = ((record.attempt, record.task, record.index),)
        elif isinstance(record, SpansEnded):
            job = record.job
        else:
            if isinstance(record, JobEnded):
                for feed in self._feeds.pop(record.job, ()):
                    feed.end()
            return
        for feed in self._feeds.get(job, ()):
            feed.put(*news)


_TOLD = frozenset({AttemptStarted, AttemptEnded, SpansEnded, JobEnded})
