"""A consistent copy of the database while the server goes on.

The copy is read through a connection of its own, as one read transaction, so writers do not wait and the copy shows one
moment. It has no incarnation, and draws one whenever it is opened for the first time, for a server that is started on it must
not believe agents that hold attempts of the original, or of another server that was started on the same copy. It shows up
under its name only when it is complete and on disk.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
from contextlib import closing
from pathlib import Path

from styx.errors import UsageError
from styx.store.faults import from_os
from styx.store.statements import SQL

__all__ = ["copy", "part_from_old_log", "refuse", "sync_folder"]

_ROLLBACK = b"\x01\x01"  # bytes 18 and 19 of a file that keeps no WAL: a copy that was never opened


def copy(connection: sqlite3.Connection, target: Path) -> None:
    """Raises StoreError (StoreFull among them) and leaves nothing behind; an older backup of that name stays then."""
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        with closing(sqlite3.connect(part, isolation_level=None)) as made:
            connection.backup(made)
            made.execute(SQL["mark_copy"])
            made.execute("PRAGMA journal_mode = DELETE")  # one file, complete in itself
        fd = os.open(part, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
        part.replace(target)
        sync_folder(target.parent)
    except OSError as error:
        raise from_os(error, f"writing the backup {target}") from error
    finally:
        for leftover in (part, part.with_name(f"{part.name}-wal"), part.with_name(f"{part.name}-shm")):
            leftover.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make a file's name as durable as its content."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def part_from_old_log(path: Path) -> None:
    """Whoever restores a copy over the database of a server that was killed leaves that server's WAL beside it, and SQLite would
    play it into the copy. A database of ours keeps a WAL from its first moment, so one that says it keeps none is a copy, and
    the WAL belongs to something else: it is put aside. Raises OSError."""
    log = path.with_name(f"{path.name}-wal")
    with path.open("rb") as file:
        header = file.read(20)
    if header[18:] == _ROLLBACK and log.exists():
        log.replace(path.with_name(f"{path.name}-wal.replaced"))
        sync_folder(path.parent)
        path.with_name(f"{path.name}-shm").unlink(missing_ok=True)


def refuse(target: Path, folder: Path) -> None:
    """A backup must not be written over the database itself. Raises UsageError."""
    if target.resolve().parent == folder.resolve() and target.name.startswith("styx."):
        raise UsageError(f"{target} belongs to the running database", hint="write the backup somewhere else")
