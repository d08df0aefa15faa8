"""Packing a working folder: what `.gitignore` does not leave out, as one parcel.

`.git` is left out as well: it is no input of a program, and often larger than all that is. So are sockets, pipes and devices, and links
that lead out of the folder; of these `Packed.left_out` tells, since a program may miss them.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from styx.client.ignoring import Rules, above, ignored, rules_of
from styx.errors import UsageError
from styx.protocol.parcel import MAX_BYTES, MAX_ENTRIES, Writer

__all__ = ["Packed", "pack"]

_NAMED = 10  # of what was left out


class Packed(msgspec.Struct, frozen=True):
    """`size` is of all files before packing; `left_out` are names, at most ten."""

    sha256: str
    files: int
    size: int
    left_out: tuple[str, ...] = ()


class _Entry(msgspec.Struct, frozen=True):
    name: str
    path: str
    about: os.stat_result


def pack(folder: Path, file: BinaryIO) -> Packed:
    """Write the parcel of a folder to a file. Blocks, for as long as it takes to read and squeeze it all. Raises UsageError when the
    folder cannot be read, changes meanwhile, or holds more than MAX_BYTES."""
    if not folder.is_dir():
        raise UsageError(
            f"the working folder {folder} does not exist" if not folder.exists() else f"{folder} is no folder"
        )
    writer = Writer(file)
    count, size = 0, 0
    left_out: list[str] = []
    try:
        for number, entry in enumerate(_entries(folder), 1):
            if number > MAX_ENTRIES:
                raise _too_much(folder, f"more than {MAX_ENTRIES:,} files and folders")
            mode = entry.about.st_mode
            if stat.S_ISDIR(mode):
                writer.folder(entry.name)
            elif stat.S_ISREG(mode):
                size += entry.about.st_size
                if size > MAX_BYTES:
                    raise _too_much(folder, f"more than {MAX_BYTES / 1e9:g} GB")
                with open(entry.path, "rb") as content:
                    writer.file(entry.name, entry.about.st_size, bool(mode & stat.S_IXUSR), content)
                count += 1
            elif stat.S_ISLNK(mode) and _inside(folder, entry):
                writer.link(entry.name, os.readlink(entry.path))
            else:
                left_out.append(entry.name)
        digest = writer.close()
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise UsageError(
            f"the working folder {folder} cannot be packed: {where}{error.strerror or error}",
            hint="name what is not needed in a .gitignore; what is packed must not change meanwhile",
        ) from error
    return Packed(digest, count, size, tuple(left_out[:_NAMED]))


def _too_much(folder: Path, what: str) -> UsageError:
    return UsageError(
        f"the working folder {folder} holds {what}, which is more than is sent along",
        hint="name data and build results in a .gitignore, or set `workdir` to a smaller folder",
    )


def _entries(folder: Path) -> Iterator[_Entry]:
    """All that is not ignored, in the order of names, each folder before what is in it. Raises OSError."""
    yield from _walk(str(folder), "", [*above(folder)])


def _walk(folder: str, under: str, stack: list[tuple[bytes, Rules]]) -> Iterator[_Entry]:
    own = rules_of(Path(folder))
    here = [*stack, (b"", own)] if own else stack
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: os.fsencode(entry.name))
    for entry in entries:
        name = os.fsencode(entry.name)
        is_folder = entry.is_dir(follow_symlinks=False)
        if entry.name == ".git" or ignored(here, name, is_folder):
            continue
        yield _Entry(under + entry.name, entry.path, entry.stat(follow_symlinks=False))
        if is_folder:
            deeper = [(before + b"/" + name if before else name, rules) for before, rules in here]
            yield from _walk(entry.path, f"{under}{entry.name}/", deeper)


def _inside(folder: Path, link: _Entry) -> bool:
    """Whether a link leads, without going through another, to something in the folder; where it leads need not be there."""
    target = os.readlink(link.path)
    if os.path.isabs(target):
        return False
    here = link.name.split("/")[:-1]
    steps = [step for step in target.split("/") if step not in {"", "."}]
    for number, step in enumerate(steps):
        if step != "..":
            here.append(step)
        elif here:
            here.pop()
        else:
            return False
        if number < len(steps) - 1 and (folder.joinpath(*here)).is_symlink():
            return False
    return True
