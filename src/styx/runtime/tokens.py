"""Access tokens: 256 random bits, shown once, of which only the SHA-256 is kept."""

from __future__ import annotations

import hashlib
import re
import secrets

from styx.errors import NotFound, UsageError
from styx.protocol.http import TokenView
from styx.protocol.joining import JOIN
from styx.runtime.clock import Clock
from styx.store.base import Store, TokenRow

__all__ = ["ROLES", "Tokens"]

ROLES = ("admin", "user", "viewer", "agent", "join")
_POOL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Tokens:
    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def list(self) -> list[TokenView]:
        return [_view(row) for row in await self._store.tokens()]

    async def add(self, name: str, role: str, ttl: float, pool: str = "", single: bool = False) -> TokenView:
        """`ttl` is its life in seconds, 0 for ever. A token of the role join is for a `pool`, or for a `single` agent, or both.
        The secret is in the answer and nowhere else. Raises UsageError."""
        if role not in ROLES:
            raise UsageError(f"there is no role {role!r}", hint="it is one of " + ", ".join(ROLES))
        if not name or len(name) > 200:
            raise UsageError("a token needs a name of 1 to 200 characters", hint="say whose it is or what it is for")
        if not 0 <= ttl < 1e10:
            raise UsageError("the life of a token is a number of seconds, 0 for ever")
        if role == "join" and not (pool or single):
            raise UsageError(
                "a join token is for one agent or for a pool", hint="say which: single use, or the pool's name"
            )
        if role != "join" and (pool or single):
            raise UsageError(
                f"a token of the role {role} has no pool and is no single-use one", hint="make a join token"
            )
        if pool and not _POOL.fullmatch(pool):
            raise UsageError("the name of a pool is up to 64 letters, digits, dots, dashes and underscores")
        secret = (JOIN if role == "join" else "styx_") + secrets.token_urlsafe(32)
        now = self._clock.now()
        digest = hashlib.sha256(secret.encode()).digest()
        ends = now + int(ttl * 1_000) if ttl else 0
        row = TokenRow(0, name, role, digest, now, ends, pool=pool, single=single)
        return _view(await self._store.add_token(row), secret)

    async def revoke(self, token: int) -> bool:
        """False when it had been revoked before; NotFound when there is none."""
        rows = await self._store.tokens()
        row = next((row for row in rows if row.token == token), None)
        if row is None:
            raise NotFound(f"there is no token {token}", hint="styx token list shows them")
        now = self._clock.now()
        done = await self._store.revoke_token(token, now)
        if row.parent:  # a credential: the agent is meant, with all that it has
            for other in rows:
                if other.parent and other.agent == row.agent:
                    await self._store.revoke_token(other.token, now)
            await self._store.forget_enrolment(
                row.agent
            )  # a later join token may let it in, with whatever key it has then
        return done


def _view(row: TokenRow, secret: str = "") -> TokenView:
    return TokenView(
        row.token,
        row.name,
        row.role,
        row.created_at / 1_000,
        row.expires_at / 1_000,
        bool(row.revoked_at),
        secret,
        row.agent,
        row.pool,
        row.single,
        row.parent,
    )
