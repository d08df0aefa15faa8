"""What only the store on disk can get wrong: locks, crashes, full disks, failed syncs, migrations, copies."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from styx.core.records import AttemptAssigned, JobRevived, Record
from styx.core.spec import TaskSpec
from styx.core.states import TaskState
from styx.errors import StaleEpoch, StoreError, StoreFull, StoreLocked, SyncFailed, UsageError
from styx.store import migrate as migrate_module
from styx.store import sqlite as sqlite_module
from styx.store.base import Batch, OutputRow, Page, TokenRow
from styx.store.faults import translate
from styx.store.migrate import migrate, migrations
from styx.store.sqlite import SqliteStore
from styx.testing.contracts.store.telling import AT, ended, job_ended, loaded, refused, submitted

ARRAY = TaskSpec("a", ("x",), array=100_000)


def assigned(attempt: int, job: int = 1) -> Record:
    return AttemptAssigned(attempt, job, 0, attempt, 1, 1, AT)


def scene(folder: Path, play: Callable[[SqliteStore, int], Awaitable[None]]) -> None:
    async def run() -> None:
        store = SqliteStore(folder)
        opened = await store.open()
        try:
            await play(store, opened.epoch)
        finally:
            await store.close()

    asyncio.run(run())


def python(script: str, *arguments: str, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


# --- the folder ------------------------------------------------------------------------------------------------------


def test_nobody_else_may_read_the_database(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "home"

    async def play(store: SqliteStore, epoch: int) -> None:
        await store.commit(epoch, Batch(submitted(1)))
        for file in folder.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert await store.size() >= (folder / "styx.db").stat().st_size > 0

    scene(folder, play)


def test_a_second_store_is_refused_and_told_who_has_it(tmp_path: Path) -> None:
    async def play(store: SqliteStore, epoch: int) -> None:
        error = await refused(SqliteStore(tmp_path).open(), StoreLocked)
        assert f"process {os.getpid()}" in error.message
        assert str(tmp_path) in error.message
        await store.commit(epoch, Batch(submitted(1)))

    scene(tmp_path, play)
    scene(tmp_path, lambda store, epoch: store.commit(epoch, Batch(submitted(2))))


def test_another_process_is_refused(tmp_path: Path) -> None:
    script = """if 1:
        import asyncio, sys
        from pathlib import Path
        from styx.errors import StoreLocked
        from styx.store.sqlite import SqliteStore
        try:
            asyncio.run(SqliteStore(Path(sys.argv[1])).open())
        except StoreLocked as error:
            print(error.message)
    """

    async def play(store: SqliteStore, epoch: int) -> None:
        out, _ = await asyncio.to_thread(python(script, str(tmp_path)).communicate)
        assert f"process {os.getpid()}" in out

    scene(tmp_path, play)


def test_a_program_that_never_closes_its_store_ends(tmp_path: Path) -> None:
    script = """if 1:
        import asyncio, sys
        from pathlib import Path
        from styx.store.sqlite import SqliteStore
        store = SqliteStore(Path(sys.argv[1]))
        asyncio.run(store.open())
    """
    process = python(script, str(tmp_path))
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors


def test_a_file_that_is_no_database_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "styx.db").write_text("not a database, but long enough to be read as one " * 100)
    for _ in range(2):  # and the lock was given up
        error = asyncio.run(refused(SqliteStore(tmp_path).open(), StoreError))
        assert "SQLITE_NOTADB" in error.message
        assert error.hint


def test_a_folder_that_cannot_be_made_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    error = asyncio.run(refused(SqliteStore(tmp_path / "file" / "home").open(), StoreError))
    assert "Not a directory" in error.message


def test_a_closed_store_says_so(tmp_path: Path) -> None:
    async def play() -> None:
        store = SqliteStore(tmp_path)
        await refused(store.jobs(Page()), StoreError)
        opened = await store.open()
        await refused(store.open(), StoreError)
        await store.close()
        await store.close()
        await refused(store.commit(opened.epoch, Batch(submitted(1))), StoreError)

    asyncio.run(play())


# --- committing ------------------------------------------------------------------------------------------------------


def test_a_server_that_took_over_stops_the_old_one(tmp_path: Path) -> None:
    async def play(store: SqliteStore, epoch: int) -> None:
        await store.commit(epoch, Batch(submitted(1)))
        other = sqlite3.connect(tmp_path / "styx.db")
        with other:
            other.execute("UPDATE meta SET epoch = epoch + 1")
        other.close()
        await refused(store.commit(epoch, Batch(submitted(2))), StaleEpoch)
        assert [row.job for row in await store.jobs(Page())] == [1]

    scene(tmp_path, play)


def test_readers_see_each_commit_and_cannot_write(tmp_path: Path) -> None:
    async def play(store: SqliteStore, epoch: int) -> None:
        for job in range(1, 20):
            await store.commit(epoch, Batch(submitted(job)))
            assert (await store.jobs(Page(1)))[0].job == job
        await refused(store._reader.run(lambda connection: connection.execute("DELETE FROM jobs")), StoreError)

    scene(tmp_path, play)


def test_what_was_answered_survives_kill_9(tmp_path: Path) -> None:
    script = """if 1:
        import asyncio, sys
        from pathlib import Path
        from styx.core.records import AttemptAssigned
        from styx.store.base import Batch
        from styx.store.sqlite import SqliteStore
        from styx.testing.contracts.store.telling import submitted
        async def main():
            store = SqliteStore(Path(sys.argv[1]))
            epoch = (await store.open()).epoch
            await store.commit(epoch, Batch(submitted(1)))
            for n in range(1_000_000):
                await store.commit(epoch, Batch([AttemptAssigned(7 * n + k + 1, 1, 0, 0, 1, 1, 5) for k in range(7)]))
                print(n, flush=True)
        asyncio.run(main())
    """
    process = python(script, str(tmp_path))
    assert process.stdout is not None
    answered = -1
    for line in process.stdout:
        answered = int(line)
        if answered >= 50:
            break
    process.send_signal(signal.SIGKILL)
    rest, _ = process.communicate()
    answered = max([answered, *(int(line) for line in rest.split("\n") if line.strip().isdigit())])

    async def play(store: SqliteStore, epoch: int) -> None:
        rows = await store.attempts(1, 0)
        assert len(rows) % 7 == 0
        assert len(rows) // 7 >= answered + 1
        assert epoch == 2

    scene(tmp_path, play)


def test_a_full_disk_writes_nothing_and_the_same_batch_goes_in_later(tmp_path: Path) -> None:
    async def limit(store: SqliteStore, pages: int) -> None:
        await store._writer.run(lambda connection: connection.execute(f"PRAGMA max_page_count = {pages}").fetchall())

    async def play(store: SqliteStore, epoch: int) -> None:
        await store.commit(epoch, Batch(submitted(1, ARRAY)))
        before = await loaded(store)
        await limit(store, 1)  # as many as there are
        batch = Batch([assigned(k) for k in range(1, 5_000)], b"e" * 50_000, 1, 9, AT)
        for _ in range(2):
            error = await refused(store.commit(epoch, batch), StoreFull)
            assert "nothing was written" in error.message
            assert await loaded(store) == before
            assert await store.events(0, 10) == []
        await limit(store, 1 << 30)
        await store.commit(epoch, batch)
        assert len(await store.attempts(1, 0)) == 4_999

    scene(tmp_path, play)


def test_a_write_that_the_system_refuses_counts_as_no_room(tmp_path: Path) -> None:
    script = """if 1:
        import asyncio, resource, sys
        from pathlib import Path
        from styx.errors import StoreFull
        from styx.store.base import Batch
        from styx.store.sqlite import SqliteStore
        async def main():
            store = SqliteStore(Path(sys.argv[1]))
            epoch = (await store.open()).epoch
            _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            size = (Path(sys.argv[1]) / "styx.db-wal").stat().st_size
            resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10_000, hard))
            batch = Batch([], b"e" * 1_000_000, 1, 9, 5)
            for _ in range(2):
                try:
                    await store.commit(epoch, batch)
                except StoreFull as error:
                    print("full:", error.message)
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
            await store.commit(epoch, batch)
            print(len((await store.events(0, 10))[0].payload))
            await store.close()
        asyncio.run(main())
    """
    out, errors = python(script, str(tmp_path)).communicate(timeout=60)
    assert out.count("full:") == 2, errors
    assert out.endswith("1000000\n")


def test_after_a_failed_sync_nothing_is_committed_any_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(connection: sqlite3.Connection, epoch: int, batch: Batch) -> None:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
        error.sqlite_errorname = "SQLITE_IOERR_FSYNC"
        raise error

    async def play(store: SqliteStore, epoch: int) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(sqlite_module, "write", broken)
            await refused(store.commit(epoch, Batch(submitted(1))), SyncFailed)
        await refused(store.commit(epoch, Batch(submitted(1))), SyncFailed)

    scene(tmp_path, play)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (sqlite3.SQLITE_FULL, StoreFull),
        (sqlite3.SQLITE_IOERR_WRITE, StoreFull),
        (sqlite3.SQLITE_IOERR_FSYNC, SyncFailed),
        (sqlite3.SQLITE_IOERR_DIR_FSYNC, SyncFailed),
        (sqlite3.SQLITE_BUSY, StoreLocked),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, StoreLocked),
        (sqlite3.SQLITE_CORRUPT, StoreError),
        (sqlite3.SQLITE_IOERR_READ, StoreError),
    ],
)
def test_what_sqlite_says_is_translated(code: int, kind: type[StoreError]) -> None:
    error = sqlite3.OperationalError("words")
    error.sqlite_errorcode = code
    error.sqlite_errorname = "SQLITE_NAME"
    told = translate(error, "testing")
    assert type(told) is kind
    assert "words (SQLITE_NAME) while testing" in told.message


def test_a_foreign_lock_can_be_waited_out(tmp_path: Path) -> None:
    async def play(store: SqliteStore, epoch: int) -> None:
        await store._writer.run(lambda connection: connection.execute("PRAGMA busy_timeout = 20").fetchall())
        other = sqlite3.connect(tmp_path / "styx.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        error = await refused(store.commit(epoch, Batch(submitted(1))), StoreFull)
        assert "another program" in error.message
        other.execute("ROLLBACK")
        other.close()
        await store.commit(epoch, Batch(submitted(1)))

    scene(tmp_path, play)


def test_what_cannot_be_kept_is_refused_whole(tmp_path: Path) -> None:
    async def play(store: SqliteStore, epoch: int) -> None:
        for bad in (submitted(1, TaskSpec("\ud800", ("x",))), [assigned(1 << 70)], submitted(1, name="\udcff")):
            await refused(store.commit(epoch, Batch([*submitted(9), *bad])), StoreError)
            assert await store.jobs(Page()) == []
        await store.commit(epoch, Batch(submitted(1)))

    scene(tmp_path, play)


def test_what_was_written_is_moved_into_the_database_behind_the_commits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_module, "CHECKPOINT_COMMITS", 5)

    async def play(store: SqliteStore, epoch: int) -> None:
        before = store.path.stat().st_size
        for job in range(1, 7):
            await store.commit(epoch, Batch(submitted(job), b"e" * 100_000, job, job, AT))
        assert store._checkpoint is not None
        await store._checkpoint
        assert store.path.stat().st_size > before + 400_000

    scene(tmp_path, play)


# --- migrations ------------------------------------------------------------------------------------------------------


def schema(folder: Path) -> tuple[int, list[str]]:
    connection = sqlite3.connect(folder / "styx.db")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master ORDER BY name")]
    connection.close()
    return version, names


def test_a_migration_that_fails_half_way_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene(tmp_path, lambda store, epoch: store.commit(epoch, Batch(submitted(1))))
    before = schema(tmp_path)
    assert before[0] == len(migrations())
    good = (len(migrations()) + 1, "0002_good.sql", "CREATE TABLE more (x);")
    bad = (
        len(migrations()) + 2,
        "0003_bad.sql",
        "CREATE TABLE extra (x); UPDATE jobs SET name = 'gone'; INSERT INTO nowhere VALUES (1); DROP TABLE jobs;",
    )
    with monkeypatch.context() as patch:
        patch.setattr(sqlite_module, "migrations", lambda: [*migrate_module.migrations(), good, bad])
        error = asyncio.run(refused(SqliteStore(tmp_path).open(), StoreError))
    assert "0003_bad.sql" in error.message
    assert "nowhere" in error.message
    assert schema(tmp_path) == (good[0], sorted([*before[1], "more"]))
    connection = sqlite3.connect(tmp_path / "styx.db", isolation_level=None)
    assert connection.execute("SELECT name FROM jobs").fetchall() == [("job",)]
    connection.execute(f"PRAGMA user_version = {before[0]}")
    connection.close()

    async def play(store: SqliteStore, epoch: int) -> None:
        assert (await store.jobs(Page()))[0].spec.name == "job"

    scene(tmp_path, play)


def test_a_database_of_a_newer_styx_is_refused(tmp_path: Path) -> None:
    scene(tmp_path, lambda store, epoch: store.commit(epoch, Batch(submitted(1))))
    connection = sqlite3.connect(tmp_path / "styx.db", isolation_level=None)
    connection.execute("PRAGMA user_version = 9999")
    connection.close()
    error = asyncio.run(refused(SqliteStore(tmp_path).open(), StoreError))
    assert "version 9999" in error.message
    assert "newer" in error.hint


def test_migrations_are_applied_once(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "x.db", isolation_level=None)
    migrate(connection, migrations())
    migrate(connection, migrations())
    assert connection.execute("PRAGMA user_version").fetchone() == (len(migrations()),)
    connection.close()


# --- retention and copies --------------------------------------------------------------------------------------------


def test_a_job_of_many_steps_is_swept_while_others_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("styx.store.retention.STEP", 100)

    async def play(store: SqliteStore, epoch: int) -> None:
        count = 1_050
        lives = [record for k in range(1, count) for record in (assigned(k), ended(k, 1, 0, k))]
        outputs = tuple(OutputRow(k, 1, 0, 3, k // 500, 3 * k) for k in range(1, count))
        await store.commit(epoch, Batch([*submitted(1, ARRAY), *lives, job_ended(1, AT)], outputs=outputs))
        pruning = asyncio.ensure_future(store.prune(ended_before=AT + 1))
        for job in range(2, 12):
            await store.commit(epoch, Batch(submitted(job)))
            await store.jobs(Page())
        assert await pruning == (1, [0, 1, 2])
        assert await store.attempts(1, 0) == []
        assert [row.job for row in await store.jobs(Page())] == list(range(11, 1, -1))
        count_left = await store._reader.run(
            lambda c: [c.execute(f"SELECT count(*) FROM {t}").fetchone()[0] for t in ("attempts", "outputs", "orphans")]
        )
        assert count_left == [0, 0, 0]

    scene(tmp_path, play)


def test_a_sweep_that_a_crash_cut_short_goes_on_later(tmp_path: Path) -> None:
    from styx.store import retention

    async def start(store: SqliteStore, epoch: int) -> None:
        await store.commit(epoch, Batch([*submitted(1), assigned(1), ended(1, 1, 0, 1), job_ended(1, AT)]))
        await store.commit(epoch, Batch([], outputs=(OutputRow(1, 1, 0, 3, 4, 0),)))
        assert await store._writer.run(retention.drop_oldest, AT + 1, 0) == 1

    async def go_on(store: SqliteStore, epoch: int) -> None:
        assert await loaded(store) == []
        assert await store.serials() == (1, 1, 0)
        assert await store.prune(ended_before=0) == (0, [4])
        assert await store.attempt(1) is None
        assert await store.serials() == (1, 1, 0)

    scene(tmp_path, start)
    scene(tmp_path, go_on)


def test_a_revived_job_is_not_pruned(tmp_path: Path) -> None:
    async def play(store: SqliteStore, epoch: int) -> None:
        await store.commit(epoch, Batch([*submitted(1), job_ended(1, AT)]))
        await store.commit(epoch, Batch([JobRevived(1, AT + 1)]))
        assert await store.prune(ended_before=AT + 9) == (0, [])

    scene(tmp_path, play)


def test_a_backup_is_a_database_of_its_own(tmp_path: Path) -> None:
    copy = tmp_path / "copies" / "styx.db"
    copy.parent.mkdir()

    async def play(store: SqliteStore, epoch: int) -> None:
        token = await store.add_token(TokenRow(0, "me", "admin", b"d" * 32, AT, 0))
        await store.commit(epoch, Batch([*submitted(1, ARRAY), *(assigned(k) for k in range(1, 2_000))]))
        for _ in range(2):  # the second one replaces the first
            saving = asyncio.ensure_future(store.backup(str(copy)))
            for job in range(10):
                await store.commit(epoch, Batch([assigned(10_000 + job + 100 * epoch)]))
                epoch_is_the_same = epoch
            await saving
            await store._writer.run(lambda connection: connection.execute("DELETE FROM attempts WHERE attempt > 5000"))
        assert epoch_is_the_same == epoch
        assert [file.name for file in copy.parent.iterdir()] == ["styx.db"]
        assert stat.S_IMODE(copy.stat().st_mode) == 0o600
        original = await store._reader.run(lambda c: c.execute("SELECT incarnation, epoch FROM meta").fetchone())
        restored = SqliteStore(copy.parent)
        opened = await restored.open()
        assert opened.incarnation != original[0]
        assert opened.epoch > original[1]
        assert await restored.tokens() == [token]
        assert len(await restored.attempts(1, 0, first=0, count=2_000)) == 1_999
        await restored.commit(opened.epoch, Batch(submitted(2)))
        await restored.close()

    scene(tmp_path / "home", play)


def test_each_restore_of_a_backup_is_an_incarnation_of_its_own(tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"

    async def play(store: SqliteStore, epoch: int) -> None:
        await store.commit(epoch, Batch(submitted(1)))
        await store.backup(str(copy))
        (original,) = await store._reader.run(lambda c: c.execute("SELECT incarnation FROM meta").fetchone())
        seen = {original}
        for name in ("first", "second"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "styx.db").write_bytes(copy.read_bytes())
            drawn = set()
            for _ in range(2):  # a restart keeps it
                restored = SqliteStore(tmp_path / name)
                drawn.add((await restored.open()).incarnation)
                await restored.close()
            assert len(drawn) == 1
            assert "" not in drawn
            assert not drawn & seen
            seen |= drawn

    scene(tmp_path / "home", play)


def test_a_copy_restored_over_a_killed_server_does_not_get_its_log(tmp_path: Path) -> None:
    script = """if 1:
        import asyncio, os, shutil, sys
        from pathlib import Path
        from styx.store.base import Batch
        from styx.store.sqlite import SqliteStore
        from styx.testing.contracts.store.telling import submitted
        async def main():
            home = Path(sys.argv[1])
            store = SqliteStore(home / "home")
            epoch = (await store.open()).epoch
            await store.commit(epoch, Batch(submitted(1)))
            await store.backup(str(home / "copy.db"))
            for job in range(2, 40):
                await store.commit(epoch, Batch(submitted(job, name=f"job {job}")))
            os.kill(os.getpid(), 9)
        asyncio.run(main())
    """
    _, errors = python(script, str(tmp_path)).communicate(timeout=60)
    home = tmp_path / "home"
    assert (home / "styx.db-wal").stat().st_size > 0, errors
    (tmp_path / "copy.db").replace(home / "styx.db")

    async def play(store: SqliteStore, epoch: int) -> None:
        assert [row.job for row in await store.jobs(Page())] == [1]
        for job in range(2, 30):
            await store.commit(epoch, Batch(submitted(job)))
        check = await store._reader.run(lambda c: c.execute("PRAGMA integrity_check").fetchall())
        assert check == [("ok",)]
        assert (home / "styx.db-wal.replaced").exists()

    scene(home, play)


def test_a_backup_that_cannot_be_written_is_refused_in_words(tmp_path: Path) -> None:
    async def play(store: SqliteStore, epoch: int) -> None:
        await store.commit(epoch, Batch(submitted(1)))
        error = await refused(store.backup(str(tmp_path / "nowhere" / "copy.db")), StoreError)
        assert "No such file or directory" in error.message
        for name in ("styx.db", "styx.db-wal"):
            await refused(store.backup(str(tmp_path / "home" / name)), UsageError)
        (tmp_path / "folder").mkdir()
        await refused(store.backup(str(tmp_path / "folder")), StoreError)
        assert sorted(os.listdir(tmp_path)) == ["folder", "home"]
        assert len(await loaded(store)) == 2

    scene(tmp_path / "home", play)


def test_an_ended_array_is_counted_without_reading_its_rows_in_python(tmp_path: Path) -> None:
    async def play(store: SqliteStore, epoch: int) -> None:
        count = 5_000
        lives = [record for k in range(1, count) for record in (assigned(k), ended(k, 1, 0, k, TaskState.FAILED))]
        await store.commit(epoch, Batch([*submitted(1, ARRAY), *lives, job_ended(1, AT)]))
        (task,) = await store.tasks(Page())
        assert task.counts[TaskState.FAILED] == count - 1

    scene(tmp_path, play)
