"""Room put aside: who gets it, when it is given up, and when it is put aside again."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from styx.errors import StoreFull
from styx.store import reserve as reserve_module
from styx.store import sqlite as sqlite_module
from styx.store.base import Batch, Page
from styx.store.reserve import Reserve
from styx.store.sqlite import SqliteStore
from styx.testing.contracts.store.telling import refused, submitted

MB = 1 << 20


def no_room(times: int, real: Callable[..., Any], before: Callable[[], None] = lambda: None) -> Callable[..., Any]:
    """`real`, but the first `times` calls find no room."""
    left = times

    def call(*arguments: Any) -> Any:
        nonlocal left
        before()
        if left:
            left -= 1
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            error.sqlite_errorname = "SQLITE_FULL"
            raise error
        return real(*arguments)

    return call


def test_it_takes_no_more_than_a_part_of_what_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = 16 * MB
    monkeypatch.setattr(reserve_module.os, "statvfs", lambda path: SimpleNamespace(f_bavail=free, f_frsize=1))
    file = tmp_path / "styx.reserve"
    room = Reserve(file, 8 * MB)
    assert room.hold()
    assert file.stat().st_size == file.stat().st_blocks * 512 == 2 * MB
    assert file.stat().st_mode & 0o777 == 0o600
    assert room.release()
    assert not file.exists()
    assert not room.release()
    free = 4 * MB - 1  # as much must be left beside it, or it would be needed again at once
    assert not room.hold()
    free = 4 * MB
    assert room.hold()


def test_a_disk_that_is_nearly_full_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reserve_module.os, "statvfs", lambda path: SimpleNamespace(f_bavail=100_000, f_frsize=1))
    room = Reserve(tmp_path / "styx.reserve")
    assert not room.hold()
    assert os.listdir(tmp_path) == []


def test_the_batch_that_finds_no_room_gets_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "styx.reserve"
    seen: list[bool] = []

    async def main() -> None:
        store = SqliteStore(tmp_path, reserve=MB)
        epoch = (await store.open()).epoch
        assert file.stat().st_size == MB
        assert store.low == ""
        monkeypatch.setattr(
            sqlite_module, "write", no_room(1, sqlite_module.write, before=lambda: seen.append(file.exists()))
        )
        await store.commit(epoch, Batch(submitted(1)))
        assert seen == [True, False]
        assert "full" in store.low
        assert [row.job for row in await store.jobs(Page())] == [1]
        await store.commit(epoch, Batch(submitted(2)))
        assert store.low  # that there was room once does not mean that there is enough
        assert await store.regain()
        assert store.low == ""
        assert file.exists()
        await store.close()
        assert not file.exists()  # a folder at rest is not larger for it

    asyncio.run(main())


def test_when_it_is_used_up_nothing_is_written_and_the_caller_hears_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        store = SqliteStore(tmp_path, reserve=MB)
        epoch = (await store.open()).epoch
        monkeypatch.setattr(sqlite_module, "write", no_room(3, sqlite_module.write))
        for _ in range(2):
            await refused(store.commit(epoch, Batch(submitted(1))), StoreFull)
        assert await store.jobs(Page()) == []
        await store.commit(epoch, Batch(submitted(1)))
        await store.close()

    asyncio.run(main())


def test_a_server_that_starts_on_a_full_disk_lives_on_what_the_one_before_had_put_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        store = SqliteStore(tmp_path, reserve=MB)
        epoch = (await store.open()).epoch
        await store.commit(epoch, Batch(submitted(1)))
        await store.close()
        (tmp_path / "styx.reserve").write_bytes(bytes(MB))  # as kill -9 leaves it
        monkeypatch.setattr(sqlite_module, "_take_over", no_room(1, sqlite_module._take_over))
        again = SqliteStore(tmp_path, reserve=MB)
        opened = await again.open()
        assert opened.epoch == epoch + 1
        assert again.low
        assert not (tmp_path / "styx.reserve").exists()
        await again.commit(opened.epoch, Batch(submitted(2)))
        await again.close()

    asyncio.run(main())


def test_without_it_such_a_server_does_not_start_and_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_module, "_take_over", no_room(1, sqlite_module._take_over))
    store = SqliteStore(tmp_path)
    error = asyncio.run(refused(store.open(), StoreFull))
    assert "full" in error.message
    assert "room" in error.hint
    asyncio.run(store.open())  # and it let go of the folder
