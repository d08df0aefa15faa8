"""How an agent joins: with a join token, known by its prefix, it asks once for a credential of its own over HTTP."""

from __future__ import annotations

import msgspec

__all__ = ["ENROL", "JOIN", "Enrol", "Enrolled"]

JOIN = "styx_join_"  # how a join token begins
ENROL = "/api/v1/agents/enrol"


class Enrol(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`key` is a secret that the agent drew for itself; with it the same agent may ask again."""

    agent: str
    key: str

    def __repr__(self) -> str:
        return f"Enrol({self.agent!r}, ***)"


class Enrolled(msgspec.Struct, frozen=True):
    """What to dial with, and for how many seconds it is good; it is renewed over the link."""

    secret: str
    ttl: float

    def __repr__(self) -> str:
        return f"Enrolled(***, {self.ttl})"
