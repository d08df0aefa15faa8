"""What a provider is given for one machine. It is the same each time it is made for the same node, also by another process after a
crash: clouds that know idempotency tokens compare the whole call. So its join token is derived, not drawn. Only an upgrade of the server (its
archive is another) or other settings change it: then the provider finds what the earlier form has brought up, or says that the token is spent.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable

from styx.core.instance import Instance
from styx.errors import StyxError
from styx.protocol.joining import JOIN
from styx.providers.base import Order
from styx.runtime.clock import Clock
from styx.runtime.vault import Vault
from styx.store.base import Store, TokenRow

__all__ = ["Orders"]

JOIN_WITHIN = 86_400_000  # milliseconds that a machine has to boot and join
IDLE, BUSY = 3_600, 86_400  # seconds without a word of a server, after which a machine ends itself
_NOTICES = {"aws", "gcp"}
_ARCHITECTURES = {"aarch64": "arm64"}

Archives = Callable[[], Awaitable[tuple[tuple[str, str, str], ...]]]


class Orders:
    """`public_url` is where machines find this server, `ca` the certificates (PEM) that sign its own if the system's do not."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        vault: Vault,
        archives: Archives,
        *,
        cluster: str,
        public_url: str,
        ca: str = "",
    ) -> None:
        self._store = store
        self._clock = clock
        self._vault = vault
        self._archives = archives
        self._cluster = cluster
        self.public_url = public_url
        self._ca = ca
        self._let_in: set[bytes] | None = None  # digests of the join tokens that are kept

    async def make(self, instance: Instance) -> Order:
        """Raises StyxError when the order cannot be made, which says nothing about the cloud."""
        from styx.providers.bootstrap import BootstrapOrder, user_data

        if not self.public_url:
            raise StyxError(
                "no public_url is set", hint="[places] public_url in styx.toml: where machines find this server"
            )
        secret = JOIN + await self._vault.derive(f"join {instance.token}")
        await self._allow(instance.token, secret)
        offer = instance.offer
        script = user_data(
            BootstrapOrder(
                server_url=self.public_url,
                join_token=secret,
                archives=await self._archives(),
                token=instance.token,
                ca=self._ca,
                idle_seconds=min(IDLE, instance.lifetime or IDLE),
                busy_seconds=min(BUSY, instance.lifetime or BUSY),
                watch=offer.provider if offer.spot and offer.provider in _NOTICES else "",
                cpus=offer.resources.cpus,
                memory=offer.resources.memory,
            )
        )
        return Order(instance.token, self._cluster, offer, script, offer.resources.disk, instance.lifetime)

    async def architectures(self) -> frozenset[str]:
        """Of machines that would find an archive here to run their agent from, in the words of offers. Raises StyxError."""
        return frozenset(_ARCHITECTURES.get(arch, arch) for _, arch, _ in await self._archives())

    async def _allow(self, token: str, secret: str) -> None:
        """Keep the join token: good for one agent, whose node is known by the instance's token as its pool."""
        digest = hashlib.sha256(secret.encode()).digest()
        if self._let_in is None:
            self._let_in = {row.digest for row in await self._store.tokens() if row.role == "join"}
        if digest in self._let_in:
            return
        now = self._clock.now()
        row = TokenRow(0, token, "join", digest, now, now + JOIN_WITHIN, pool=token, single=True)
        await self._store.add_token(row)
        self._let_in.add(digest)
