"""The power goes in the middle of things, thousands of times: nothing acknowledged is lost, and nothing is ever corrupt.

The same harness has to find what is really wrong, or it proves nothing: with `synchronous=NORMAL`, a store that answers before it commits
and output that is not synced, acknowledged work is lost, and with `synchronous=OFF` the database does not even hold together.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from styx.store.base import Batch
from styx.testing.power.disk import Tape
from styx.testing.power.recorder import RecordedStore, record
from styx.testing.power.verdict import Report, cuts, lay_out

CHAINS = 5
GENERATIONS = 5  # each goes on from what a cut of the one before left, so that cuts fall into recoveries, too
CUTS = 200  # of each generation


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A folder in memory where there is one: what is judged are the syncs that were asked for, not how long a disk takes."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        yield Path(folder)


def play(scratch: Path, *, seed: int, generations: int, count: int, jobs: int = 50, **options: Any) -> Report:
    async def run() -> Report:
        report = Report()
        image: dict[str, bytes] = {}
        home = scratch
        for generation in range(generations):
            before, home = home, scratch / f"home-{generation}"
            home.mkdir()
            lay_out(image, before, home)
            number = 1_000 * seed + generation
            tape = await record(home, jobs=jobs, seed=number, **options)
            image = await cuts(tape, home, scratch, count=count, seed=number, report=report)
        return report

    return asyncio.run(run())


@pytest.mark.parametrize("seed", range(CHAINS))
def test_nothing_acknowledged_is_lost_and_nothing_is_corrupt(seed: int, scratch: Path, tmp_path: Path) -> None:
    report = play(scratch, seed=seed, generations=GENERATIONS, count=CUTS)
    print(
        f"[figure] power loss: cuts={report.cuts}, with something to lose={report.unsynced}, inside checkpoints={report.checkpoints}, "
        f"kept a commit that had not returned={report.ahead}, started a control plane={report.started}, {report.kinds() or 'no findings'}"
    )
    if report.findings:
        shutil.copytree(scratch, tmp_path / "found")
    assert not report.findings, f"{report.kinds()}, kept in {tmp_path}: {report.findings[:5]}"
    assert report.cuts == GENERATIONS * CUTS
    assert report.unsynced > report.cuts // 2
    assert report.checkpoints > report.cuts // 50
    assert report.ahead > report.cuts // 50


def test_synchronous_normal_is_caught(scratch: Path) -> None:
    def make(folder: Path, tape: Tape) -> RecordedStore:
        return RecordedStore(folder, tape, synchronous="NORMAL")

    report = play(scratch, seed=0, generations=1, count=200, make=make)
    kinds = report.kinds()
    assert kinds["lost"] > 20
    assert "corrupt" not in kinds  # so a check of the file alone would not have found it


def test_synchronous_off_is_caught(scratch: Path) -> None:
    def make(folder: Path, tape: Tape) -> RecordedStore:
        return RecordedStore(folder, tape, synchronous="OFF")

    kinds = play(scratch, seed=0, generations=1, count=200, make=make).kinds()
    assert kinds["lost"] > 20
    assert kinds["corrupt"] > 5


class Hasty(RecordedStore):
    """Says that a batch is on disk when it has only been asked to put it there."""

    under_way: ClassVar[set[asyncio.Future[None]]] = set()

    async def _write(self, epoch: int, batch: Batch) -> None:
        writing = asyncio.ensure_future(super()._write(epoch, batch))
        self.under_way.add(writing)
        writing.add_done_callback(self.under_way.discard)
        await asyncio.sleep(0)

    async def close(self) -> None:
        while self.under_way:
            await asyncio.wait(self.under_way)
        await super().close()


def test_a_store_that_answers_before_it_commits_is_caught(scratch: Path) -> None:
    kinds = play(scratch, seed=0, generations=1, count=200, make=Hasty).kinds()
    assert kinds["lost"] > 20
    assert "corrupt" not in kinds


def test_output_that_is_not_synced_is_caught(scratch: Path) -> None:
    kinds = play(scratch, seed=0, generations=1, count=100, output_synced=False).kinds()
    assert set(kinds) == {"output"}
