"""Whether the server accepts work, what it is, and what it is busy with."""

from __future__ import annotations

from aiohttp import web

from styx.api import reply
from styx.api.release import release
from styx.api.reply import plane
from styx.protocol.http import VersionView
from styx.protocol.messages import OLDEST, VERSION

__all__ = ["health", "stats", "versions"]


async def health(request: web.Request) -> web.Response:
    """200 once it accepts work; 503 with the reason while it does not."""
    state = await plane(request).health()
    return reply.json(state, status=200 if state.status == "healthy" else 503)


async def versions(request: web.Request) -> web.Response:
    """The release, and the versions of the agents' protocol that it speaks."""
    return reply.json(VersionView(release(), VERSION, OLDEST))


async def stats(request: web.Request) -> web.Response:
    """What the server is busy with."""
    return reply.json(await plane(request).stats())
