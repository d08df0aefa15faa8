"""Access tokens: 256 random bits, shown once, of which only the SHA-256 is kept."""

from __future__ import annotations

import hashlib
import secrets

from styx.errors import NotFound, UsageError
from styx.protocol.http import TokenView
from styx.runtime.clock import Clock
from styx.store.base import Store, TokenRow

__all__ = ["ROLES", "Tokens"]

ROLES = ("admin", "user", "viewer", "agent")


class Tokens:
    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def list(self) -> list[TokenView]:
        return [_view(row) for row in await self._store.tokens()]

    async def add(self, name: str, role: str, ttl: float) -> TokenView:
        """`ttl` is its life in seconds, 0 for ever. The secret is in the answer and nowhere else. Raises UsageError."""
        if role not in ROLES:
            raise UsageError(f"there is no role {role!r}", hint="it is one of " + ", ".join(ROLES))
        if not name or len(name) > 200:
            raise UsageError("a token needs a name of 1 to 200 characters", hint="say whose it is or what it is for")
        if not 0 <= ttl < 1e10:
            raise UsageError("the life of a token is a number of seconds, 0 for ever")
        secret = "styx_" + secrets.token_urlsafe(32)
        now = self._clock.now()
        digest = hashlib.sha256(secret.encode()).digest()
        row = await self._store.add_token(TokenRow(0, name, role, digest, now, now + int(ttl * 1_000) if ttl else 0))
        return _view(row, secret)

    async def revoke(self, token: int) -> bool:
        """False when it had been revoked before; NotFound when there is none."""
        if all(row.token != token for row in await self._store.tokens()):
            raise NotFound(f"there is no token {token}", hint="styx token list shows them")
        return await self._store.revoke_token(token, self._clock.now())


def _view(row: TokenRow, secret: str = "") -> TokenView:
    return TokenView(
        row.token, row.name, row.role, row.created_at / 1_000, row.expires_at / 1_000, bool(row.revoked_at), secret
    )
