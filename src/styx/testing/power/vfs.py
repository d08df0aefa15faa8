"""SQLite's writes and syncs on a tape.

The standard library's SQLite does not let anybody look. apsw brings one of its own that does: a VFS passes everything on to the
real one and notes what changes files. `Connection` gives it the face of a `sqlite3.Connection`, as far as the store needs one, so that
the store's own statements run in the store's own threads with the store's own settings.

apsw is needed for tests only: `pip install apsw`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import count, islice
from pathlib import Path
from typing import Any

import apsw

from styx.testing.power.disk import Deleted, FolderSynced, Made, Synced, Tape, Truncated, Written

__all__ = ["Connection", "RecordingVFS"]

_READ_WRITE = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
_FOLDER_TOO = apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_WAL | apsw.SQLITE_OPEN_SUPER_JOURNAL
"""SQLite's unix VFS syncs the folder of a journal or WAL with its first sync, and of nothing else."""

_serials = count(1)


class RecordingVFS(apsw.VFS):
    """The default VFS, seen. Registered under `name` for as long as it lives."""

    def __init__(self, tape: Tape) -> None:
        self.tape = tape
        self.name = f"styx-power-{next(_serials)}"
        super().__init__(self.name, "")

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
        return _File(self.tape, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:
        super().xDelete(filename, syncdir)
        self.tape.add(Deleted(filename))
        if syncdir:
            self.tape.add(FolderSynced(str(Path(filename).parent)))


class _File(apsw.VFSFile):
    def __init__(self, tape: Tape, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        super().__init__("", name, flags)
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        self._path = path or ""  # "": a temporary file, which does not outlive a crash anyway
        self._tape = tape
        self._names_unsynced = bool(flags[0] & _FOLDER_TOO)
        if self._path and self._path not in tape.names:
            tape.add(Made(self._path))

    def xWrite(self, data: Any, offset: int) -> None:
        super().xWrite(data, offset)
        if self._path:
            self._tape.add(Written(self._path, offset, bytes(data)))

    def xTruncate(self, newsize: int) -> None:
        super().xTruncate(newsize)
        if self._path:
            self._tape.add(Truncated(self._path, newsize))

    def xSync(self, flags: int) -> None:
        super().xSync(flags)
        if self._path:
            self._tape.add(Synced(self._path))
            if self._names_unsynced:
                self._names_unsynced = False
                self._tape.add(FolderSynced(str(Path(self._path).parent)))


class _Cursor:
    """What the store asks of a `sqlite3.Cursor`."""

    def __init__(self, cursor: apsw.Cursor, connection: apsw.Connection) -> None:
        self._cursor = cursor
        self.fetchone = cursor.fetchone
        self.fetchall = cursor.fetchall
        self.rowcount = connection.changes()
        self.lastrowid = connection.last_insert_rowid()

    def __iter__(self) -> Any:
        return iter(self._cursor)

    def fetchmany(self, size: int) -> list[Any]:
        return list(islice(self._cursor, size))


class Connection:
    """`committed` is called after each transaction that changed something, in the connection's thread, with the statements of it."""

    def __init__(
        self, vfs: RecordingVFS, path: Path, *, committed: Callable[[Connection, list[str]], None] | None = None
    ) -> None:
        self._connection = apsw.Connection(str(path), flags=_READ_WRITE, vfs=vfs.name)
        self._connection.set_busy_timeout(5_000)
        self._committed = committed
        self._changes = 0
        self._statements: list[str] = []

    @property
    def in_transaction(self) -> bool:
        return self._connection.in_transaction

    def execute(self, sql: str, parameters: Iterable[Any] = ()) -> _Cursor:
        cursor = _Cursor(self._connection.execute(sql, tuple(parameters)), self._connection)
        self._after(sql)
        return cursor

    def executemany(self, sql: str, rows: Iterable[Iterable[Any]]) -> _Cursor:
        cursor = _Cursor(self._connection.executemany(sql, (tuple(row) for row in rows)), self._connection)
        self._after(sql)
        return cursor

    def executescript(self, sql: str) -> None:
        self._connection.execute(sql).fetchall()
        self._after(sql)

    def close(self) -> None:
        self._connection.close()

    def _after(self, sql: str) -> None:
        if self._committed is None:
            return
        self._statements.append(sql)
        if self._connection.in_transaction:
            return
        statements, self._statements = self._statements, []
        changes = self._connection.total_changes()
        if changes != self._changes:
            self._changes = changes
            self._committed(self, statements)
