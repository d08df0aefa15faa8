"""The agents that are connected, or were."""

from __future__ import annotations

from aiohttp import web

from styx.api import reply, requests
from styx.api.reply import plane

__all__ = ["index"]


async def index(request: web.Request) -> web.Response:
    """Every agent with what it has and does."""
    requests.query(request, requests.NoQuery)
    return reply.page((await plane(request).agents(), ""))
