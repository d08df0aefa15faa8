"""Numbered migrations: `migrations/NNNN_what.sql`, applied in order, each in one transaction with its number.

`PRAGMA user_version` is part of the database file and of the transaction, so a migration that fails half-way, or a
machine that goes down in the middle of one, leaves the database as it was before it. Migrations are only ever added.
"""

from __future__ import annotations

import sqlite3
from importlib.resources import files

from styx.errors import StoreError
from styx.store.faults import translate

__all__ = ["Migration", "migrate", "migrations"]

Migration = tuple[int, str, str]
"""(number from 1, file name, SQL without BEGIN and COMMIT)."""


def migrations() -> list[Migration]:
    """Those that come with this program, in order; raises ValueError when a number is missing or used twice."""
    found = [
        (int(entry.name[:4]), entry.name, entry.read_text("utf-8"))
        for entry in (files("styx.store") / "migrations").iterdir()
        if entry.name.endswith(".sql")
    ]
    found.sort()
    if [number for number, _, _ in found] != list(range(1, len(found) + 1)):
        raise ValueError(f"migrations are not numbered 1, 2, 3, ...: {[name for _, name, _ in found]}")
    return found


def migrate(connection: sqlite3.Connection, steps: list[Migration]) -> None:
    """Bring the database up to the last step; the connection is in autocommit mode.

    Raises StoreError when the database is newer than the program or a migration fails.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    newest = steps[-1][0] if steps else 0
    if version > newest:
        raise StoreError(
            f"this database is of version {version}, and this program knows versions up to {newest}",
            hint="install the newer Styx again, or restore a backup made before the upgrade",
        )
    for number, name, sql in steps[version:]:
        try:
            connection.executescript(f"BEGIN IMMEDIATE;\n{sql}\n;PRAGMA user_version = {number};\nCOMMIT;")
        except sqlite3.Error as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise translate(error, f"applying migration {name}, which was rolled back") from error
