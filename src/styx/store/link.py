"""Connections to the database file: each is a thread of its own that works off functions one after the other.

aiosqlite hands each statement to its thread by itself. `run` hands over a whole function instead, so that a batch, or a
read of several statements, costs one hop there and back however many statements it takes.

One connection writes and checkpoints, all others are read-only: SQLite 3.7 to 3.51 can corrupt a database when one
connection checkpoints while another writes (the WAL-reset bug).
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from threading import Thread
from typing import Concatenate, ParamSpec, TypeVar, cast

import aiosqlite

from styx.errors import StoreError
from styx.store.faults import translate

__all__ = ["Link", "open_link", "open_reader", "open_writer", "set_up_reader", "set_up_writer"]

P = ParamSpec("P")
T = TypeVar("T")

BUSY_TIMEOUT = 5_000  # milliseconds; only a foreign program can make us wait at all
WAL_LIMIT = 64 << 20  # bytes that the WAL file keeps after a checkpoint emptied it
BACKSTOP = 16_384  # pages; SQLite's own checkpoint inside a commit, should ours have fallen behind
CACHED_STATEMENTS = 256
CACHE = 4_096  # KiB of pages that the writer keeps; eight times as many make it no faster


class Link(aiosqlite.Connection):
    """An aiosqlite connection that takes whole functions."""

    @property
    def raw(self) -> sqlite3.Connection:
        """For what is prepared here and used within `run`."""
        return self._conn

    async def run(
        self, function: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call `function(connection, ...)` in this connection's thread. sqlite3's errors come out as StoreErrors."""
        if self._connection is None:
            raise StoreError("the store is closed")
        try:
            execute = cast("Callable[..., Awaitable[T]]", self._execute)  # untyped in aiosqlite
            return await execute(function, self._conn, *args, **kwargs)
        except sqlite3.Error as error:
            raise translate(error, f"working on the database ({function.__name__})") from error


def _connect(uri: str) -> sqlite3.Connection:
    return sqlite3.connect(
        uri, uri=True, isolation_level=None, cached_statements=CACHED_STATEMENTS, timeout=BUSY_TIMEOUT / 1_000
    )


def set_up_writer(connection: sqlite3.Connection) -> None:
    """What makes a commit durable."""
    # Order matters: the journal mode first, as it is a property of the file and the others are of the connection.
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = OFF")
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute(f"PRAGMA cache_size = -{CACHE}")
    connection.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT}")
    connection.execute(f"PRAGMA wal_autocheckpoint = {BACKSTOP}")


def set_up_reader(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA query_only = ON")


def _writer(path: Path) -> sqlite3.Connection:
    return _set_up(_connect(path.as_uri()), set_up_writer)


def _reader(path: Path) -> sqlite3.Connection:
    return _set_up(_connect(f"{path.as_uri()}?mode=ro"), set_up_reader)


def _set_up(connection: sqlite3.Connection, steps: Callable[[sqlite3.Connection], None]) -> sqlite3.Connection:
    try:
        steps(connection)
    except UnicodeDecodeError as error:
        # SQLite quotes what it found in a damaged schema, and the module cannot read the quotation.
        connection.close()
        raise sqlite3.DatabaseError("the database is damaged: its schema cannot be read") from error
    except sqlite3.Error:
        connection.close()
        raise
    return connection


async def open_writer(path: Path) -> Link:
    return await open_link(path, _writer)


async def open_reader(path: Path) -> Link:
    """The writer must be open: a read-only connection cannot recover a WAL by itself."""
    return await open_link(path, _reader)


async def open_link(path: Path, connector: Callable[[Path], sqlite3.Connection]) -> Link:
    """A link over whatever `connector` makes, in a thread of its own."""
    link = Link(lambda: connector(path), 64)
    thread = cast("Thread", getattr(link, "_thread", link))  # up to aiosqlite 0.21 the connection is the thread
    # A program that ends without closing its store must end all the same; what was answered for is on disk.
    thread.daemon = True
    try:
        await link
    except sqlite3.Error as error:
        # aiosqlite has told the thread to stop and does not wait; its last word goes to this loop, which may end now.
        await asyncio.to_thread(thread.join)
        raise translate(error, f"opening {path}") from error
    return link
