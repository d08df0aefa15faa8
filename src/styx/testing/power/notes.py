"""What was promised to whom, and when: the notes on a tape, and what they add up to at a cut."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import msgspec

from styx.testing.power.disk import Note, Tape

__all__ = ["Acknowledged", "Began", "History", "JobAnswered", "OutputAnswered", "State", "fingerprint"]


class Began(msgspec.Struct, frozen=True):
    """The store was opened, and said so."""

    incarnation: str
    epoch: int


class State(msgspec.Struct, frozen=True):
    """A transaction was committed. `batches` counts those that were batches of the loop; `gone` are jobs that it was meant to drop."""

    batches: int
    digest: bytes
    gone: frozenset[bytes] = frozenset()


class Acknowledged(msgspec.Struct, frozen=True):
    """The store said that all of this is on disk: so many batches, and the state with this number, counted from 1."""

    batches: int = 0
    state: int = 0


class JobAnswered(msgspec.Struct, frozen=True):
    """A caller was told that its job is accepted."""

    id: bytes


class OutputAnswered(msgspec.Struct, frozen=True):
    """An agent was told that it need not keep a stream's bytes before `offset`."""

    job: bytes
    attempt: int
    stream: int
    offset: int


class History:
    """All states of a tape, and what had been promised by the place that was reached."""

    def __init__(self, tape: Tape) -> None:
        self.states = [
            entry.about for entry in tape.entries if isinstance(entry, Note) and isinstance(entry.about, State)
        ]
        self._numbers: dict[bytes, list[int]] = {}
        for number, state in enumerate(self.states, 1):
            self._numbers.setdefault(state.digest, []).append(number)
        self.began: Began | None = None
        self.reached = 0  # states
        self.batches = 0  # acknowledged
        self.state = 0  # acknowledged
        self.jobs: set[bytes] = set()
        self.outputs: dict[tuple[int, int], OutputAnswered] = {}

    def add(self, notes: Iterable[Note]) -> None:
        for note in notes:
            about = note.about
            match about:
                case State():
                    self.reached += 1
                case Acknowledged():
                    self.batches = max(self.batches, about.batches)
                    self.state = max(self.state, about.state)
                case JobAnswered():
                    self.jobs.add(about.id)
                case OutputAnswered():
                    self.outputs[about.attempt, about.stream] = about
                case Began():
                    self.began = about
                case _:
                    raise TypeError(f"{about!r} is no note of this harness")

    def dropped(self, state: int) -> frozenset[bytes]:
        """Jobs that are no longer there in the state with this number, as was meant."""
        return frozenset().union(*(one.gone for one in self.states[:state]))

    def find(self, digest: bytes) -> int | None:
        """The number of the state that looks like this: one that was reached, or the one whose commit was under way."""
        numbers = [number for number in self._numbers.get(digest, ()) if number <= self.reached + 1]
        return max(numbers, default=None)


def fingerprint(connection: Any) -> bytes:
    """All that the database says, but for the epoch, which each opening raises."""
    digest = hashlib.blake2b(digest_size=16)
    tables = connection.execute("SELECT name, sql FROM sqlite_master ORDER BY type, name").fetchall()
    digest.update(repr(tables).encode())
    for name, sql in tables:
        if sql is None or not sql.startswith("CREATE TABLE"):
            continue
        rows = connection.execute(f"SELECT * FROM {name}").fetchall()
        if name == "meta":
            columns = [column[1] for column in connection.execute("PRAGMA table_info(meta)").fetchall()]
            epoch = columns.index("epoch")
            rows = [(*row[:epoch], *row[epoch + 1 :]) for row in rows]
        digest.update(name.encode())
        digest.update("\n".join(sorted(map(repr, rows))).encode())
    return digest.digest()
