"""Reading one table of `styx.toml` key by key, so that everything that is wrong with it is said at once.

Each key has a reader: it takes what stands there and returns what that means, or raises ValueError with words that read on from
"must be". A Wrong may say besides which part of the value it is about, and what would help. The readers here are those that
several tables want; each table knows its own names and limits.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from styx.core.suggest import did_you_mean, one_of
from styx.core.units import byte_count, got
from styx.errors import Problem

__all__ = ["Reader", "Wrong", "byte_size", "flag", "items", "keyed", "mapping", "read_table", "text", "url", "whole"]

Reader = Callable[[object], Any]

_URL = re.compile(r"https?://[^\s/]+(/\S*)?")


class Wrong(ValueError):
    """Reads on from "must be". `under` is the path of the part that is meant, within the value."""

    def __init__(self, message: str, *, under: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.under = under
        self.hint = hint


def read_table(
    given: Mapping[str, Any],
    readers: Mapping[str, Reader],
    where: str,
    problems: list[Problem],
    *,
    of: str,
    beside: Collection[str] = (),
) -> dict[str, Any]:
    """The values by key; what is wrong is added to `problems`, with paths under `where` (`$.providers.aws`). `of` is whose settings they
    are; keys in `beside` are read elsewhere."""
    values: dict[str, Any] = {}
    for key, value in given.items():
        reader = readers.get(key)
        if reader is None:
            if key not in beside:
                known = (*readers, *beside)
                hint = did_you_mean(str(key), known) or f"known are {one_of(known)}"
                problems.append(Problem(f"{where}.{key}", f"{key!r} is no setting of {of}", hint))
            continue
        try:
            values[key] = reader(value)
        except ValueError as error:
            under, hint = (error.under, error.hint) if isinstance(error, Wrong) else ("", "")
            path = f"{where}.{key}{under}"
            problems.append(Problem(path, f"{path.removeprefix('$.')} must be {error}", hint))
    return values


def text(value: object, what: str, shape: re.Pattern[str], under: str = "") -> str:
    """Of that shape, without the blanks around it."""
    if not isinstance(value, str) or not shape.fullmatch(value.strip()):
        raise Wrong(f"{what}, got {got(value)}", under=under)
    return value.strip()


def url(value: object) -> str:
    return text(value, "a URL such as http://127.0.0.1:5000", _URL)


def flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise Wrong(f"true or false, got {got(value)}")
    return value


def whole(value: object, most: int, under: str = "") -> int:
    """A whole number from 1 to `most`."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise Wrong(f"a whole number from 1 to {most:,}, got {got(value)}", under=under)
    return value


def byte_size(value: object, least: int, most: int, said: str) -> int:
    """Bytes within limits, which `said` puts into words."""
    size = byte_count(value)
    if not least <= size <= most:
        raise Wrong(f"{said}, got {got(value)}")
    return size


def items(value: object, most: int, what: str) -> list[object]:
    """1 to `most` of something, or one alone."""
    several = [value] if isinstance(value, str) else value
    if not isinstance(several, (list, tuple)) or not 1 <= len(several) <= most:
        raise Wrong(f"{what}, got {got(value)}")
    return list(several)


def mapping(value: object, what: str) -> dict[str, object]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise Wrong(f"{what}, got {got(value)}")
    return dict(value)


def keyed(value: object, what: str, shape: re.Pattern[str], usual: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """One text for all keys of `usual`, or others than the usual ones for some of them."""
    if isinstance(value, str):
        return tuple((key, text(value, what, shape)) for key in usual)
    found = dict(usual)
    for key, one in mapping(value, f"{what}, or a mapping of {one_of(usual)} to such").items():
        if key not in usual:
            raise Wrong(f"keyed by {one_of(usual)}, got {got(key)}", hint=did_you_mean(key, usual))
        found[key] = text(one, what, shape, f".{key}")
    return tuple(found.items())
