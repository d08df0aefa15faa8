"""What a cut left, judged.

The folder is opened by the shipped store with the standard library's SQLite, as a server would after the power came back. It must be whole;
it must be in a state that was really there, which makes every batch whole or absent; and that state must hold everything that anybody had
been told.
"""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import msgspec

from styx.compose import ControlPlane
from styx.core.apply import BrokenInvariant
from styx.core.invariants import check
from styx.errors import NotFound, StoreError
from styx.runtime.output import OutputStore
from styx.store.base import OutputRow
from styx.store.link import open_reader
from styx.store.sqlite import SqliteStore
from styx.testing.power.disk import Platter, Tape
from styx.testing.power.notes import History, OutputAnswered, fingerprint
from styx.testing.power.recorder import pattern

__all__ = ["Finding", "Report", "cuts", "examine", "lay_out"]

_STARTED = 0.03  # the share of cuts after which a whole control plane is started
_SAMPLE = 2  # streams read through the shipped OutputStore at each cut


class Finding(msgspec.Struct, frozen=True):
    """`kind`: corrupt (it cannot be used), torn (a state that never was), lost (an answer without its deed), fence (incarnation or
    epoch), output (bytes that were acknowledged)."""

    kind: str
    place: int
    text: str


class Report(msgspec.Struct):
    cuts: int = 0
    unsynced: int = 0  # cuts that had anything to lose
    checkpoints: int = 0  # cuts while pages were being moved into the database
    ahead: int = 0  # cuts that kept a commit that had not returned
    started: int = 0  # cuts after which a whole control plane was started
    findings: list[Finding] = []

    def kinds(self) -> dict[str, int]:
        return {
            kind: sum(finding.kind == kind for finding in self.findings)
            for kind in dict.fromkeys(finding.kind for finding in self.findings)
        }


class _Look(msgspec.Struct, frozen=True):
    integrity: str
    digest: bytes
    jobs: frozenset[bytes]
    outputs: list[OutputRow]


def _look(connection: Any) -> _Look:
    (integrity,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    jobs = connection.execute("SELECT id FROM jobs").fetchall()
    rows = connection.execute("SELECT attempt, stream, offset, length, segment, position FROM outputs ORDER BY 1, 2, 3")
    return _Look(
        integrity, fingerprint(connection), frozenset(row[0] for row in jobs), [OutputRow(*row) for row in rows]
    )


def lay_out(image: dict[str, bytes], origin: Path, folder: Path) -> None:
    """Write the files of an image, which are named as they were in `origin`, into `folder`."""
    (folder / "output").mkdir(parents=True, exist_ok=True)
    for path, content in image.items():
        (folder / Path(path).relative_to(origin)).write_bytes(content)


async def cuts(tape: Tape, origin: Path, scratch: Path, *, count: int, seed: int, report: Report) -> dict[str, bytes]:
    """Cut the power `count` times at random places of a tape and judge what is left; returns one of these images."""
    dice = random.Random(seed)
    platter, history = Platter(tape), History(tape)
    kept: dict[str, bytes] = {}
    chosen = dice.randrange(count)
    for number, place in enumerate(sorted(dice.randint(0, len(tape.entries)) for _ in range(count))):
        history.add(platter.advance(place))
        image = platter.cut(dice)
        folder = scratch / f"cut-{seed}-{number}"
        folder.mkdir()
        lay_out(image, origin, folder)
        before = len(report.findings)
        report.unsynced += platter.unsynced() > 0
        report.checkpoints += platter.unsynced(f"{origin}/styx.db") > 0
        await examine(folder, image, origin, history, place, dice, report)
        if len(report.findings) == before:
            _remove(folder)
        if number == chosen:
            kept = image
    return kept


async def examine(
    folder: Path,
    image: dict[str, bytes],
    origin: Path,
    history: History,
    place: int,
    dice: random.Random,
    report: Report,
) -> None:
    """Judge one folder; what is wrong goes into the report."""

    def found(kind: str, text: str) -> None:
        report.findings.append(Finding(kind, place, text))

    report.cuts += 1
    store = SqliteStore(folder, reserve=0)
    try:
        opened = await store.open()
    except StoreError as error:
        found("corrupt", error.message)
        return
    try:
        link = await open_reader(store.path)
        try:
            seen = await link.run(_look)
        finally:
            await link.close()
        if seen.integrity != "ok":
            found("corrupt", seen.integrity)
            return
        began = history.began
        if began is None:
            return  # nobody had been told anything yet
        if opened.incarnation != began.incarnation:
            found("fence", f"the incarnation was {began.incarnation} and is {opened.incarnation}")
        if opened.epoch <= began.epoch:
            found("fence", f"epoch {opened.epoch} does not come after {began.epoch}")
        state = history.find(seen.digest)
        if state is None:
            found("torn", "what the database says was never so")
        else:
            report.ahead += state > history.reached
            batches = history.states[state - 1].batches
            if batches < history.batches:
                found("lost", f"{history.batches} batches were acknowledged, and {batches} are there")
            if state < history.state:
                found("lost", f"state {history.state} was acknowledged, and this is state {state}")
        dropped = history.dropped(state or history.reached)
        for job in history.jobs - dropped - seen.jobs:
            found("lost", f"job {job.hex()} was accepted and is not there")
        answered = [one for one in history.outputs.values() if one.job not in dropped]
        _judge_outputs(seen.outputs, image, origin, answered, found)
        await _read_outputs(folder, store, dice.sample(answered, min(_SAMPLE, len(answered))), found)
    except (StoreError, UnicodeError) as error:
        found("corrupt", str(error))
        return
    finally:
        await store.close()
    if dice.random() < _STARTED:
        await _start(folder, found)
        report.started += 1


def _judge_outputs(
    rows: list[OutputRow], image: dict[str, bytes], origin: Path, promised: list[OutputAnswered], found: Any
) -> None:
    """Each row points at the bytes that were written, and the rows cover what was acknowledged."""
    ends: dict[tuple[int, int], int] = {}
    for row in rows:
        content = image.get(f"{origin}/output/{row.segment:08d}.seg", b"")
        data = content[row.position : row.position + row.length]
        if data != pattern(row.attempt, row.stream)[row.offset : row.offset + row.length]:
            found("output", f"{row} points at other bytes")
        key = (row.attempt, row.stream)
        if row.offset <= ends.get(key, 0):
            ends[key] = max(ends.get(key, 0), row.offset + row.length)
    for answered in promised:
        end = ends.get((answered.attempt, answered.stream), 0)
        if end < answered.offset:
            found("output", f"{answered} is covered to {end}")


async def _start(folder: Path, found: Any) -> None:
    """A whole control plane starts on it, and its world is sound."""
    try:
        async with ControlPlane.open(folder, agent=False) as plane:
            check(plane.shell.engine.world)
    except (StoreError, BrokenInvariant) as error:
        found("corrupt", f"no control plane starts on it: {error}")


async def _read_outputs(folder: Path, store: SqliteStore, promised: list[OutputAnswered], found: Any) -> None:
    """Some of what was acknowledged, through the door that readers use."""
    if not promised:
        return
    output = OutputStore(folder / "output", store)
    await output.open()
    answered = promised[0]
    try:
        for answered in promised:
            piece = await output.read(answered.attempt, answered.stream, 0, answered.offset)
            if piece.data != pattern(answered.attempt, answered.stream)[: answered.offset]:
                found("output", f"{answered} reads differently")
    except (StoreError, NotFound) as error:
        found("output", f"{answered}: {error.message}")
    finally:
        await output.close()


def _remove(folder: Path) -> None:
    for path in (*(folder / "output").iterdir(), *folder.iterdir()):
        if not path.is_dir():
            os.unlink(path)
    (folder / "output").rmdir()
    folder.rmdir()
