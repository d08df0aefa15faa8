"""The agents that are connected, or were, and how a new one joins."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from styx.api import bodies, reply, requests
from styx.api.auth import IDENTITY, TOKENS, Identity
from styx.api.problems import HttpProblem
from styx.api.reply import plane
from styx.protocol.joining import Enrol, Enrolled
from styx.protocol.messages import Credential
from styx.runtime.peers import Peer

__all__ = ["JOIN", "Join", "enrol", "index", "peer_of"]

Join = Callable[[Peer, str, str], Awaitable[Credential]]
JOIN: web.AppKey[Join | None] = web.AppKey("join")


async def index(request: web.Request) -> web.Response:
    """Every agent with what it has and does."""
    requests.query(request, requests.NoQuery)
    return reply.page((await plane(request).agents(), ""))


async def enrol(request: web.Request) -> web.Response:
    """A credential for the agent that came with a join token. Its secret is in this answer and nowhere else."""
    join = request.app[JOIN]
    if join is None:
        raise HttpProblem(404, "this server takes no agents")
    asked = await bodies.read(request, Enrol)
    identity = IDENTITY.get()
    assert identity is not None  # nobody gets here without a token
    made = await join(peer_of(identity), asked.agent, asked.key)
    request.app[TOKENS].forget()
    return reply.json(Enrolled(made.secret, made.ttl / 1_000), status=201, headers={"Cache-Control": "no-store"})


def peer_of(identity: Identity) -> Peer:
    """Whose token it is, for the hub."""
    return Peer(identity.token_id, identity.name, identity.role, identity.pool, identity.expires_at, identity.parent)
