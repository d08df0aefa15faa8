"""Agents that join: a join token becomes a short-lived credential, and the credential is renewed for as long as the agent stays.

An agent draws a key for itself once. With a join token it enrols its id and that key, and gets a credential that is bound to its
id; if it asks again (the answer was lost, the credential has ended) the same key gets it another one. Nobody else can enrol the
id, whatever join token they have. A single-use token lets in one agent; one for a pool lets in many, and their nodes carry the
label `pool`.

While its link lasts an agent is sent a new credential when half of the present one's life is over. Revoking a credential ends its
link and the enrolment: the agent comes back only by a join token that was made later.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import secrets
from collections.abc import Callable

from styx.core.world import World
from styx.errors import NotAllowed, Revoked, StoreError, UsageError
from styx.protocol.messages import Credential
from styx.runtime.clock import Clock
from styx.runtime.link import Link
from styx.runtime.peers import Peer
from styx.store.base import Store, TokenRow
from styx.telemetry.log import get

__all__ = ["TTL", "Credentials"]

log = get("links")

TTL = 86_400_000  # milliseconds
_LOOK = 60.0  # seconds at most between two looks at the clock, which may be set
_AGENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Credentials:
    def __init__(self, store: Store, clock: Clock, world: World, *, ttl: int = TTL) -> None:
        self._store = store
        self._clock = clock
        self._world = world
        self.ttl = ttl

    async def enrol(self, join: Peer, agent: str, key: str) -> Credential:
        """A credential for an agent that came with a join token. Raises NotAllowed, and UsageError for what is no id or key."""
        if not _AGENT.fullmatch(agent):
            raise UsageError("an agent's id is up to 64 letters, digits, dots, dashes and underscores")
        if not 32 <= len(key) <= 200:
            raise UsageError("the key of an agent has 32 to 200 characters")
        rows = {row.token: row for row in await self._store.tokens()}
        token = rows.get(join.token)
        if token is None or token.revoked_at:
            raise NotAllowed("this join token was revoked", status=401)
        await self._check(token, list(rows.values()), agent)
        if token.single and await self._store.bind_token(token.token, agent) != agent:
            raise NotAllowed(
                "this join token has let in an agent already, and it is for one only", hint="make another one"
            )
        digest = hashlib.sha256(key.encode()).digest()
        if await self._store.enrol(agent, digest) != digest:
            raise NotAllowed(
                f"agent {agent} joined with another key",
                hint="an agent keeps its key in its folder; to let it in anew, revoke its credential and make a join token",
            )
        return (await self._issue(agent, token.name, token.pool, token.token))[0]

    async def _check(self, token: TokenRow, rows: list[TokenRow], agent: str) -> None:
        own = [row for row in rows if row.agent == agent and row.role == "agent"]
        revoked = max((row.revoked_at for row in own if row.parent), default=0)  # 0: never
        if revoked > token.created_at:
            raise Revoked(f"agent {agent} was revoked", hint="a join token that is made now lets it in again")
        if any(not row.parent and not row.revoked_at for row in own):
            raise NotAllowed(f"agent {agent} has a token of its own", hint="revoke that first, or let it use it")
        if not revoked and agent in self._world.by_agent and not await self._store.enrolled(agent):
            raise NotAllowed(f"agent {agent} is known here and never joined", hint="an id cannot be taken over")

    async def keep(self, link: Link, peer: Peer, renewed: Callable[[int], None]) -> None:
        """Renew the credential of a link for as long as it lasts. `renewed` hears which token stands for it from then on."""
        token, ends = peer.token, peer.expires_at
        while True:
            wait = ends - self.ttl // 2 - self._clock.now()
            if wait > 0:
                await asyncio.sleep(min(wait / 1_000, _LOOK))
                continue
            try:
                if not any(row.token == token and not row.revoked_at for row in await self._store.tokens()):
                    return  # whoever watches over open links ends this one
                made, row = await self._issue(link.agent, peer.name, peer.pool, peer.parent)
            except StoreError as error:  # half of its life is left for the disk to have room again
                log.warning("credential not renewed", agent=link.agent, reason=error.message)
                await asyncio.sleep(_LOOK)
                continue
            token, ends = row.token, row.expires_at
            renewed(token)
            link.outbox.put(made)

    async def _issue(self, agent: str, name: str, pool: str, parent: int) -> tuple[Credential, TokenRow]:
        now = self._clock.now()
        await self._store.drop_credentials(now)
        secret = "styx_" + secrets.token_urlsafe(32)
        digest = hashlib.sha256(secret.encode()).digest()
        row = TokenRow(0, name, "agent", digest, now, now + self.ttl, agent=agent, pool=pool, parent=parent)
        return Credential(secret, self.ttl), await self._store.add_token(row)
