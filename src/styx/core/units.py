"""Sizes, durations, CPUs and accelerators as people write them, turned into the whole numbers that the core counts in.

Each function takes what a file, a request or a command line gave and returns an integer (bytes, milliseconds, thousandths of
a CPU), or raises ValueError with a message that reads on from "must be": `a size such as 512MB, got 'lots'`. Decimal units are
powers of 1000 and binary ones (`Ki`, `KiB`) powers of 1024, as the IEC has it.
"""

from __future__ import annotations

import math
import re
from functools import lru_cache

__all__ = ["accelerator_counts", "byte_count", "got", "micros", "milliseconds", "thousandths"]

MAX_BYTES = 1 << 53
MAX_CPUS = 1_000_000
MAX_MILLISECONDS = 10 * 365 * 86_400_000
MAX_ACCELERATORS = 1_024
MAX_DOLLARS = 1_000_000_000

_SIZE = re.compile(r"\s*(\d{1,20}(?:\.\d{1,9})?)\s*([kmgtp]?)(i?)(b?)\s*", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_DURATION = re.compile(r"(\d{1,15}(?:\.\d{1,9})?)\s*(ms|min|s|m|h|d|w)\s*")
_UNITS = {"ms": 1, "s": 1_000, "m": 60_000, "min": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_NUMBER = re.compile(r"\d{1,15}(?:\.\d{1,9})?")
_MILLI = re.compile(r"(\d{1,10})m")
_MONEY = re.compile(r"\$?\s*(\d{1,12}(?:\.\d{1,9})?)\s*(?:USD|usd)?")
_ACCELERATOR = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}")
_BYTES_WANTED = "a size such as 512MB, 1.5GiB or a number of bytes"
_DURATION_WANTED = "a duration such as 10m, 1h30m, 250ms or a number of seconds"
_MONEY_WANTED = "an amount such as 20 USD, $1.50 or a number of US dollars"
_CPUS_WANTED = "a number of CPUs such as 2, 0.5 or 500m"


def got(value: object) -> str:
    """What a value is, short enough for a message whatever it is."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list"
    if isinstance(value, int):
        return str(value) if -(10**20) < value < 10**20 else "a very large number"
    if isinstance(value, (str, float)):
        shown = repr(value)
        return shown if len(shown) <= 60 else f"{shown[:56]}...{shown[-1]}"
    return f"a {type(value).__name__}"


def byte_count(value: object) -> int:
    """Bytes: a whole number, or text with a unit (`512MB`, `1.5 GiB`, `4g`)."""
    size: float = -1
    if isinstance(value, int) and not isinstance(value, bool):
        size = value
    elif isinstance(value, float) and value.is_integer():
        size = int(value) if abs(value) < 1e300 else MAX_BYTES + 1
    elif isinstance(value, str):
        size = _size_text(value)
    if size < 0:
        raise ValueError(f"{_BYTES_WANTED}, got {got(value)}")
    if size > MAX_BYTES:
        raise ValueError(f"at most {MAX_BYTES >> 50} PiB, got {got(value)}")
    return int(size)


@lru_cache(maxsize=1_024)
def _size_text(value: str) -> int:
    match = _SIZE.fullmatch(value)
    if match is None:
        return -1
    number, prefix, binary, _ = match.groups()
    if binary and not prefix:
        return -1
    whole, _, fraction = number.partition(".")
    factor: int = (1_024 if binary else 1_000) ** _POWERS[prefix.lower()]
    size = int(whole) * factor
    return size + int(fraction) * factor // 10 ** len(fraction) if fraction else size


def milliseconds(value: object) -> int:
    """Milliseconds: a number of seconds, or text such as `90s`, `1h30m`, `250ms`."""
    if isinstance(value, str):
        result = _duration_text(value.strip())
    elif isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0:
        result = MAX_MILLISECONDS + 1 if value > MAX_MILLISECONDS else math.ceil(value * 1_000 - 1e-6)
    else:
        result = -1
    if result < 0:
        raise ValueError(f"{_DURATION_WANTED}, got {got(value)}")
    if result > MAX_MILLISECONDS:
        raise ValueError(f"at most 10 years, got {got(value)}")
    return result


@lru_cache(maxsize=1_024)
def _duration_text(value: str) -> int:
    if _NUMBER.fullmatch(value):
        return math.ceil(float(value) * 1_000 - 1e-6)
    total = 0.0
    position = 0
    while position < len(value):
        match = _DURATION.match(value, position)
        if match is None:
            return -1
        total += float(match[1]) * _UNITS[match[2]]
        position = match.end()
    return math.ceil(total - 1e-6) if value else -1


def thousandths(value: object) -> int:
    """Thousandths of a CPU: `2`, `0.5`, `500m`."""
    cpus = -1.0
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        cpus = float(value) if abs(value) <= MAX_CPUS else math.inf if value > 0 else -1.0
    elif isinstance(value, str):
        if match := _MILLI.fullmatch(value.strip()):
            cpus = int(match[1]) / 1_000
        elif _NUMBER.fullmatch(value.strip()):
            cpus = float(value)
    if not cpus >= 0:
        raise ValueError(f"{_CPUS_WANTED}, got {got(value)}")
    if cpus > MAX_CPUS:
        raise ValueError(f"at most {MAX_CPUS:,} CPUs, got {got(value)}")
    result = round(cpus * 1_000)
    if result < 1:
        raise ValueError(f"at least 0.001 CPUs, got {got(value)}")
    return result


def micros(value: object) -> int:
    """Millionths of a US dollar: a number of dollars, or text such as `20 USD`, `$1.50`, `0.30`."""
    amount = -1.0
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        amount = float(value) if abs(value) <= MAX_DOLLARS else math.inf if value > 0 else -1.0
    elif isinstance(value, str) and (match := _MONEY.fullmatch(value.strip())):
        amount = float(match[1])
    if not amount >= 0:
        raise ValueError(f"{_MONEY_WANTED}, got {got(value)}")
    if amount > MAX_DOLLARS:
        raise ValueError(f"at most {MAX_DOLLARS:,} USD, got {got(value)}")
    return round(amount * 1_000_000)


def accelerator_counts(value: object) -> tuple[tuple[str, int], ...]:
    """Accelerators by name: `A100`, `A100:2`, `A100:2,T4:1` or a mapping of names to counts; sorted by name."""
    pairs: list[tuple[object, object]]
    if isinstance(value, str):
        pairs = [_named_count(part) for part in value.split(",")]
    elif isinstance(value, dict) and len(value) <= 64:
        pairs = list(value.items())
    else:
        raise ValueError(f"a name with a count, such as A100:1 or {{A100: 1}}, got {got(value)}")
    counts: dict[str, int] = {}
    for name, count in pairs:
        if not isinstance(name, str) or not _ACCELERATOR.fullmatch(name):
            raise ValueError(f"named by letters and digits such as A100, got {got(name)}")
        if name.isdecimal() and isinstance(value, str):
            raise ValueError(f"named by kind, such as A100:{name}, got only the number {name}")
        if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= MAX_ACCELERATORS:
            raise ValueError(f"counted in whole numbers up to {MAX_ACCELERATORS:,}, got {got(count)} of {name}")
        if name in counts:
            raise ValueError(f"named once each, got {name} twice")
        counts[name] = int(count)
    return tuple(sorted((name, count) for name, count in counts.items() if count))


def _named_count(part: str) -> tuple[object, object]:
    name, colon, count = part.partition(":")
    count = count.strip()
    if not colon:
        return name.strip(), 1
    return name.strip(), int(count) if count.isascii() and count.isdecimal() and len(count) < 10 else count
