"""Segment files: `NNNNNNNN.seg` in one folder, each written once from front to back, read from anywhere.

Writing is positional, so a batch that failed half-way is simply written again over itself. That also makes a full disk
harmless: the bytes are still in memory, and the same call can be made again. An error that is not about room leaves it open
what is on disk (the kernel may drop dirty pages after a failed sync), so it is a SyncFailed and ends the process.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from styx.errors import NotFound, StoreError, StoreFull, SyncFailed
from styx.protocol.messages import Data

__all__ = [
    "Reader",
    "SegmentFolder",
    "SegmentReader",
    "SegmentWriter",
    "Segments",
    "Writer",
    "segment_path",
    "sync_folder",
]

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
_MOST_BUFFERS = 1_024  # IOV_MAX of Linux and macOS
_NO_WAIT = getattr(os, "RWF_NOWAIT", 0)
_INLINE = 256 << 10  # bytes: a longer read goes to a thread even when it would not wait for the disk
_sync = getattr(os, "fdatasync", os.fsync)


class Writer(Protocol):
    """See SegmentWriter."""

    def write(self, buffers: Sequence[Data]) -> tuple[int, int]: ...

    def end(self) -> int: ...

    def close(self) -> None: ...


class Reader(Protocol):
    """See SegmentReader."""

    async def read(self, segment: int, position: int, length: int) -> bytes: ...

    def forget(self, segment: int) -> None: ...

    def close(self) -> None: ...


class Segments(Protocol):
    """Where segments are kept. Whatever is no `async def` may wait for the disk, and is called in a thread."""

    def prepare(self) -> list[int]:
        """Make the place usable; returns the numbers of the segments in it. Raises OSError."""
        ...

    def writer(self, first: int, roll: int) -> Writer: ...

    def reader(self, files: int) -> Reader: ...

    def unlink(self, numbers: Sequence[int]) -> int:
        """Delete segments; returns the bytes given back."""
        ...

    def size(self) -> int:
        """Bytes of all segments."""
        ...


def segment_path(folder: Path, number: int) -> Path:
    return folder / f"{number:08d}.seg"


def sync_folder(folder: Path) -> None:
    """Make sure that the names in a folder are on disk. Raises OSError."""
    file = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


class SegmentFolder:
    """Segments as files in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __str__(self) -> str:
        return f"the folder {self.folder}"

    def prepare(self) -> list[int]:
        if not self.folder.is_dir():
            self.folder.mkdir(parents=True, exist_ok=True)
            sync_folder(self.folder.parent)
        return [int(path.stem) for path in self.folder.glob("*.seg") if path.stem.isdigit()]

    def writer(self, first: int, roll: int) -> SegmentWriter:
        return SegmentWriter(self.folder, first, roll)

    def reader(self, files: int) -> SegmentReader:
        return SegmentReader(self.folder, files)

    def unlink(self, numbers: Sequence[int]) -> int:
        freed = 0
        for number in numbers:
            path = segment_path(self.folder, number)
            try:
                size = path.stat().st_size
                path.unlink()
            except FileNotFoundError:
                continue
            freed += size
        return freed

    def size(self) -> int:
        return sum(path.stat().st_size for path in self.folder.glob("*.seg"))


class SegmentWriter:
    """Appends batches; used by one thread at a time. `first` is the number of the first segment, which is created when the
    first batch is written; a new one follows once `roll` bytes are reached."""

    def __init__(self, folder: Path, first: int, roll: int) -> None:
        self._folder = folder
        self._next = first
        self._roll = roll
        self._file = -1
        self._position = 0
        self.number = 0  # of the segment being written; 0: none yet

    def write(self, buffers: Sequence[Data]) -> tuple[int, int]:
        """Put the buffers on disk, one behind the other, and return (segment, position) of the first byte once all of
        it is synced. Raises StoreFull (nothing is kept; call again with the same) and SyncFailed."""
        if self._file < 0 or self._position >= self._roll:
            self._begin()
        start = self._position
        try:
            end = self._put(buffers, start)
            _sync(self._file)
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise SyncFailed(f"output cannot be written to {self._path}: {error.strerror}") from error
            self._give_back(start)
            raise StoreFull(f"no room for output in {self._folder}: {error.strerror}") from error
        self._position = end
        return self.number, start

    def end(self) -> int:
        """Let the next batch begin a new segment; returns the number of the one that has ended, 0 when there was none."""
        self.close()
        return self.number

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    @property
    def _path(self) -> Path:
        return segment_path(self._folder, self.number)

    def _begin(self) -> None:
        path = segment_path(self._folder, self._next)
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
            try:
                sync_folder(self._folder)  # the name of the new file is to survive a loss of power too
            except OSError:
                os.close(file)
                raise
        except OSError as error:
            if error.errno in _NO_ROOM:
                raise StoreFull(f"no room for output in {self._folder}: {error.strerror}") from error
            raise StoreError(f"cannot begin the output segment {path}: {error.strerror}") from error
        self.close()
        self._file = file
        self.number = self._next
        self._next += 1
        self._position = 0

    def _put(self, buffers: Sequence[Data], position: int) -> int:
        for first in range(0, len(buffers), _MOST_BUFFERS):
            part = list(buffers[first : first + _MOST_BUFFERS])
            while part:
                written = os.pwritev(self._file, part, position)
                position += written
                while part and written >= len(part[0]):
                    written -= len(part.pop(0))
                if written:
                    part[0] = memoryview(part[0])[written:]
        return position

    def _give_back(self, position: int) -> None:
        try:
            os.ftruncate(self._file, position)
        except OSError:
            return  # it will be written over


class _Handle:
    __slots__ = ("file", "users")

    def __init__(self, file: int) -> None:
        self.file = file
        self.users = 0


class SegmentReader:
    """Reads through the page cache, with at most `limit` idle files held open."""

    def __init__(self, folder: Path, limit: int = 64) -> None:
        self._folder = folder
        self._limit = limit
        self._handles: OrderedDict[int, _Handle] = OrderedDict()  # least recently used first

    async def read(self, segment: int, position: int, length: int) -> bytes:
        """Exactly `length` bytes. What is in the page cache is read at once, the disk is waited for in a thread. Raises
        NotFound when the segment was dropped, StoreError when it is shorter than its rows say."""
        handle = self._open(segment)
        if length <= _INLINE and (data := _read_cached(handle.file, length, position)) is not None:
            return data
        handle.users += 1
        try:
            data = await asyncio.to_thread(_read_all, handle.file, length, position)
        except OSError as error:
            raise StoreError(f"{segment_path(self._folder, segment)} cannot be read: {error.strerror}") from error
        finally:
            handle.users -= 1
            if not handle.users and self._handles.get(segment) is not handle:
                os.close(handle.file)
        if len(data) < length:
            raise StoreError(
                f"{segment_path(self._folder, segment)} is damaged: it ends before byte {position + length}"
            )
        return data

    def forget(self, segment: int) -> None:
        """The segment is about to be deleted."""
        handle = self._handles.pop(segment, None)
        if handle is not None and not handle.users:
            os.close(handle.file)

    def close(self) -> None:
        for segment in list(self._handles):
            self.forget(segment)

    def _open(self, segment: int) -> _Handle:
        handle = self._handles.get(segment)
        if handle is not None:
            self._handles.move_to_end(segment)
            return handle
        path = segment_path(self._folder, segment)
        try:
            handle = _Handle(os.open(path, os.O_RDONLY))
        except FileNotFoundError as error:
            raise NotFound(f"the output in {path} is no longer kept") from error
        except OSError as error:
            raise StoreError(f"{path} cannot be read: {error.strerror}") from error
        self._handles[segment] = handle
        while len(self._handles) > self._limit:
            self.forget(next(iter(self._handles)))
        return handle


def _read_cached(file: int, length: int, position: int) -> bytes | None:
    """The bytes if they can be had without waiting, else None."""
    if not _NO_WAIT:
        return None
    buffer = bytearray(length)
    try:
        if os.preadv(file, [buffer], position, _NO_WAIT) == length:
            return bytes(buffer)
    except OSError:  # EAGAIN: not in the cache; EOPNOTSUPP: a file system that cannot tell
        return None
    return None


def _read_all(file: int, length: int, position: int) -> bytes:
    parts = []
    while length and (data := os.pread(file, length, position)):
        parts.append(data)
        position += len(data)
        length -= len(data)
    return b"".join(parts)
