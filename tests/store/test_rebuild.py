"""A world rebuilt from either store equals the one that was lived, and both stores tell the same story.

The random walk of the core drives the engine; what it records goes to both stores in batches of any size, and the histories
that its retries need come from them.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from styx.core.engine import Engine
from styx.core.events import Continued
from styx.core.invariants import snapshot
from styx.core.records import Record
from styx.store.base import Batch, Page, Store
from styx.store.memory import MemoryStore
from styx.store.sqlite import SqliteStore
from styx.testing.contracts.store.telling import loaded, split_spans
from styx.testing.dialogue import Dialogue
from styx.testing.walk import Walk

SEEDS = int(os.environ.get("STYX_STORE_WALKS", "6"))


class StoredWalk(Walk):
    """A walk whose records are kept by two stores."""

    def __init__(self, seed: int, loop: asyncio.AbstractEventLoop, folder: Path) -> None:
        super().__init__(seed)
        self.loop = loop
        self.stores: list[Store] = [SqliteStore(folder), MemoryStore()]
        self.epochs = [loop.run_until_complete(store.open()).epoch for store in self.stores]
        self.committed = 0

    def commit(self) -> None:
        """Everything recorded since the last time, in batches of any size."""
        records = self.talk.records
        while self.committed < len(records):
            size = self.random.choice([1, 3, 40, 1_000])
            batch = Batch(records[self.committed : self.committed + size], at=self.talk.now)
            self.committed += len(batch.records)
            for store, epoch in zip(self.stores, self.epochs, strict=True):
                self.loop.run_until_complete(store.commit(epoch, batch))

    def restart(self) -> None:
        for place, store in enumerate(self.stores):
            self.loop.run_until_complete(store.close())
            self.epochs[place] = self.loop.run_until_complete(store.open()).epoch

    def _history(self, serial: int) -> list[Record]:
        self.commit()
        told = [split_spans(self.loop.run_until_complete(store.history(serial))) for store in self.stores]
        assert told[0] == told[1]
        return told[0]

    def worlds(self) -> list[dict[str, object]]:
        """What each store's records make of a new engine."""
        self.commit()
        self.restart()
        told = [self.loop.run_until_complete(loaded(store)) for store in self.stores]
        assert told[0] == told[1]
        serials = {self.loop.run_until_complete(store.serials()) for store in self.stores}
        assert serials == {(self.talk.world.last_job, self.talk.world.last_attempt, self.talk.world.last_node)}
        return [self._world(records) for records in told]

    def _world(self, records: list[Record]) -> dict[str, object]:
        engine = Engine(settings=self.talk.engine.settings)
        engine.recover(records)
        world = self.talk.world
        engine.recovered((world.last_job, world.last_attempt, world.last_node), self.talk.now)
        other = Dialogue(engine=engine)
        other.now = self.talk.now
        while engine.unfinished:
            other.step(Continued())
        other.sleep(0)
        return snapshot(engine.world)

    def compare_rows(self) -> None:
        """Both stores answer every question alike."""
        sqlite, memory = self.stores

        async def compare() -> None:
            rows = await sqlite.jobs(Page(1_000))
            assert rows == await memory.jobs(Page(1_000))
            tasks = await sqlite.tasks(Page(10_000))
            assert tasks == await memory.tasks(Page(10_000))
            ended = {row.job: row for row in rows if row.state.ended}
            for row in tasks:
                key = row.job, row.task
                assert await sqlite.attempts(*key) == await memory.attempts(*key)
                assert await sqlite.elements(*key) == await memory.elements(*key)
            for job, kept in ended.items():
                columns = zip(*(row.counts for row in tasks if row.job == job), strict=True)
                assert tuple(map(sum, columns)) == kept.counts
            assert await sqlite.nodes() == await memory.nodes()

        self.loop.run_until_complete(compare())

    def close(self) -> None:
        for store in self.stores:
            self.loop.run_until_complete(store.close())


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_rebuilt_world_equals_the_lived_one(seed: int, tmp_path: Path) -> None:
    with asyncio.Runner() as runner:
        walk = StoredWalk(seed + 1_000, runner.get_loop(), tmp_path)
        try:
            for _ in range(4):
                walk.run_some(20)
                for rebuilt in walk.worlds():
                    assert rebuilt == snapshot(walk.talk.world)
            walk.compare_rows()
        except BaseException:
            print("\n".join(walk.script))
            raise
        finally:
            walk.close()
