"""The aiohttp application: the routes of `routes.ROUTES` behind five gates, each one thought.

measure (how many, how long) > problems (what goes wrong, as problem+json) > hosts (rebinding) > auth (who, and may they) >
openings (for how long) > the handler
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

from aiohttp import web

from styx.api import admin, agents, agents_ws, archives, auth, bootstrap, events, limits, measure, openings, reply, sse
from styx.api.auth import Tokens
from styx.api.problems import problems_middleware
from styx.api.routes import ROUTES
from styx.protocol.verbs import Verbs
from styx.runtime.archives import Archives
from styx.runtime.bundles import Bundles
from styx.store.base import TokenRow
from styx.telemetry.metrics import Metrics

__all__ = ["build"]


def build(
    plane: Verbs,
    tokens: Callable[[], Awaitable[list[TokenRow]]],
    *,
    connect: agents_ws.Connect | None = None,
    join: agents.Join | None = None,
    bundles: Bundles | None = None,
    kept: Archives | None = None,
    position: Callable[[], int] | None = None,
    hosts: Iterable[str] = (),
    metrics: Metrics | None = None,
    render: Callable[[], Awaitable[bytes]] | None = None,
) -> web.Application:
    """The application over a plane. `tokens` reads the store's tokens, `connect` serves an agent's link (`Hub.connect`), `join` enrols one,
    `bundles` are what machines run their agents from, `position` is the id of the last event there was, `hosts` are the names, beyond loopback's and addresses, that the server
    answers to. Requests are counted in `metrics`; `render` writes down what `/metrics` shows."""
    app = web.Application(
        middlewares=[
            measure.measure_middleware,
            problems_middleware,
            limits.hosts_middleware,
            auth.auth_middleware,
            openings.openings_middleware,
        ],
        client_max_size=limits.MAX_BODY,
    )
    app[reply.PLANE] = plane
    app[measure.METRICS] = metrics or Metrics()
    app[measure.RENDER] = render
    app[auth.TOKENS] = Tokens(tokens)
    app[openings.OPENINGS] = openings.Openings(app[auth.TOKENS])
    app.cleanup_ctx.append(openings.watching)
    app[auth.ACCESS] = {(route.method, route.path): route.access for route in ROUTES}
    app[limits.HOSTS] = limits.Hosts(hosts)
    app[limits.ROOM] = limits.Room()
    app[agents_ws.CONNECT] = connect
    app[agents.JOIN] = join
    app[bootstrap.BUNDLES] = bundles
    app[archives.ARCHIVES] = kept
    app[events.POSITION] = position
    app[admin.REPLAYS] = admin.Replays()
    app[sse.STREAMS] = sse.Streams()
    for route in ROUTES:
        app.router.add_route(route.method, route.path, route.handler)
    app.on_shutdown.append(_end_streams)
    return app


async def _end_streams(app: web.Application) -> None:
    app[sse.STREAMS].end()
