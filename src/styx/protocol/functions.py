"""A task that is a function of a cloud, given by its name, and the payload it is called with.

    function: thumbnail
    payload: {size: 128, source: cats.png}     # any value; {} by default
    idempotent: true                           # it may be called again when nobody knows whether it ran

The payload reaches the function as JSON. It is kept as one text of JSON from the moment it was read, so that the same document always
means the same call: members in their order, no blanks, whole numbers within 64 bits, which every reader of JSON gets right.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

from styx.core.units import got
from styx.protocol import fields
from styx.protocol.findings import Findings, Path

__all__ = ["read_function", "read_image", "read_payload"]

MAX_PAYLOAD = 256 << 10  # bytes
MAX_DEPTH = 32
_NAME = re.compile(r"[A-Za-z0-9_][!-~]{0,511}")  # an image with its digest, a function with its whole ARN
_LEAST, _MOST = -(1 << 63), (1 << 64) - 1


def read_image(findings: Findings, path: Path, value: object) -> str | None:
    return _name(findings, path, value, "the name of an image such as python:3.12")


def read_function(findings: Findings, path: Path, value: object) -> str | None:
    return _name(findings, path, value, "the name of a function")


def _name(findings: Findings, path: Path, value: object, wanted: str) -> str | None:
    if isinstance(value, str) and _NAME.fullmatch(value):
        return value
    findings.value(path, f"{wanted}, got {got(value) if value != '' else 'nothing'}")
    return None


def read_payload(findings: Findings, path: Path, value: object) -> str | None:
    """One text of JSON."""
    before = len(findings.problems)
    plain = _plain(findings, path, value, 0)
    if len(findings.problems) > before:
        return None
    text = json.dumps(plain, ensure_ascii=False, separators=(",", ":"))
    if len(text.encode()) > MAX_PAYLOAD:
        hint = "put what is long where the function can fetch it, and pass its address"
        findings.value(path, f"at most {MAX_PAYLOAD:,} bytes of JSON, got {len(text.encode()):,}", hint)
        return None
    return text


def _plain(findings: Findings, path: Path, value: object, depth: int) -> Any:
    """The value as JSON has it; what JSON cannot say is noted."""
    if depth > MAX_DEPTH:
        findings.value(path, f"nested at most {MAX_DEPTH} deep")
        return None
    if isinstance(value, dict):
        return _members(findings, path, value, depth)
    if isinstance(value, list):
        return [_plain(findings, (*path, at), one, depth + 1) for at, one in enumerate(value) if not findings.full]
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return value if fields.check_text(findings, path, value, MAX_PAYLOAD) else None
    if isinstance(value, int):
        if _LEAST <= value <= _MOST:
            return int(value)
        findings.value(path, f"a whole number of at most 64 bits, got {got(value)}", "quote it to pass it on as text")
    elif isinstance(value, float):
        if math.isfinite(value):
            return float(value)
        findings.value(path, f"a number that JSON has, got {got(value)}", "quote it to pass it on as text")
    else:
        findings.value(path, f"a value that JSON has, got {got(value)}")
    return None


def _members(findings: Findings, path: Path, value: dict[Any, Any], depth: int) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for key, part in value.items():
        where = (*path, str(key)[:80])
        name = fields.argument_text(key)
        if name is None or name in members:
            findings.add(where, f"{got(key)} cannot be the name of a member of JSON", key=True)
        elif fields.check_text(findings, where, name, 4_096):
            members[name] = _plain(findings, (*path, name), part, depth + 1)
        if findings.full:
            break
    return members
