"""The values inside a task: each reader takes the findings, where it is and what stands there, and returns what the core
wants, or None after it has noted what is wrong.
"""

from __future__ import annotations

import math
import os.path
import re

from styx.core.graph import MAX_ARRAY
from styx.core.spec import Backoff, Priority, When
from styx.core.suggest import did_you_mean, one_of
from styx.core.units import got, milliseconds
from styx.protocol.findings import Findings, Path

__all__ = [
    "OWN_VARIABLES",
    "Pairs",
    "argument_text",
    "check_text",
    "check_workdir",
    "duration",
    "flag",
    "read_archive",
    "read_array",
    "read_backoff",
    "read_env",
    "read_labels",
    "read_losses",
    "read_needs",
    "read_priority",
    "read_retries",
    "read_wait",
    "read_when",
]

MAX_STRING = 131_071  # bytes; the kernel takes no longer single argument or variable (MAX_ARG_STRLEN, less its NUL)
MAX_NEEDS = 10_000
MAX_PAIRS = 4_096
MAX_LABEL = 256

Pairs = tuple[tuple[str, str], ...]


_HASH = re.compile(r"[0-9a-f]{64}")
_VARIABLE = re.compile(r"[^=\0]+")
OWN_VARIABLES = frozenset(
    f"STYX_{name}"
    for name in ("JOB_ID", "TASK_ID", "TASK_NAME", "ATTEMPT", "ARRAY_INDEX", "ARRAY_SIZE", "RESULT", "RESULTS")
)
_INTERPRETED = {True: "true", False: "false"}


def check_text(findings: Findings, path: Path, value: str, limit: int = MAX_STRING) -> bool:
    """Whether a string can be handed to a program: no NUL, valid Unicode, not too long."""
    if "\0" in value:
        findings.value(path, "text without NUL characters", "a NUL ends a string for every program; take it out")
        return False
    if value.isascii():
        size = len(value)
    else:
        try:
            size = len(value.encode())
        except UnicodeEncodeError:
            findings.value(path, "valid Unicode text, got lone surrogates", "pass such bytes in a file instead")
            return False
    if size > limit:
        findings.value(path, f"at most {limit:,} bytes long, got {size:,}", "put long text into a file")
        return False
    return True


def argument_text(value: object) -> str | None:
    """A string, or a number or truth value as it was written; None for anything else."""
    if isinstance(value, str):
        return value
    if value is True or value is False:
        return _INTERPRETED[value]
    if isinstance(value, (int, float)):
        written = getattr(value, "written", None)
        if isinstance(written, str):
            return written
        if isinstance(value, float):
            return repr(value) if math.isfinite(value) else None
        return str(value) if abs(value) < 10**4000 else None
    return None


def flag(findings: Findings, path: Path, value: object) -> bool | None:
    if value is True or value is False:
        return value
    findings.value(path, f"true or false, got {got(value)}")
    return None


def duration(findings: Findings, path: Path, value: object) -> int | None:
    """Milliseconds, at least 1."""
    try:
        result = milliseconds(value)
    except ValueError as error:
        findings.value(path, str(error))
        return None
    if result < 1:
        findings.value(path, f"longer than nothing, got {got(value)}", f"leave {path[-1]!r} out for no limit")
        return None
    return result


def read_wait(findings: Findings, path: Path, value: object) -> int | None:
    try:
        return milliseconds(value)
    except ValueError as error:
        findings.value(path, str(error))
        return None


def _whole(findings: Findings, path: Path, value: object, low: int, high: int) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
        return int(value)
    hint = "write the number without quotes" if isinstance(value, str) and value.isdecimal() else ""
    findings.value(path, f"a whole number from {low:,} to {high:,}, got {got(value)}", hint)
    return None


def read_retries(findings: Findings, path: Path, value: object) -> int | None:
    return _whole(findings, path, value, 0, 1_000)


def read_losses(findings: Findings, path: Path, value: object) -> int | None:
    return _whole(findings, path, value, 0, 1_000)


def read_array(findings: Findings, path: Path, value: object) -> int | None:
    return _whole(findings, path, value, 1, MAX_ARRAY)


def read_priority(findings: Findings, path: Path, value: object) -> Priority | None:
    if isinstance(value, str):
        priority = Priority.__members__.get(value.upper())
        if priority is not None:
            return priority
    names = [name.lower() for name in Priority.__members__]
    findings.value(path, f"{one_of(names)}, got {got(value)}", did_you_mean(str(value)[:40], names))
    return None


def read_when(findings: Findings, path: Path, value: object) -> When | None:
    if value == "always":
        return When.ALWAYS
    if value == "success":
        return When.SUCCESS
    hint = did_you_mean(value, ("always", "success")) if isinstance(value, str) else ""
    findings.value(path, f"'success' or 'always', got {got(value)}", hint)
    return None


def read_backoff(findings: Findings, path: Path, value: object) -> Backoff | None:
    """`{initial: 1s, factor: 2, limit: 5m}`, or only the first wait."""
    plain = Backoff()
    if not isinstance(value, dict):
        first = read_wait(findings, path, value)
        return None if first is None else Backoff(first, plain.factor, max(first, plain.limit))
    initial, factor, limit = plain.initial, plain.factor, plain.limit
    known = len(findings.problems)
    for key, part in value.items():
        where = (*path, str(key))
        if key == "initial":
            initial = read_wait(findings, where, part) or 0
        elif key == "limit":
            limit = read_wait(findings, where, part) or 0
        elif key == "factor":
            if isinstance(part, bool) or not isinstance(part, (int, float)) or not 1 <= part <= 100:
                findings.value(where, f"a number from 1 to 100, got {got(part)}")
            else:
                factor = float(part)
        else:
            findings.unknown(path, key, ("initial", "factor", "limit"), " in 'backoff'")
    if "limit" not in value:
        limit = max(limit, initial)
    elif limit < initial and len(findings.problems) == known:
        findings.value((*path, "limit"), f"at least as long as the first wait, got {got(value['limit'])}")
    return Backoff(initial, factor, limit)


def read_needs(findings: Findings, path: Path, value: object) -> tuple[str, ...] | None:
    """One name or a list of names."""
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list):
        findings.value(path, f"a list of names of tasks, got {got(value)}")
        return None
    if len(value) > MAX_NEEDS:
        findings.value(
            path, f"at most {MAX_NEEDS:,} names, got {len(value):,}", "put a task in between that joins them"
        )
        return None
    for position, name in enumerate(value):
        if not isinstance(name, str):
            text = argument_text(name)
            if text is None or isinstance(name, bool):
                findings.value((*path, position), f"the name of a task, got {got(name)}")
                return None
            value = [*value[:position], text, *value[position + 1 :]]
    return tuple(value)


def read_env(findings: Findings, path: Path, value: object) -> Pairs | None:
    """Variables as a mapping of names to scalars; numbers and truth values become the text that was written."""
    if not isinstance(value, dict):
        findings.value(path, f"a mapping of names to values, got {got(value)}", "write it as {NAME: value}")
        return None
    if len(value) > MAX_PAIRS:
        findings.value(path, f"at most {MAX_PAIRS:,} variables, got {len(value):,}")
        return None
    pairs = []
    for key, part in value.items():
        name = key if isinstance(key, str) else argument_text(key)
        if name is None or not _VARIABLE.fullmatch(name) or not check_text(findings, (*path, str(key)), name):
            findings.add((*path, str(key)), f"{got(key)} cannot be the name of a variable", key=True)
            continue
        where = (*path, name)
        if name in OWN_VARIABLES:
            findings.add(where, f"{name!r} is set by Styx itself", "choose another name", key=True)
            continue
        text = argument_text(part)
        if text is None:
            hint = 'write "" for an empty value' if part is None else "quote it to pass it on as text"
            findings.value(where, f"text, a number or true or false, got {got(part)}", hint)
        elif check_text(findings, where, text):
            pairs.append((name, text))
    return tuple(pairs)


def read_labels(findings: Findings, path: Path, value: object) -> Pairs | None:
    """Labels as a mapping of names to scalars, sorted by name."""
    if not isinstance(value, dict) or len(value) > MAX_PAIRS:
        findings.value(path, f"a mapping of names to values, got {got(value)}", "write it as {name: value}")
        return None
    pairs = []
    for key, part in value.items():
        where = (*path, str(key))
        name, text = argument_text(key), argument_text(part)
        if not name or not name.isprintable() or "=" in name or len(name) > MAX_LABEL:
            findings.add(where, f"{got(key)} cannot be the name of a label", key=True)
        elif text is None or len(text) > MAX_LABEL or (text and not text.isprintable()):
            findings.value(where, f"printable text of at most {MAX_LABEL} characters, got {got(part)}")
        else:
            pairs.append((name, text))
    return tuple(sorted(pairs))


def read_archive(findings: Findings, path: Path, value: object) -> str | None:
    """The hash of a packed working folder, as submitters write it who have sent one."""
    if not isinstance(value, str) or not _HASH.fullmatch(value):
        hint = "leave it out: `workdir` is packed and sent by whoever submits"
        findings.value(path, f"a SHA-256, 64 digits of 0-9 and a-f, got {got(value)}", hint)
        return None
    return value


def check_workdir(findings: Findings, path: Path, value: object, cwd: str) -> str | None:
    """An absolute folder; a relative one is meant from `cwd`."""
    if not isinstance(value, str) or not value:
        findings.value(path, f"a folder, got {got(value) if value != '' else 'nothing'}")
        return None
    if not check_text(findings, path, value, 4_096):
        return None
    if value.startswith("~"):
        findings.value(path, f"a path without '~', got {got(value)}", "write the whole path")
        return None
    if os.path.isabs(value):
        return os.path.normpath(value)
    if not cwd:
        findings.value(path, f"an absolute path, got {got(value)}", "the caller's folder is not known here")
        return None
    return os.path.normpath(os.path.join(cwd, value))
