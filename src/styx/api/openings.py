"""What is open, and by whose token: a token that ends takes its streams, its websockets and its waiting requests with it.

Authorisation is asked for once, when a request comes; what lasts would outlive it. So each request that is under way is noted
with its token, and while there are any the tokens are looked at every `LOOK` seconds, and at once when one is revoked here. A request
whose token is nobody's any more is cut off: a websocket is told so first (close code 1008), and given `PARTING` seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from contextvars import ContextVar

from aiohttp import web

from styx.api.auth import IDENTITY, Identity, Tokens
from styx.api.problems import Handler
from styx.errors import StoreError
from styx.telemetry.log import get

__all__ = ["OPENING", "OPENINGS", "Opening", "Openings", "openings_middleware", "watching"]

LOOK = 1.0
PARTING = 1.0

log = get("api")


class Opening:
    """One request under way. `token` may change: a credential is renewed while its link lasts."""

    __slots__ = ("identity", "part", "task", "token")

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self.token = identity.token_id
        self.task = asyncio.current_task()
        self.part: Callable[[], Awaitable[object]] | None = None  # the last words, if it has any


class Openings:
    def __init__(self, tokens: Tokens, *, look: float = LOOK) -> None:
        self._tokens = tokens
        self._look = look
        self._open: set[Opening] = set()
        self._cutting: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()

    def enter(self, identity: Identity) -> Opening:
        opening = Opening(identity)
        self._open.add(opening)
        return opening

    def leave(self, opening: Opening) -> None:
        self._open.discard(opening)
        opening.task = None

    def __len__(self) -> int:
        return len(self._open)

    def look(self) -> None:
        """Look at the tokens now."""
        self._wake.set()

    async def watch(self) -> None:
        """Cut off what must not go on, until cancelled."""
        while True:
            self._wake.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._look):
                    await self._wake.wait()
            if not self._open:
                continue
            try:
                live = await self._tokens.live()
                if any(opening.token not in live for opening in self._open):
                    self._tokens.forget()  # what is known may be older than a credential that was renewed just now
                    live = await self._tokens.live()
            except StoreError as error:
                log.warning("tokens cannot be looked at", reason=error.message)
                continue
            for opening in [opening for opening in self._open if opening.token not in live]:
                self._open.discard(opening)
                log.info("token ended, connection cut off", token=opening.token, role=opening.identity.role)
                task = asyncio.create_task(_cut(opening), name="cut-off")
                self._cutting.add(task)
                task.add_done_callback(self._cutting.discard)


async def _cut(opening: Opening) -> None:
    if opening.part is not None:
        with suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(PARTING):
                await opening.part()
    if opening.task is not None:
        opening.task.cancel()


OPENINGS = web.AppKey("openings", Openings)
OPENING: ContextVar[Opening] = ContextVar("opening")  # of the request that is handled here, when it came with a token


@web.middleware
async def openings_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    identity = IDENTITY.get()
    if identity is None:
        return await handler(request)
    openings = request.app[OPENINGS]
    opening = openings.enter(identity)
    before = OPENING.set(opening)
    try:
        return await handler(request)
    finally:
        OPENING.reset(before)
        openings.leave(opening)


async def watching(app: web.Application) -> AsyncIterator[None]:
    """For `cleanup_ctx`: watch while the application runs."""
    task = asyncio.create_task(app[OPENINGS].watch(), name="openings")
    yield
    task.cancel()
    await asyncio.wait([task])
