"""Tokens and housekeeping."""

from __future__ import annotations

import time
from collections import OrderedDict

import msgspec
from aiohttp import web

from styx.api import bodies, reply, requests
from styx.api.auth import TOKENS
from styx.api.openings import OPENINGS
from styx.api.reply import plane
from styx.errors import Conflict, NotFound
from styx.protocol.http import TokenView

__all__ = ["REPLAYS", "Replays", "add_token", "backup", "gc", "revoke_token", "tokens"]


class Replays:
    """Answers to recent POSTs of tokens by their Idempotency-Key.

    In memory and for ten minutes only: the answer holds the secret, which is to be nowhere at rest, and the client that did
    not hear it asks again soon or not at all."""

    def __init__(self, *, keep: float = 600.0, most: int = 1_000) -> None:
        self._keep = keep
        self._most = most
        self._answers: OrderedDict[str, tuple[float, requests.NewToken, TokenView]] = OrderedDict()

    def find(self, key: str, asked: requests.NewToken) -> TokenView | None:
        """The first answer; raises Conflict when the key came with another body then."""
        self._drop()
        found = self._answers.get(key)
        if found is None:
            return None
        if found[1] != asked:
            raise Conflict("this Idempotency-Key was used for another token", hint="draw a new key for each request")
        return found[2]

    def keep(self, key: str, asked: requests.NewToken, answer: TokenView) -> None:
        self._answers[key] = (time.monotonic() + self._keep, asked, answer)
        self._drop()

    def _drop(self) -> None:
        now = time.monotonic()
        while self._answers:
            key, (until, _, _) = next(iter(self._answers.items()))
            if until > now and len(self._answers) <= self._most:
                return
            del self._answers[key]


REPLAYS = web.AppKey("replays", Replays)


async def tokens(request: web.Request) -> web.Response:
    """All tokens, without their secrets."""
    requests.query(request, requests.NoQuery)
    return reply.page((await plane(request).tokens(), ""))


async def add_token(request: web.Request) -> web.Response:
    """A new token. Its secret is in this answer and nowhere else."""
    key = requests.idempotency_key(request)
    asked = await bodies.read(request, requests.NewToken)
    replays = request.app[REPLAYS]
    answer = replays.find(key, asked) if key else None
    if answer is None:
        answer = await plane(request).add_token(
            asked.name, role=asked.role, ttl=asked.ttl, pool=asked.pool, single_use=asked.single_use
        )
        request.app[TOKENS].forget()
        if key:
            replays.keep(key, asked, answer)
    where = f"/api/v1/tokens/{answer.token_id}"
    return reply.json(answer, status=201, headers={"Location": where, "Cache-Control": "no-store"})


async def revoke_token(request: web.Request) -> web.Response:
    """From now on the token is nobody's. `revoked` is false when it was so before."""
    given = request.match_info["id"]
    if not (given.isascii() and given.isdigit() and len(given) < 19):
        raise NotFound(f"there is no token {given[:40]!r}", hint="styx token list shows them")
    done = await plane(request).revoke_token(int(given))
    request.app[TOKENS].forget()
    request.app[OPENINGS].look()
    return reply.json({"revoked": done})


async def gc(request: web.Request) -> web.Response:
    """Drop what ended long ago, and what is beyond the size that may be kept."""
    asked = await bodies.read(request, requests.Gc)
    return reply.json(msgspec.to_builtins(await plane(request).gc(days=asked.days, keep_bytes=asked.keep_bytes)))


async def backup(request: web.Request) -> web.Response:
    """Write a consistent copy of the database on the server's disk, while everything goes on."""
    asked = await bodies.read(request, requests.Backup)
    return reply.json(await plane(request).backup(asked.path))
