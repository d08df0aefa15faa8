"""Faults in front of `KubeFake`, as the caller sees them: what a network, a proxy and a busy API server do.

busy      429 with Retry-After, nothing done
broken    500 or 503, nothing done; or done all the same
dropped   the connection ends before anything is done
lost      it is done, and the answer is lost
delayed   the connection ends, and the request is carried out a while later
cut       a watch or a log breaks off in its middle
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

from aiohttp import web
from kube_fake import KubeFake

KINDS = ("busy", "broken", "dropped", "lost", "delayed", "slow")


class Faults:
    """`rate` of all requests go wrong, by `draw`; `only` bounds which kinds. Stops by itself after `most`, so that all comes to an end."""

    def __init__(
        self, api: KubeFake, draw: random.Random, rate: float, *, only: tuple[str, ...] = KINDS, most: int = 60
    ) -> None:
        self._api = api
        self._draw = draw
        self.rate = rate
        self._only = only
        self.left = most
        self.made: dict[str, int] = {}
        self._late: set[asyncio.Task[None]] = set()
        api.intercept = self._intercept

    async def settle(self) -> None:
        """No more faults, and what is under way has happened."""
        self.rate = 0.0
        while self._late:
            await asyncio.wait(set(self._late))

    async def _intercept(
        self, request: web.Request, act: Callable[[], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if self.left <= 0 or self._draw.random() >= self.rate:
            return await act()
        self.left -= 1
        if request.query.get("watch") or request.query.get("follow"):
            return await self._cut(request, act)
        kind = self._draw.choice(self._only)
        if request.method == "POST" and self._draw.random() < 0.3:
            kind = "delayed"  # the one that can make something twice
        elif kind == "delayed":
            kind = "lost"
        self.made[kind] = self.made.get(kind, 0) + 1
        return await getattr(self, f"_{kind}")(request, act)

    async def _busy(self, request: web.Request, act: Callable[[], Awaitable[web.StreamResponse]]) -> web.StreamResponse:
        body = {"kind": "Status", "code": 429, "reason": "TooManyRequests", "message": "too many requests"}
        return web.json_response(body, status=429, headers={"Retry-After": "0"})

    async def _broken(
        self, request: web.Request, act: Callable[[], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if self._draw.random() < 0.5:
            await act()
        return web.Response(status=self._draw.choice((500, 502, 503, 504)), text="upstream connect error")

    async def _dropped(
        self, request: web.Request, act: Callable[[], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        return self._hang_up(request)

    async def _lost(self, request: web.Request, act: Callable[[], Awaitable[web.StreamResponse]]) -> web.StreamResponse:
        await act()
        return self._hang_up(request)

    async def _delayed(
        self, request: web.Request, act: Callable[[], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        await request.read()

        async def later(seconds: float) -> None:
            await asyncio.sleep(seconds)
            await act()

        task = asyncio.get_running_loop().create_task(later(self._draw.uniform(0.0, 0.5)))
        self._late.add(task)
        task.add_done_callback(self._late.discard)
        return self._hang_up(request)

    async def _slow(self, request: web.Request, act: Callable[[], Awaitable[web.StreamResponse]]) -> web.StreamResponse:
        await asyncio.sleep(self._draw.uniform(0.0, 0.05))
        return await act()

    async def _cut(self, request: web.Request, act: Callable[[], Awaitable[web.StreamResponse]]) -> web.StreamResponse:
        self.made["cut"] = self.made.get("cut", 0) + 1
        transport = request.transport
        asyncio.get_running_loop().call_later(
            self._draw.uniform(0.0, 0.1), lambda: transport is not None and transport.abort()
        )
        return await act()

    def _hang_up(self, request: web.Request) -> web.StreamResponse:
        if request.transport is not None:
            request.transport.abort()
        return web.Response(status=500)
