"""Google Cloud, as far as the tests have it: the fake on a loopback port, a service account whose key fits it, and a look at what
really exists.

    async with GcpWorld(tmp_path) as world:
        provider = world.provider()
        world.faults.next("instances.insert", Lost())
        ...
        assert await world.alive() == set()

Leaving it fails if anything broke Google's own description of its API.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from gcp_engine import ZONES
from gcp_fake import GcpFake
from gcp_faults import Faults

from styx.providers.base import Context
from styx.providers.gcp import make
from styx.providers.gcp.provider import Gcp

PROJECT = "styx-test-1"
ACCOUNT = f"styx@{PROJECT}.iam.gserviceaccount.com"


async def no_sleep(seconds: float) -> None:
    await asyncio.sleep(0)


def context(environ: Mapping[str, str] | None = None) -> Context:
    nobody = {"HOME": "/nonexistent"} if environ is None else environ
    return Context(Path("/nonexistent"), nobody, lambda: time.time_ns() // 1_000_000, no_sleep)


@cache
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65_537, key_size=2_048)


class GcpWorld:
    """`folder` gets the key file."""

    def __init__(self, folder: Path, zones: tuple[str, ...] = ZONES) -> None:
        self.zones = zones
        self.key = folder / "key.json"
        self.fake = GcpFake(PROJECT, rsa_key().public_key())
        self._providers: list[Gcp] = []

    async def __aenter__(self) -> GcpWorld:
        await self.fake.__aenter__()
        self.key.write_text(json.dumps(self.key_file()))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for provider in self._providers:
            await provider.close()
        await self.fake.__aexit__()
        if error is None:
            assert not self.fake.violations, self.fake.violations

    def key_file(self, key: rsa.RSAPrivateKey | None = None) -> dict[str, str]:
        private = (key or rsa_key()).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return {
            "type": "service_account",
            "project_id": PROJECT,
            "private_key_id": "1",
            "private_key": private.decode(),
            "client_email": ACCOUNT,
            "client_id": "1",
            "token_uri": f"{self.fake.url}/token",
        }

    @property
    def faults(self) -> Faults:
        return self.fake.faults

    @property
    def settings(self) -> dict[str, Any]:
        """What `[providers.gcp]` says in this world."""
        return {"zones": list(self.zones), "credentials": str(self.key), "endpoint": self.fake.url}

    def provider(self, environ: Mapping[str, str] | None = None, **settings: Any) -> Gcp:
        given = {key: value for key, value in {**self.settings, **settings}.items() if value is not None}
        made = make(given, context(environ))
        assert isinstance(made, Gcp)
        self._providers.append(made)
        return made

    async def alive(self) -> set[str]:
        """The refs of all machines that cost money, whoever made them, once all that is under way has ended."""
        self.fake.engine.settle()
        return {f"{zone}/{name}" for zone, name in self.fake.engine.instances}

    def machine(self, ref: str) -> dict[str, Any]:
        """One instance, as Google has it."""
        zone, _, name = ref.partition("/")
        return self.fake.engine.instances[zone, name]

    async def user_data(self, ref: str) -> str:
        items = self.machine(ref)["metadata"]["items"]
        return next(str(item["value"]) for item in items if item["key"] == "startup-script")

    async def end(self, ref: str) -> None:
        """As Google does when it takes a spot machine back."""
        zone, _, name = ref.partition("/")
        self.fake.engine.instances.pop((zone, name), None)

    async def power_off(self, ref: str) -> None:
        """As a machine does that shuts itself down."""
        self.machine(ref)["status"] = "TERMINATED"

    def double(self) -> set[str]:
        """Orders (cluster, token) for which more than one machine was ever made."""
        seen: dict[tuple[str, str], int] = {}
        for made in self.fake.engine.ever.values():
            for labels in made:
                key = (labels.get("styx-cluster", ""), labels.get("styx-token", ""))
                seen[key] = seen.get(key, 0) + 1
        return {f"{cluster}/{token}" for (cluster, token), count in seen.items() if count > 1}
