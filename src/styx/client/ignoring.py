"""What `.gitignore` files say of a folder's entries, as git understands them.

The files are those of the folder, of the folders below it, and of those above it up to the root of the repository it lies in, and
`.git/info/exclude` there. The nearest file that says anything about an entry decides, and in a file the last line that does. A line is
held against the entry itself: what lies in an ignored folder is never looked at, so no line can bring it back, as with git.

A line becomes a regular expression over bytes, since git knows no characters: `?` is one byte. Libraries for this answer for files
only and let a line speak for all that lies below what it matches, which goes wrong once a nearer file brings some of it back.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

__all__ = ["Rules", "above", "ignored", "rules_of"]

_FILE = ".gitignore"
_CLASSES = {
    b"alnum": rb"0-9A-Za-z", b"alpha": rb"A-Za-z", b"blank": rb" \t", b"cntrl": rb"\x00-\x1f\x7f", b"digit": rb"0-9",
    b"graph": rb"!-~", b"lower": rb"a-z", b"print": rb" -~", b"punct": rb"!-/:-@\[-`{-~", b"space": rb"\t-\r ", b"upper": rb"A-Z",
    b"xdigit": rb"0-9A-Fa-f",
}  # fmt: skip


class Rules:
    """The lines of one file; paths are given relative to the folder that it lies in."""

    __slots__ = ("_lines",)

    def __init__(self, lines: Iterable[bytes]) -> None:
        read = (_line(line) for line in lines)
        self._lines = [line for line in read if line is not None]
        self._lines.reverse()

    def __bool__(self) -> bool:
        return bool(self._lines)

    def ignored(self, path: bytes, folder: bool) -> bool | None:
        """Whether it is ignored; None when no line says anything."""
        name = path.rpartition(b"/")[2]
        for ignores, only_folders, anchored, pattern in self._lines:
            if (folder or not only_folders) and pattern.fullmatch(path if anchored else name):
                return ignores
        return None


_Stack = Sequence[tuple[bytes, Rules]]


def rules_of(folder: Path) -> Rules:
    """The rules of the file in this folder; none when there is none, or it cannot be read."""
    return Rules(_content(folder / _FILE))


def above(folder: Path) -> list[tuple[bytes, Rules]]:
    """The rules that come from outside of a folder, the farthest first, each with the path of `folder` from where they lie."""
    folder = folder.resolve()
    found: list[tuple[bytes, Rules]] = []
    for parent in (folder, *folder.parents):
        way = b"" if parent == folder else os.fsencode(folder.relative_to(parent).as_posix())
        if parent != folder:
            found.append((way, rules_of(parent)))
        if (parent / ".git").exists():
            found.append((way, Rules(_content(parent / ".git" / "info" / "exclude"))))
            return [(way, rules) for way, rules in reversed(found) if rules]
    return []  # no repository: files above have nothing to do with it


def ignored(stack: _Stack, path: bytes, folder: bool) -> bool:
    """`stack` holds the rules that may speak of `path`, the nearest last, each with what comes before the path there."""
    for before, rules in reversed(stack):
        said = rules.ignored(before + b"/" + path if before else path, folder)
        if said is not None:
            return said
    return False


def _content(path: Path) -> list[bytes]:
    try:
        content = path.read_bytes()
    except OSError:
        return []
    return [line.removesuffix(b"\r") for line in content.removeprefix(b"\xef\xbb\xbf").split(b"\n")]


def _line(line: bytes) -> tuple[bool, bool, bool, re.Pattern[bytes]] | None:
    """(ignores, folders only, over the whole path, pattern); None when the line says nothing."""
    line = _without_trailing_spaces(line)
    if not line or line.startswith(b"#"):
        return None
    ignores = not line.startswith(b"!")
    line = line.removeprefix(b"!") if not ignores else line
    only_folders = line.endswith(b"/")
    line = line.removesuffix(b"/")
    anchored = b"/" in line
    line = line.removeprefix(b"/")
    expression = _translated(line, anchored) if line else None
    return None if expression is None else (ignores, only_folders, anchored, re.compile(expression, re.DOTALL))


def _without_trailing_spaces(line: bytes) -> bytes:
    """Spaces at the end count only where a backslash stands before them."""
    at, end = 0, 0
    while at < len(line):
        if line[at : at + 1] == b"\\":
            at += 2
            end = at
        else:
            at += 1
            if line[at - 1 : at] != b" ":
                end = at
    return line[:end]


def _translated(pattern: bytes, anchored: bool) -> bytes | None:
    """A regular expression; None when git would match nothing by it. With `anchored`, wildcards stop at slashes."""
    any_one, any_many = (b"[^/]", b"[^/]*") if anchored else (b".", b".*")
    out: list[bytes] = []
    at = 0
    while at < len(pattern):
        one = pattern[at : at + 1]
        at += 1
        if one == b"*":
            start = at - 1
            while pattern[at : at + 1] == b"*":
                at += 1
            whole = at - start > 1 and (start == 0 or pattern[start - 1 : start] == b"/")
            if anchored and whole and pattern[at : at + 1] == b"/":
                out.append(b"(?:.*/)?")
                at += 1
            elif anchored and whole and at == len(pattern):
                out.append(b".*")
            else:
                out.append(any_many)
        elif one == b"?":
            out.append(any_one)
        elif one == b"[":
            found = _set(pattern, at, anchored)
            if found is None:
                return None
            expression, at = found
            out.append(expression)
        elif one == b"\\":
            if at == len(pattern):
                return None
            out.append(re.escape(pattern[at : at + 1]))
            at += 1
        else:
            out.append(re.escape(one))
    return b"".join(out)


def _set(pattern: bytes, at: int, anchored: bool) -> tuple[bytes, int] | None:
    """The expression for [...], whose content begins at `at`, and where it ends; None when it never does."""
    negated = pattern[at : at + 1] in {b"!", b"^"} and at < len(pattern)
    at += negated
    parts: list[bytes] = []
    first = True
    while first or pattern[at : at + 1] != b"]":
        first = False
        if at >= len(pattern):
            return None
        if pattern[at : at + 2] == b"[:":
            end = pattern.find(b"]", at + 2)
            if end < 0:
                return None
            if pattern[end - 1 : end] == b":" and end - 1 > at + 1:
                known = _CLASSES.get(pattern[at + 2 : end - 1])
                if known is None:
                    return None
                parts.append(known)
                at = end + 1
                continue
        low, at = _member(pattern, at)
        if low is None:
            return None
        parts.append(re.escape(low))  # also where the range that it begins is empty
        if pattern[at : at + 1] == b"-" and pattern[at + 1 : at + 2] not in {b"]", b""}:
            high, at = _member(pattern, at + 1)
            if high is None:
                return None
            if low <= high:
                parts.append(re.escape(low) + b"-" + re.escape(high))
    inside = b"".join(parts)
    if not inside:
        return (b"[^/]" if anchored else b".") if negated else b"(?!)", at + 1
    body = b"[" + (b"^" if negated else b"") + inside + b"]"
    return (b"(?!/)" + body if anchored else body), at + 1


def _member(pattern: bytes, at: int) -> tuple[bytes | None, int]:
    """One byte of a set, which a backslash may stand before."""
    if pattern[at : at + 1] == b"\\":
        at += 1
    return (pattern[at : at + 1] or None), at + 1
