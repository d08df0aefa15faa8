"""The answer of `why`."""

from __future__ import annotations

import msgspec

__all__ = ["Reason"]


class Reason(msgspec.Struct, frozen=True, gc=False):
    """A stable word, one line, what supports it, and what would change it."""

    code: str
    reason: str
    evidence: tuple[str, ...] = ()
    change: tuple[str, ...] = ()
