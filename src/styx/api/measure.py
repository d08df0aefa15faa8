"""Counts the requests that were answered, by route and status, and serves the figures of the whole server."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from aiohttp import web

from styx.api.problems import Handler
from styx.errors import NotFound
from styx.telemetry.metrics import CONTENT_TYPE, Metrics

__all__ = ["METRICS", "RENDER", "measure_middleware", "metrics"]

METRICS = web.AppKey("metrics", Metrics)
RENDER = web.AppKey("render", object)


@web.middleware
async def measure_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Around everything, problems included. What matched no route shares one label, so that their number stays bounded. Streams
    and sockets count when they end, and their time, which is their reader's, is not measured."""
    figures = request.app[METRICS]
    started = time.perf_counter()
    answer = await handler(request)
    resource = request.match_info.route.resource
    figures.requests.add(request.method, resource.canonical if resource else "-", str(answer.status))
    if type(answer) is web.Response:
        figures.request_seconds.observe(time.perf_counter() - started)
    return answer


async def metrics(request: web.Request) -> web.Response:
    """The figures in the text format of Prometheus, read when they are asked for."""
    render = request.app.get(RENDER)
    if not callable(render):
        raise NotFound("nothing is measured here")
    figures: Callable[[], Awaitable[bytes]] = render
    return web.Response(body=await figures(), headers={"Content-Type": CONTENT_TYPE})
