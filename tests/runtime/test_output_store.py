from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from styx.aiokit import Crash, Supervisor
from styx.errors import NotFound, ProtocolError, StoreError, StoreFull, SyncFailed
from styx.runtime.output import OutputStore, Piece
from styx.runtime.output.segments import SegmentReader, SegmentWriter, segment_path
from styx.store.base import OutputRow


class Tables:
    """What the output store asks of a Store, kept in a list; `commit` is what the runtime does with each batch."""

    def __init__(self) -> None:
        self.rows: list[OutputRow] = []
        self.last_attempt = 0
        self.asked = 0

    async def outputs(self, attempt: int, stream: int, offset: int, limit: int = 1_000) -> list[OutputRow]:
        self.asked += 1
        await asyncio.sleep(0)
        found = [r for r in self.rows if (r.attempt, r.stream) == (attempt, stream) and r.offset + r.length > offset]
        return sorted(found, key=lambda r: r.offset)[:limit]

    async def last_segment(self) -> int:
        return max((row.segment for row in self.rows), default=0)

    async def serials(self) -> tuple[int, int, int]:
        return 1, self.last_attempt, 1


class Bench:
    """An OutputStore with a runtime around it that commits whatever is synced, unless told to hold."""

    def __init__(self, folder: Path, tables: Tables | None = None, **settings: object) -> None:
        self.tables = tables or Tables()
        self.output = OutputStore(
            folder / "output",
            self.tables,  # type: ignore[arg-type]
            synced=self.commit,
            **settings,  # type: ignore[arg-type]
        )
        self.supervisor = Supervisor("test")
        self.acks: list[tuple[int, int, int]] = []
        self.hold = False

    def commit(self) -> None:
        if not self.hold:
            rows = self.output.take()
            self.tables.rows += rows
            self.acks += self.output.committed(rows)

    async def __aenter__(self) -> Bench:
        await self.output.open()
        self.supervisor.start("output", self.output.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            await self.supervisor.close()
        finally:
            await self.output.close()

    async def text(self, attempt: int, stream: int, **options: int | bool) -> list[Piece]:
        return [piece async for piece in self.output.follow(attempt, stream, **options)]  # type: ignore[arg-type]


def run(body: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(60):
            await body()

    asyncio.run(limited())


def joined(pieces: list[Piece]) -> bytes:
    assert pieces[-1].end
    assert all(not piece.gap for piece in pieces)
    return b"".join(piece.data for piece in pieces)


def test_bytes_are_acknowledged_after_the_commit_and_not_before(tmp_path: Path) -> None:
    async def body() -> None:
        async with Bench(tmp_path) as bench:
            bench.hold = True
            assert await bench.output.write(1, 1, 0, b"hello ") == 0
            await bench.output.flush()
            assert bench.acks == []
            assert (await bench.output.read(1, 1)).data == b""  # durable before visible
            bench.hold = False
            bench.commit()
            assert bench.acks == [(1, 1, 6)]
            assert await bench.output.read(1, 1) == Piece(0, b"hello ")
            assert bench.output.uncommitted == 0

    run(body)


def test_many_small_outputs_share_a_segment_and_adjacent_pieces_become_one_row(tmp_path: Path) -> None:
    async def body() -> None:
        async with Bench(tmp_path) as bench:
            bench.hold = True
            for attempt in range(1, 51):
                for offset in range(3):
                    await bench.output.write(attempt, 1, offset, b"abc"[offset : offset + 1])
            await bench.output.flush()
            bench.hold = False
            bench.commit()
            assert len(list((tmp_path / "output").iterdir())) == 1
            assert len(bench.tables.rows) == 50
            for attempt in range(1, 51):
                assert (await bench.output.read(attempt, 1)).data == b"abc"

    run(body)


def test_what_is_known_is_trimmed_and_what_is_missing_is_refused(tmp_path: Path) -> None:
    async def body() -> None:
        async with Bench(tmp_path) as bench:
            await bench.output.write(1, 1, 0, b"0123")
            await bench.output.write(1, 1, 2, b"2345")
            await bench.output.write(1, 1, 0, b"01")
            with pytest.raises(ProtocolError, match="begins at byte 7, but only 6 are known"):
                await bench.output.write(1, 1, 7, b"7")
            with pytest.raises(ProtocolError, match="streams 1 and 2"):
                await bench.output.write(1, 3, 0, b"x")
            await bench.output.flush()
            assert (await bench.output.read(1, 1)).data == b"012345"
            # all of it committed: the answer says so, for a sender whose acknowledgement was lost
            assert await bench.output.write(1, 1, 0, b"0123") == 6

    run(body)


def test_a_marked_gap_shows_as_a_gap(tmp_path: Path) -> None:
    async def body() -> None:
        async with Bench(tmp_path) as bench:
            bench.hold = True
            await bench.output.write(1, 1, 0, b"abc")
            await bench.output.write(1, 1, 10, b"klm", gap=True)
            await bench.output.write(1, 1, 13, b"n")
            await bench.output.flush()
            bench.hold = False
            bench.commit()
            bench.output.finish(1, 14, 0)
            assert await bench.text(1, 1) == [
                Piece(0, b"abc"),
                Piece(10, b"klmn", gap=7),
                Piece(14, b"", end=True),
            ]
            assert await bench.text(1, 1, offset=5) == [Piece(10, b"klmn", gap=5), Piece(14, b"", end=True)]

    run(body)


def test_followers_see_all_of_it_live_and_end_with_the_stream(tmp_path: Path) -> None:
    async def body() -> None:
        async with Bench(tmp_path) as bench:
            readers = [asyncio.create_task(bench.text(attempt, 1)) for attempt in (1, 2) for _ in range(10)]
            await asyncio.sleep(0)
            sent = {1: bytearray(), 2: bytearray()}
            for step in range(200):
                for attempt in (1, 2):
                    line = f"line {step} of {attempt}\n".encode() * (step % 7)
                    await bench.output.write(attempt, 1, len(sent[attempt]), line)
                    sent[attempt] += line
                if step % 10 == 0:
                    await bench.output.flush()
            for attempt in (1, 2):
                bench.output.finish(attempt, len(sent[attempt]), 0)
            results = await asyncio.gather(*readers)
            for position, pieces in enumerate(results):
                assert joined(pieces) == bytes(sent[1 if position < 10 else 2])

    run(body)


def test_an_end_that_is_announced_before_the_last_bytes_waits_for_them(tmp_path: Path) -> None:
    async def body() -> None:
        async with Bench(tmp_path) as bench:
            await bench.output.write(1, 2, 0, b"first ")
            reader = asyncio.create_task(bench.text(1, 2))
            await bench.output.flush()
            bench.output.finish(1, 0, 11)
            await asyncio.sleep(0)
            assert bench.output.owed() == [1]
            assert not reader.done()
            await bench.output.write(1, 2, 6, b"later")
            assert joined(await reader) == b"first later"
            assert bench.output.owed() == []

    run(body)


def test_an_abandoned_stream_ends_with_what_is_missing_marked(tmp_path: Path) -> None:
    async def body() -> None:
        async with Bench(tmp_path) as bench:
            await bench.output.write(1, 1, 0, b"abc")
            await bench.output.flush()
            reader = asyncio.create_task(bench.text(1, 1))
            lost = asyncio.create_task(bench.text(2, 1))
            await asyncio.sleep(0)
            bench.output.finish(1, 10, 0)
            bench.output.abandon(1)
            bench.output.abandon(2)
            assert await reader == [Piece(0, b"abc"), Piece(10, b"", gap=7, end=True)]
            assert await lost == [Piece(0, b"", end=True)]

    run(body)


def test_without_waiting_a_reader_gets_what_there_is(tmp_path: Path) -> None:
    async def body() -> None:
        async with Bench(tmp_path) as bench:
            await bench.output.write(1, 1, 0, b"abc")
            await bench.output.flush()
            assert await bench.text(1, 1, live=False) == [Piece(0, b"abc"), Piece(3, b"", end=True)]
            assert await bench.text(1, 1, length=5, live=False) == [Piece(0, b"abc"), Piece(5, b"", gap=2, end=True)]
            assert await bench.text(9, 1, live=False) == [Piece(0, b"", end=True)]

    run(body)


def test_a_reader_who_leaves_takes_nobody_along(tmp_path: Path) -> None:
    async def body() -> None:
        async with Bench(tmp_path) as bench:
            leaving = asyncio.create_task(bench.text(1, 1))
            staying = asyncio.create_task(bench.text(1, 1))
            await asyncio.sleep(0)
            leaving.cancel()
            await asyncio.wait([leaving])
            await bench.output.write(1, 1, 0, b"abc")
            bench.output.finish(1, 3, 0)
            assert joined(await staying) == b"abc"

    run(body)


def test_segments_roll_and_reads_go_across(tmp_path: Path) -> None:
    async def body() -> None:
        async with Bench(tmp_path, roll=1_000, files=2) as bench:
            data = os.urandom(20_000)
            for offset in range(0, len(data), 700):
                await bench.output.write(1, 1, offset, data[offset : offset + 700])
                await bench.output.flush()
            assert len(list((tmp_path / "output").glob("*.seg"))) > 5
            assert (await bench.output.read(1, 1, 0, 1 << 20)).data == data
            assert (await bench.output.read(1, 1, 650, 100)).data == data[650:750]
            assert await bench.output.length(1, 1) == len(data)
            bench.output.finish(1, len(data), 0)
            assert joined(await bench.text(1, 1)) == data
            assert await bench.output.size() == len(data)

    run(body)


def test_a_restart_goes_on_where_the_tables_end(tmp_path: Path) -> None:
    async def body() -> None:
        tables = Tables()
        async with Bench(tmp_path, tables) as bench:
            await bench.output.write(7, 1, 0, b"committed ")
            await bench.output.flush()
            bench.hold = True
            await bench.output.write(7, 1, 10, b"synced, and then the power went")
            await bench.output.flush()
        tables.last_attempt = 7
        async with Bench(tmp_path, tables) as bench:
            # what no row points at is not there, and the agent sends it again
            assert await bench.output.length(7, 1) == 10
            with pytest.raises(ProtocolError, match="only 10 are known"):
                await bench.output.write(7, 1, 20, b"x")
            await bench.output.write(7, 1, 0, b"committed anew")
            await bench.output.flush()
            bench.output.finish(7, 14, 0)
            assert joined(await bench.text(7, 1)) == b"committed anew"
            assert {row.segment for row in tables.rows} == {1, 2}
            # an attempt that began after the start costs no question
            asked = tables.asked
            await bench.output.write(8, 1, 0, b"x")
            assert tables.asked == asked

    run(body)


def test_two_links_that_send_the_same_stream_after_a_restart_store_it_once(tmp_path: Path) -> None:
    async def body() -> None:
        tables = Tables()
        tables.last_attempt = 5
        async with Bench(tmp_path, tables) as bench:
            await asyncio.gather(*(bench.output.write(5, 1, 0, b"abc") for _ in range(4)))
            await bench.output.flush()
            assert sum(row.length for row in tables.rows) == 3

    run(body)


def test_forgotten_streams_are_asked_for_again(tmp_path: Path) -> None:
    async def body() -> None:
        async with Bench(tmp_path, remembered=10) as bench:
            for attempt in range(1, 101):
                await bench.output.write(attempt, 1, 0, b"abc")
                await bench.output.flush()
            assert bench.tables.asked == 0
            assert await bench.output.write(1, 1, 0, b"abcd") == 3  # the known part is known again
            await bench.output.flush()
            assert (await bench.output.read(1, 1)).data == b"abcd"
            assert bench.tables.asked > 0
            assert sum(row.length for row in bench.tables.rows) == 301

    run(body)


def test_writers_wait_while_too_much_is_uncommitted(tmp_path: Path) -> None:
    async def body() -> None:
        async with Bench(tmp_path, limit=1_000) as bench:
            bench.hold = True
            await bench.output.write(1, 1, 0, bytes(1_000))
            writer = asyncio.create_task(bench.output.write(2, 1, 0, b"more"))
            await bench.output.flush()
            assert not writer.done()
            bench.hold = False
            bench.commit()
            await writer
            await bench.output.flush()
            assert bench.acks == [(1, 1, 1_000), (2, 1, 4)]

    run(body)


def test_a_full_disk_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body() -> None:
        async with Bench(tmp_path, patience=(0.001, 0.001)) as bench:
            await bench.output.write(1, 1, 0, b"before ")
            await bench.output.flush()
            refusals = 0
            real = os.pwritev

            def full(file: int, buffers: list[bytes], position: int) -> int:
                nonlocal refusals
                if refusals < 3:
                    refusals += 1
                    real(file, [b"torn"], position)
                    raise OSError(errno.ENOSPC, "No space left on device")
                assert "No space" in bench.output.full
                return real(file, buffers, position)

            monkeypatch.setattr(os, "pwritev", full)
            await bench.output.write(1, 1, 7, b"during ")
            await bench.output.flush()
            assert refusals == 3
            assert bench.output.full == ""
            assert (await bench.output.read(1, 1)).data == b"before during "

    run(body)


def test_a_failed_sync_stops_the_store_and_everybody_who_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    async def body() -> None:
        monkeypatch.setattr("styx.runtime.output.segments._sync", broken)
        bench = Bench(tmp_path, limit=3)
        async with bench:
            await bench.output.write(1, 1, 0, b"abc")
            waiting = asyncio.create_task(bench.output.write(1, 1, 3, b"def"))
            with pytest.raises(Crash) as caught:
                await bench.supervisor.wait()
            assert isinstance(caught.value.error, SyncFailed)
            with pytest.raises(SyncFailed):
                await waiting
            with pytest.raises(SyncFailed):
                await bench.output.write(1, 1, 3, b"def")
            assert bench.acks == []

    run(body)


def test_dropped_segments_are_gone_and_say_so(tmp_path: Path) -> None:
    async def body() -> None:
        async with Bench(tmp_path) as bench:
            await bench.output.write(1, 1, 0, b"abc")
            await bench.output.flush()
            await bench.output.read(1, 1)
            assert await bench.output.drop([1]) == 0  # it is still being written
            await bench.output.roll()
            assert await bench.output.drop([1, 77]) == 3
            with pytest.raises(NotFound, match="no longer kept"):
                await bench.output.read(1, 1)
            bench.tables.rows.clear()
            bench.output.finish(1, 3, 0)
            assert (await bench.text(1, 1, offset=3)) == [Piece(3, b"", end=True)]
            await bench.output.write(2, 1, 0, b"xyz")  # the next one goes into a new segment
            await bench.output.flush()
            assert bench.tables.rows[-1].segment == 2

    run(body)


def test_what_a_crash_left_behind_is_dropped_with_the_rest(tmp_path: Path) -> None:
    async def body() -> None:
        tables = Tables()
        async with Bench(tmp_path, tables) as bench:
            bench.hold = True
            await bench.output.write(1, 1, 0, b"never committed")
            await bench.output.flush()
        tables.last_attempt = 1
        async with Bench(tmp_path, tables) as bench:
            await bench.output.write(1, 1, 0, b"again")
            await bench.output.flush()
            assert await bench.output.drop([]) == len(b"never committed")
            assert [path.name for path in (tmp_path / "output").iterdir()] == ["00000002.seg"]
            assert (await bench.output.read(1, 1)).data == b"again"

    run(body)


def test_pruned_rows_show_as_a_gap(tmp_path: Path) -> None:
    async def body() -> None:
        tables = Tables()
        async with Bench(tmp_path, tables) as bench:
            await bench.output.write(1, 1, 0, b"abc")
            await bench.output.flush()
        tables.last_attempt = 1
        async with Bench(tmp_path, tables) as bench:
            assert await bench.output.length(1, 1) == 3
            tables.rows.clear()
            assert await bench.text(1, 1, length=3) == [Piece(3, b"", gap=3), Piece(3, b"", end=True)]

    run(body)


def test_a_segment_with_rows_on_their_way_is_not_dropped(tmp_path: Path) -> None:
    async def body() -> None:
        async with Bench(tmp_path) as bench:
            bench.hold = True
            await bench.output.write(1, 1, 0, b"abc")
            await bench.output.flush()
            await bench.output.roll()  # does not wait for the commit: on a full disk that could be long
            await bench.output.write(2, 1, 0, b"def")
            await bench.output.flush()
            assert await bench.output.drop([1, 2]) == 0  # rows will point there
            bench.hold = False
            bench.commit()
            assert (await bench.output.read(1, 1)).data == b"abc"
            await bench.output.roll()
            assert await bench.output.drop([1, 2]) == 6

    run(body)


def test_a_folder_that_cannot_be_used_is_said_so(tmp_path: Path) -> None:
    async def body() -> None:
        (tmp_path / "output").write_text("a file stands here")
        with pytest.raises(StoreError, match="cannot be used for output"):
            await Bench(tmp_path).output.open()

    run(body)


def test_a_batch_of_more_buffers_than_the_system_takes_at_once(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path, 1, 1 << 20)
    buffers = [bytes([number % 256]) * (number % 5) for number in range(3_000)]
    assert writer.write(buffers) == (1, 0)
    assert writer.write([b"next"]) == (1, sum(map(len, buffers)))
    writer.close()
    assert segment_path(tmp_path, 1).read_bytes() == b"".join(buffers) + b"next"


def test_short_writes_are_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pwritev

    def short(file: int, buffers: list[bytes], position: int) -> int:
        head = b"".join(bytes(buffer) for buffer in buffers)[:5]
        return real(file, [head], position)

    monkeypatch.setattr(os, "pwritev", short)
    writer = SegmentWriter(tmp_path, 1, 1 << 20)
    writer.write([b"abc", b"", b"defghijkl", b"m"])
    writer.close()
    assert segment_path(tmp_path, 1).read_bytes() == b"abcdefghijklm"


def test_no_room_for_a_new_segment_can_be_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = SegmentWriter(tmp_path, 4, 1 << 20)

    def full(_: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("styx.runtime.output.segments.sync_folder", full)
        with pytest.raises(StoreFull, match="no room for output"):
            writer.write([b"abc"])
    assert writer.write([b"abc"]) == (4, 0)
    writer.close()


def test_a_damaged_segment_is_reported(tmp_path: Path) -> None:
    async def body() -> None:
        segment_path(tmp_path, 1).write_bytes(b"short")
        reader = SegmentReader(tmp_path)
        with pytest.raises(StoreError, match="damaged"):
            await reader.read(1, 0, 10)
        assert await reader.read(1, 1, 4) == b"hort"
        reader.close()

    run(body)


def test_few_files_stay_open(tmp_path: Path) -> None:
    async def body() -> None:
        for number in range(1, 21):
            segment_path(tmp_path, number).write_bytes(bytes([number]) * 300_000)
        reader = SegmentReader(tmp_path, limit=3)
        before = len(os.listdir("/proc/self/fd"))
        # long reads go to threads, so files are in use while others push them out
        results = await asyncio.gather(*(reader.read(number, 0, 300_000) for number in range(1, 21)))
        assert [data[0] for data in results] == list(range(1, 21))
        assert len(os.listdir("/proc/self/fd")) <= before + 3
        reader.close()
        assert len(os.listdir("/proc/self/fd")) <= before

    run(body)
