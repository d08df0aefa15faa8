"""ControlPlane and Client pass the same suite: on a store in memory, on disk, and over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from styx.client.client import Client
from styx.compose import ControlPlane
from styx.core.resources import Resources
from styx.protocol.verbs import Verbs
from styx.server.serve import serve_plane
from styx.testing.contracts.plane import PlaneContract

ROOM = Resources(cpus=4_000, memory=1 << 30, disk=1 << 30)


class TestControlPlane(PlaneContract):
    on_disk = False

    @asynccontextmanager
    async def plane(self, folder: Path) -> AsyncIterator[Verbs]:
        async with ControlPlane.open(resources=ROOM) as plane:
            yield plane


class TestClient(PlaneContract):
    @asynccontextmanager
    async def plane(self, folder: Path) -> AsyncIterator[Verbs]:
        async with ControlPlane.open(folder / "home", resources=ROOM) as plane:
            token = await plane.add_token("test", role="admin")
            serving = await serve_plane(plane, port=0, grace=1.0)
            try:
                async with Client(serving.url, token.secret) as client:
                    yield client
            finally:
                await serving.stop()
