"""The disk that loses power, by itself: what may be lost, what may not, and how it tears."""

from __future__ import annotations

import random

from styx.testing.power.disk import (
    SECTOR,
    Deleted,
    FolderSynced,
    Made,
    Note,
    Platter,
    Synced,
    Tape,
    Truncated,
    Written,
)

F = "/home/file"


def images(tape: Tape, place: int | None = None, count: int = 400) -> list[dict[str, bytes]]:
    platter = Platter(tape)
    platter.advance(len(tape.entries) if place is None else place)
    return [platter.cut(random.Random(seed)) for seed in range(count)]


def tape(*entries: object, **files: bytes) -> Tape:
    made = Tape({F: files["content"]} if "content" in files else {})
    for entry in entries:
        made.add(entry)  # type: ignore[arg-type]
    return made


def test_what_was_synced_is_always_there_and_what_came_later_sometimes() -> None:
    contents = {
        image[F] for image in images(tape(Written(F, 0, b"a" * 10), Synced(F), Written(F, 10, b"b"), content=b""))
    }
    assert contents >= {b"a" * 10, b"a" * 10 + b"b"}
    assert all(content.startswith(b"a" * 10) for content in contents)


def test_before_a_sync_returns_everything_may_be_lost() -> None:
    recorded = tape(Written(F, 0, b"new"), Synced(F), content=b"old")
    assert {image[F] for image in images(recorded, 1)} == {b"old", b"new"}
    assert {image[F] for image in images(recorded, 2)} == {b"new"}


def test_a_write_tears_at_sectors_only() -> None:
    new = b"n" * (3 * SECTOR)
    contents = {image[F] for image in images(tape(Written(F, 100, new), content=b"o" * (4 * SECTOR)))}
    assert len(contents) > 4
    for content in contents:
        begin = 0
        for cut in (100, SECTOR, 2 * SECTOR, 3 * SECTOR, 3 * SECTOR + 100, 4 * SECTOR):
            assert len(set(content[begin:cut])) == 1
            begin = cut


def test_later_writes_may_survive_earlier_ones() -> None:
    recorded = tape(Written(F, 0, b"1"), Written(F, 1, b"2"), Truncated(F, 1), content=b"__")
    assert {image[F] for image in images(recorded)} >= {b"_2", b"1_", b"_", b"1", b"12", b"__"}


def test_a_file_may_grow_without_its_bytes() -> None:
    contents = {image[F] for image in images(tape(Written(F, 0, b"x" * 8), content=b""))}
    assert bytes(8) in contents  # zeros
    assert any(len(content) == 8 and set(content) - {0, ord("x")} for content in contents)  # what lay there before


def test_a_name_is_certain_only_after_its_folder_was_synced() -> None:
    recorded = tape(Made(F), Written(F, 0, b"x"), Synced(F), FolderSynced("/home"))
    assert {F in image for image in images(recorded, 3)} == {True, False}
    assert all(image == {F: b"x"} for image in images(recorded))
    elsewhere = tape(Made(F), Synced(F), FolderSynced("/other"))
    assert {F in image for image in images(elsewhere)} == {True, False}


def test_a_deleted_file_may_come_back_with_what_was_synced() -> None:
    recorded = tape(Deleted(F), Made(F), Written(F, 0, b"new"), Synced(F), FolderSynced("/home"), content=b"old")
    assert {image.get(F) for image in images(recorded, 1)} == {b"old", None}
    assert {image.get(F) for image in images(recorded, 4)} == {b"old", None, b"new"}
    assert {image.get(F) for image in images(recorded)} == {b"new"}


def test_notes_are_handed_over_in_order() -> None:
    recorded = tape(Note(1), Written(F, 0, b"x"), Note(2), content=b"")
    platter = Platter(recorded)
    assert [note.about for note in platter.advance(1)] == [1]
    assert platter.unsynced() == 0
    assert [note.about for note in platter.advance(3)] == [2]
    assert platter.unsynced() == platter.unsynced(F) == 1
