"""Who asks, and may they? Bearer tokens on everything but `/health` and `/version`, on loopback too.

A secret is 256 random bits, so a plain SHA-256 of it at rest is enough: there is nothing to guess, and nothing slow is
needed to make guessing dear. Looking a digest up leaks no secret through time, since the digest of a guess says
nothing about the digest of a secret.

`authorise` is the one place that decides. What a role may do is written at the routes (`app.ROUTES`), one `Access` each.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from enum import Enum

import msgspec
from aiohttp import web

from styx.api.problems import Handler
from styx.errors import NotAllowed, Revoked
from styx.store.base import TokenRow

__all__ = ["ACCESS", "IDENTITY", "TOKENS", "Access", "Identity", "Tokens", "auth_middleware", "authorise", "digest_of"]

ROLES = ("admin", "user", "viewer", "agent", "join")


class Access(Enum):
    """Which roles may use a route."""

    PUBLIC = frozenset({"", *ROLES})  # "" is somebody without a token
    READ = frozenset({"admin", "user", "viewer"})
    WRITE = frozenset({"admin", "user"})
    ADMIN = frozenset({"admin"})
    AGENT = frozenset({"admin", "agent"})  # the local user's token is an admin's, and starts the local agent
    JOIN = frozenset({"join"})  # an agent that has no credential of its own yet
    BOOT = frozenset({"admin", "agent", "join"})  # a machine before its agent runs, or who puts an agent on one


class Identity(msgspec.Struct, frozen=True, gc=False):
    token_id: int
    name: str
    role: str
    pool: str = ""
    expires_at: int = 0
    parent: int = 0


def digest_of(secret: str) -> bytes:
    """What is kept of a secret. A header may hold bytes that are no text; they are nobody's."""
    return hashlib.sha256(secret.encode(errors="backslashreplace")).digest()


class Tokens:
    """The store's tokens as they were at most `fresh` seconds ago.

    An unknown secret makes it look again at once, but not more often than `fresh`: a new token works after that time at
    the latest, and guesses cost no more reads. The API's own changes are seen at once (`forget`)."""

    def __init__(
        self,
        load: Callable[[], Awaitable[list[TokenRow]]],
        *,
        fresh: float = 1.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._load = load
        self._fresh = fresh
        self._clock = clock
        self._rows: dict[bytes, TokenRow] = {}
        self._loaded = -1.0  # on the monotonic clock
        self._loading: asyncio.Future[None] | None = None

    def forget(self) -> None:
        """Something has changed: look again before the next answer."""
        self._loaded = -1.0

    async def find(self, secret: str) -> Identity | None:
        """Whose secret this is; None when it is nobody's, or no longer."""
        await self._refresh()
        row = self._rows.get(digest_of(secret))
        if row is None or not self._good(row):
            return None
        return Identity(row.token, row.name, row.role, row.pool, row.expires_at, row.parent)

    def revoked(self, secret: str) -> bool:
        """Whether this was a token, and was taken back. As of the last look."""
        row = self._rows.get(digest_of(secret))
        return row is not None and row.revoked_at > 0

    async def live(self) -> set[int]:
        """The tokens that are somebody's now."""
        await self._refresh()
        return {row.token for row in self._rows.values() if self._good(row)}

    def _good(self, row: TokenRow) -> bool:
        return not row.revoked_at and not 0 < row.expires_at <= self._clock() * 1_000

    async def _refresh(self) -> None:
        now = time.monotonic()
        if self._loaded < 0 or now - self._loaded >= self._fresh:
            self._loaded = now
            self._loading = asyncio.ensure_future(self._look())
        if self._loading is not None:  # also for who comes while somebody else's look is under way
            await asyncio.shield(self._loading)

    async def _look(self) -> None:
        try:
            self._rows = {row.digest: row for row in await self._load()}
        except BaseException:
            self._loaded = -1.0
            raise


def authorise(identity: Identity | None, access: Access) -> None:
    """Raises NotAllowed: 401 when nobody is known, 403 when this one may not."""
    role = identity.role if identity is not None else ""
    if role in access.value:
        return
    if identity is None:
        raise NotAllowed(
            "a token is needed", hint="send `Authorization: Bearer styx_...`; see `styx token`", status=401
        )
    allowed = " or ".join(role for role in ROLES if role in access.value)
    raise NotAllowed(f"the token {identity.name!r} has the role {role}; this needs {allowed}")


ACCESS = web.AppKey("access", dict[tuple[str, str], Access])  # by method and path pattern
TOKENS = web.AppKey("tokens", Tokens)
IDENTITY: ContextVar[Identity | None] = ContextVar("identity", default=None)  # who asks, while the handler runs


@web.middleware
async def auth_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    resource = request.match_info.route.resource
    if resource is None:
        return await handler(request)  # no such route: the router's own answer
    access = request.app[ACCESS][request.method, resource.canonical]
    if access is not Access.PUBLIC:
        identity = await _identify(request)
        authorise(identity, access)
        before = IDENTITY.set(identity)
        try:
            return await handler(request)
        finally:
            IDENTITY.reset(before)
    return await handler(request)


async def _identify(request: web.Request) -> Identity | None:
    header = request.headers.get("Authorization", "")
    if not header:
        return None
    scheme, _, secret = header.partition(" ")
    if scheme.lower() != "bearer":
        # what was sent is not repeated: it may be a secret without its scheme
        raise NotAllowed("only Bearer tokens are understood", hint="send `Authorization: Bearer styx_...`", status=401)
    tokens = request.app[TOKENS]
    identity = await tokens.find(secret.strip())
    if identity is None:
        if tokens.revoked(secret.strip()):
            raise Revoked("the token was revoked", status=401)
        raise NotAllowed("the token is not known here, or has ended", status=401)
    return identity
