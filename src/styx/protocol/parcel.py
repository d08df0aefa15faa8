"""A packed working folder: what may be in it, how it is made, and how it is unpacked without harm.

It is a gzipped tar that is known by its SHA-256. The same files give the same bytes: names in order, no owners, one time for all, and of
the modes only whether a file may be executed. It holds folders, files and symbolic links that stay inside.

Who unpacks does not believe who packed: names and links that lead out, devices, hard links, and more than a parcel may
hold are refused. All links are made after all files, so that no file is written through one; and a link's way may not go through
another link, since what it leads to could not be told by its words. Only the standard library is used: the owner of programs unpacks with
this file alone, in the process that becomes the program.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import stat
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from typing import IO, BinaryIO

__all__ = ["MAX_BYTES", "MAX_ENTRIES", "BadParcel", "Writer", "unpack"]

MAX_BYTES = 1_000_000_000
"""Of all files together, unpacked."""
MAX_ENTRIES = 200_000

_TIME = 315_532_800  # 1980-01-01: the first moment that zip files know, which are made of these files too
_BLOCK = 1 << 20
_OVERHEAD = 10 << 10  # bytes of headers for one entry: the longest name and link, twice
_DAMAGED = (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile)
_LEVEL = 4  # of gzip: half the time of 6 for a twentieth more bytes


class BadParcel(Exception):
    """It is not what a parcel is; the message says why."""


class Writer:
    """Makes a parcel into a file. Entries must come in the order of their names; `close` gives the hash."""

    def __init__(self, file: BinaryIO) -> None:
        self._hashing = _Hashing(file)
        self._squeezed = gzip.GzipFile(filename="", mode="wb", compresslevel=_LEVEL, fileobj=self._hashing, mtime=0)
        self._archive = tarfile.open(  # noqa: SIM115 - closed by `close`
            fileobj=self._squeezed, mode="w", format=tarfile.PAX_FORMAT, encoding="utf-8", errors="surrogateescape"
        )

    def folder(self, name: str) -> None:
        self._archive.addfile(_member(name, tarfile.DIRTYPE, 0o755))

    def link(self, name: str, target: str) -> None:
        member = _member(name, tarfile.SYMTYPE, 0o777)
        member.linkname = target
        self._archive.addfile(member)

    def file(self, name: str, size: int, executable: bool, content: BinaryIO) -> None:
        """Raises OSError when the content is shorter than `size`; what is longer is cut there."""
        member = _member(name, tarfile.REGTYPE, 0o755 if executable else 0o644)
        member.size = size
        self._archive.addfile(member, content)

    def close(self) -> str:
        self._archive.close()
        self._squeezed.close()
        return self._hashing.digest.hexdigest()


class _Hashing:
    """Writes to a file and hashes what goes there."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()


class _Bounded:
    """The unpacked stream. A header says how long the next one is, and tarfile would read that at once, however long."""

    def __init__(self, file: gzip.GzipFile, most: int) -> None:
        self._file = file
        self._most = most
        self.tell = file.tell
        self.seek = file.seek

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _BLOCK or self._file.tell() > self._most:
            raise BadParcel("it holds more than it may")
        return self._file.read(size)


def _member(name: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type = kind
    member.mode = mode
    member.mtime = _TIME
    return member


def unpack(path: str, target: str, *, most_bytes: int = MAX_BYTES, most_entries: int = MAX_ENTRIES) -> None:
    """Unpack a parcel into an empty folder. Raises BadParcel, and OSError when the disk does not take it; what was written until then
    stays there."""
    try:
        with gzip.open(path) as squeezed:
            bounded = _Bounded(squeezed, most_bytes + most_entries * _OVERHEAD)
            with tarfile.open(fileobj=bounded, mode="r:", encoding="utf-8", errors="surrogateescape") as archive:  # type: ignore[call-overload]
                links = dict(_files(archive, target, most_bytes, most_entries))
    except (*_DAMAGED, ValueError, OverflowError, RecursionError) as error:
        raise BadParcel(f"it is no packed folder: {error}") from error
    for name, to in links.items():
        _stays_inside(name, to, links)
        os.symlink(to, f"{target}/{name}")


def _files(archive: tarfile.TarFile, target: str, most_bytes: int, most_entries: int) -> Iterator[tuple[str, str]]:
    """Write folders and files; give the links."""
    left, made = most_bytes, {""}
    others: set[str] = set()
    for count, member in enumerate(archive, 1):
        if count > most_entries:
            raise BadParcel(f"it holds more than {most_entries:,} entries")
        name = _checked(member.name)
        if member.isdir():
            _folders(name, target, made, others)
            continue
        if name in made or name in others:
            raise BadParcel(f"{name!r} stands twice in it")
        others.add(name)
        _folders(name.rpartition("/")[0], target, made, others)
        if member.issym():
            yield name, member.linkname
        elif member.type in {tarfile.REGTYPE, tarfile.AREGTYPE} and member.sparse is None:
            left -= member.size
            if left < 0:
                raise BadParcel(f"it holds more than {most_bytes:,} bytes")
            content = archive.extractfile(member)
            assert content is not None  # of a regular file
            _write(f"{target}/{name}", content, bool(member.mode & stat.S_IXUSR), member.size)
        else:
            raise BadParcel(f"{name!r} is neither a file, nor a folder, nor a symbolic link")


def _checked(name: str) -> str:
    parts = name.rstrip("/").split("/")
    if not name or name.startswith("/") or "\0" in name or any(part in {"", ".", ".."} for part in parts):
        raise BadParcel(f"{name!r} is no name within a folder")
    return "/".join(parts)


def _folders(name: str, target: str, made: set[str], others: Iterable[str]) -> None:
    """Make a folder and those above it."""
    if name in made:
        return
    if name in others:
        raise BadParcel(f"{name!r} stands twice in it")
    _folders(name.rpartition("/")[0], target, made, others)
    os.mkdir(f"{target}/{name}", 0o755)
    made.add(name)


def _write(path: str, content: IO[bytes], executable: bool, size: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(path, flags, 0o755 if executable else 0o644), "wb") as file:
        while size > 0:
            data = content.read(min(_BLOCK, size))
            if not data:
                raise BadParcel("it ends too early")
            file.write(data)
            size -= len(data)


def _stays_inside(name: str, to: str, links: dict[str, str]) -> None:
    """Raises BadParcel when a link leads out, or may: a link on its way is refused, one at its end is judged by itself."""
    if not to or to.startswith("/") or "\0" in to:
        raise BadParcel(f"the link {name!r} leads to {to!r}, which is not within the folder")
    here = name.split("/")[:-1]
    steps = to.split("/")
    for number, step in enumerate(steps):
        if step in {"", "."}:
            continue
        if step != "..":
            here.append(step)
        elif here:
            here.pop()
        else:
            raise BadParcel(f"the link {name!r} leads out of the folder")
        if number < len(steps) - 1 and "/".join(here) in links:
            raise BadParcel(f"the link {name!r} leads through another link")
