"""Places and money: offers, machines, providers, costs."""

from __future__ import annotations

from aiohttp import web

from styx.api import bodies, reply, requests
from styx.api.reply import plane
from styx.protocol.places import OffersQuery

__all__ = ["check", "cost", "down", "instances", "nodes", "offers", "refresh"]


async def nodes(request: web.Request) -> web.Response:
    """Every place as the scheduler sees it: agents, machines that were brought up, runners."""
    requests.query(request, requests.NoQuery)
    return reply.page((await plane(request).nodes(), ""))


async def instances(request: web.Request) -> web.Response:
    """Every machine that was asked for, what its provider says of it, and machines that nobody stands for."""
    asked = requests.query(request, requests.InstancesQuery)
    return reply.page((await plane(request).instances(gone=asked.gone), ""))


async def down(request: web.Request) -> web.Response:
    """End machines. `instances` counts those that are on their way out by this."""
    asked = await bodies.read(request, requests.Down)
    count = await plane(request).down(asked.ids, everything=asked.everything, orphans=asked.orphans, force=asked.force)
    return reply.json({"instances": count})


async def offers(request: web.Request) -> web.Response:
    """What could be brought up, the cheapest first, with what can be used from here and why not the rest."""
    return reply.json(await plane(request).offers(requests.query(request, OffersQuery)))


async def refresh(request: web.Request) -> web.Response:
    """Ask the clouds that are set up for their offers, and keep the answers. May take minutes."""
    await bodies.read(request, requests.Nothing)
    return reply.page((await plane(request).refresh_offers(), ""))


async def check(request: web.Request) -> web.Response:
    """Whether each provider can be used, as whom, and what is missing."""
    requests.query(request, requests.NoQuery)
    return reply.page((await plane(request).check(), ""))


async def cost(request: web.Request) -> web.Response:
    """What a job, or everything, has cost so far."""
    return reply.json(await plane(request).cost(requests.query(request, requests.CostQuery).job))
