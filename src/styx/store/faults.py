"""What SQLite's errors mean to Styx, decided once.

Three things matter to a caller: nothing was written and the same batch may be tried again (no room); what is on disk is
unknown (an fsync failed: the kernel may have dropped the pages and will report success next time, so trying again would
lie); or the database cannot be used. A failed write is counted as no room: the transaction is rolled back, and trying again
is harmless.
"""

from __future__ import annotations

import errno
import sqlite3

from styx.errors import StoreError, StoreFull, StoreLocked, SyncFailed

__all__ = ["from_os", "translate"]

_SYNC = frozenset({sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC, sqlite3.SQLITE_IOERR_CLOSE})
_NO_ROOM = frozenset(
    {
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR_WRITE,
        sqlite3.SQLITE_IOERR_TRUNCATE,
        sqlite3.SQLITE_IOERR_SHMSIZE,
        sqlite3.SQLITE_IOERR_SHMMAP,
        sqlite3.SQLITE_IOERR_SHMOPEN,
    }
)
_HINTS = {
    sqlite3.SQLITE_CORRUPT: "restore a backup, or try `sqlite3 styx.db .recover`",
    sqlite3.SQLITE_NOTADB: "this file is not a SQLite database; move it away or restore a backup",
    sqlite3.SQLITE_READONLY: "the server needs to write to its folder: check its owner and mode",
    sqlite3.SQLITE_CANTOPEN: "the server needs to write to its folder: check its owner and mode",
    sqlite3.SQLITE_PERM: "the server needs to write to its folder: check its owner and mode",
}


def translate(error: sqlite3.Error, doing: str) -> StoreError:
    """The error to raise instead; `doing` completes "while ..."."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    text = f"{error} ({name}) while {doing}"
    primary = code & 0xFF
    if code in _SYNC:
        return SyncFailed(f"{text}: what is on disk is not known", hint="check the disk, then start the server again")
    if code in _NO_ROOM:
        return StoreFull(f"{text}: nothing was written", hint="make room on the disk, or run `styx gc`")
    if primary == sqlite3.SQLITE_BUSY:
        return StoreLocked(f"{text}: another program holds the database", hint="end what has styx.db open")
    return StoreError(text, hint=_HINTS.get(primary, ""))


def from_os(error: OSError, doing: str) -> StoreError:
    text = f"{error.strerror or error} while {doing}"
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return StoreFull(text, hint="make room on the disk")
    return StoreError(text)
