"""Whether the server accepts work, what it is, and its numbers."""

from __future__ import annotations

from importlib.metadata import version

from aiohttp import web

from styx.api import reply
from styx.api.reply import plane
from styx.protocol.http import VersionView
from styx.protocol.messages import OLDEST, VERSION

__all__ = ["health", "metrics", "stats", "versions"]


async def health(request: web.Request) -> web.Response:
    """200 once it accepts work; 503 with the reason while it does not."""
    state = await plane(request).health()
    return reply.json(state, status=200 if state.status == "healthy" else 503)


async def versions(request: web.Request) -> web.Response:
    """The release, and the versions of the agents' protocol that it speaks."""
    return reply.json(VersionView(version("styx-orchestrator"), VERSION, OLDEST))


async def stats(request: web.Request) -> web.Response:
    """What the server is busy with."""
    return reply.json(await plane(request).stats())


async def metrics(request: web.Request) -> web.Response:
    """Prometheus text."""
    from prometheus_client import REGISTRY
    from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

    return web.Response(body=generate_latest(REGISTRY), headers={"Content-Type": CONTENT_TYPE_LATEST})
