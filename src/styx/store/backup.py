"""A consistent copy of the database while the server goes on.

The copy is read through a connection of its own, as one read transaction, so writers do not wait and the copy shows one
moment. It gets a new incarnation, for a server that is started on it must not believe agents that hold attempts of the
original; and it shows up under its name only when it is complete and on disk.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
from contextlib import closing
from pathlib import Path

from styx.errors import StoreError
from styx.store.faults import from_os
from styx.store.statements import SQL

__all__ = ["copy", "sync_folder"]


def copy(connection: sqlite3.Connection, target: Path) -> None:
    """Raises StoreError (StoreFull among them) and leaves nothing behind; an older backup of that name stays then."""
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        with closing(sqlite3.connect(part, isolation_level=None)) as made:
            connection.backup(made)
            made.execute(SQL["renew"], (secrets.token_hex(8),))
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


def refuse(target: Path, folder: Path) -> None:
    """A backup must not be written over the database itself."""
    if target.resolve().parent == folder.resolve() and target.name.startswith("styx."):
        raise StoreError(f"{target} belongs to the running database", hint="write the backup somewhere else")
