"""Who is at the other end of a link, and which agent that may be.

The door (`api.agents_ws`) knows whose token opened it; the agent itself says who it is only in its hello. Here the two are held
against each other: an administrator's token may bring any agent, one of the role agent only the agent that used it first, and a
credential only the agent that joined. An id that the server knows already cannot be taken over with a fresh token, since
whoever has an agent's id is given what is assigned to it, secrets included.
"""

from __future__ import annotations

import msgspec

from styx.core.world import World
from styx.protocol.messages import Hello, Refused
from styx.store.base import Store

__all__ = ["POOL", "Peer", "Peers"]

POOL = "pool"  # the label that only the server sets


class Peer(msgspec.Struct, frozen=True, gc=False):
    """The token that a link was opened with."""

    token: int
    name: str
    role: str
    pool: str = ""
    expires_at: int = 0
    parent: int = 0  # the join token, when this is a credential

    def labels(self, claimed: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
        """The labels of its node: what the agent claims, but its pool is the server's word."""
        if self.role == "admin":
            return claimed
        own = [(key, value) for key, value in claimed if key != POOL]
        return tuple(sorted([*own, (POOL, self.pool)] if self.pool else own))


class Peers:
    def __init__(self, store: Store, world: World) -> None:
        self._store = store
        self._world = world

    async def refusal(self, peer: Peer, hello: Hello) -> Refused | None:
        """Why this agent may not come with this token, if so. Binds a token that is not bound yet."""
        if peer.role == "admin":
            return None
        bound = await self._store.bind_token(peer.token, "")
        if not bound:
            if hello.agent in self._world.by_agent:
                return Refused(
                    f"agent {hello.agent} is known here, and not by this token: a token belongs to the agent that used it first"
                )
            bound = await self._store.bind_token(peer.token, hello.agent)
        if bound != hello.agent:
            return Refused(f"this token belongs to agent {bound or '(none)'}, and this is {hello.agent}")
        return None
