"""One contract for every cloud: the fake one, EC2 (moto behind a proxy with faults), Compute Engine (a fake from Google's schema), and
this machine, where processes stand for machines."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import aws_proxy
import gcp_faults
import psutil
import pytest
from aws_world import AwsWorld
from gcp_world import GcpWorld

from styx.core.offers import Offer
from styx.providers.base import Context, Kind, Promises, Provisioner
from styx.providers.bootstrap import BootstrapOrder, user_data
from styx.providers.fake import FakeCloud, FakeProvider
from styx.providers.local import make as make_local
from styx.testing.contracts.provisioner import CloudWorld, FaultyProvisionerContract, ProvisionerContract

AWS_CODES = {
    Kind.CAPACITY: aws_proxy.Error("InsufficientInstanceCapacity", 500),
    Kind.QUOTA: aws_proxy.Error("VcpuLimitExceeded"),
    Kind.THROTTLED: aws_proxy.Error("RequestLimitExceeded", 503),
    Kind.DENIED: aws_proxy.Error("UnauthorizedOperation", 403),
    "lost": aws_proxy.Lost(),
    "dropped": aws_proxy.Dropped(),
    "partial": aws_proxy.Error("InternalError", 500),
}
AWS_CALLS = {"launch": "RunInstances", "terminate": "TerminateInstances", "listing": "DescribeInstances"}
GCP_CODES = {
    Kind.CAPACITY: gcp_faults.Fails("ZONE_RESOURCE_POOL_EXHAUSTED"),
    Kind.QUOTA: gcp_faults.Error(403, "quotaExceeded", "Quota 'CPUS' exceeded. Limit: 8.0 in region europe-west4."),
    Kind.THROTTLED: gcp_faults.Error(403, "rateLimitExceeded"),
    Kind.DENIED: gcp_faults.Error(403, "forbidden"),
    "lost": gcp_faults.Lost(),
    "dropped": gcp_faults.Dropped(),
    "partial": gcp_faults.Error(503, "backendError"),
}
GCP_CALLS = {"launch": "instances.insert", "terminate": "instances.delete", "listing": "instances.aggregatedList"}


class _World:
    def __init__(self, provider: Any, offer: Offer) -> None:
        self._provider = provider
        self._offer = offer

    @property
    def provisioner(self) -> Provisioner:
        return self._provider.provisioner  # type: ignore[no-any-return]

    @property
    def promises(self) -> Promises:
        return self._provider.promises  # type: ignore[no-any-return]

    def offer(self) -> Offer:
        return self._offer

    async def settle(self) -> None:
        return

    def user_data(self, token: str) -> str:
        return "#!/bin/sh\ntrue\n"


class _Fake(_World):
    async def alive(self) -> set[str]:
        return set(self._provider.cloud.alive)

    def fault(self, call: str, what: str) -> None:
        getattr(self._provider.cloud.faults, call).append(str(what))


class TestFake(FaultyProvisionerContract):
    def world(self) -> AbstractAsyncContextManager[CloudWorld]:
        @asynccontextmanager
        async def opened() -> AsyncIterator[CloudWorld]:
            provider = FakeProvider(FakeCloud(lambda: time.time_ns() // 1_000_000, asyncio.sleep))
            yield _Fake(provider, provider.catalog()[0][0])

        return opened()


class _Aws(_World):
    def __init__(self, world: AwsWorld, offer: Offer) -> None:
        super().__init__(world.provider(), offer)
        self._world = world

    async def alive(self) -> set[str]:
        return await self._world.alive()

    def fault(self, call: str, what: str) -> None:
        self._world.faults.next(AWS_CALLS[call], AWS_CODES[what])


class TestEc2(FaultyProvisionerContract):
    def world(self) -> AbstractAsyncContextManager[CloudWorld]:
        @asynccontextmanager
        async def opened() -> AsyncIterator[CloudWorld]:
            async with AwsWorld() as world:
                offers, _ = world.provider().catalog()
                fitting = (o for o in offers if o.instance_type == "t3.small" and o.zone == "us-east-1a" and not o.spot)
                yield _Aws(world, next(fitting))

        return opened()


class _Gcp(_World):
    def __init__(self, world: GcpWorld, offer: Offer) -> None:
        super().__init__(world.provider(), offer)
        self._world = world

    async def alive(self) -> set[str]:
        return await self._world.alive()

    def fault(self, call: str, what: str) -> None:
        self._world.faults.next(GCP_CALLS[call], GCP_CODES[what])

    async def settle(self) -> None:
        self._world.fake.engine.settle()


class TestComputeEngine(FaultyProvisionerContract):
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def world(self) -> AbstractAsyncContextManager[CloudWorld]:
        @asynccontextmanager
        async def opened() -> AsyncIterator[CloudWorld]:
            async with GcpWorld(self.folder) as world:
                offers, _ = world.provider().catalog()
                fitting = (o for o in offers if o.instance_type == "n1-standard-8" and not o.spot)
                yield _Gcp(world, next(o for o in fitting if o.zone in world.zones))

        return opened()


class _Local(_World):
    """This machine; nothing of it can be broken on demand."""

    def __init__(self, home: Path) -> None:
        settings = {"agents": 20, "cpus": 1, "memory": "100MB"}
        context = Context(home, os.environ, lambda: time.time_ns() // 1_000_000, asyncio.sleep)
        provider = make_local(settings, context)
        super().__init__(provider, provider.catalog()[0][0])
        self._folder = home / "providers" / "local"

    async def alive(self) -> set[str]:
        return set(await asyncio.to_thread(lambda: {ref for ref in self._refs() if self._runs(ref)}))

    def _refs(self) -> list[str]:
        return [f"{platform.node()}/{one.name}" for one in self._folder.iterdir()] if self._folder.exists() else []

    def _runs(self, ref: str) -> bool:
        try:
            noted = json.loads((self._folder / ref.rpartition("/")[2] / "process.json").read_text())
            return psutil.Process(noted["pid"]).status() != psutil.STATUS_ZOMBIE
        except (OSError, psutil.NoSuchProcess):
            return False

    def fault(self, call: str, what: str) -> None:
        raise NotImplementedError("a process on this machine is not broken on demand")

    def user_data(self, token: str) -> str:
        archives = (("cp311", "x86_64", "0" * 64),)
        return user_data(BootstrapOrder("http://127.0.0.1:9", "styx_join_nobody", archives, token=token))


class TestLocal(ProvisionerContract):
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def world(self) -> AbstractAsyncContextManager[CloudWorld]:
        @asynccontextmanager
        async def opened() -> AsyncIterator[CloudWorld]:
            world = _Local(self.folder)
            try:
                yield world
            finally:
                await world.provisioner.terminate(sorted(await world.alive()))

        return opened()
