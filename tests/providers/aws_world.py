"""AWS, as far as the tests have it: moto behind the proxy that adds its faults, and a look at what really exists, past the proxy.

async with AwsWorld() as world:
    provider = world.provider()
    world.faults.next("RunInstances", Lost())
    ...
    assert await world.alive() == set()
"""

from __future__ import annotations

import asyncio
import base64
import time
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp
from aws_proxy import X86_IMAGE, AwsProxy, Faults
from moto_kit import moto_url

from styx.providers.aws import make
from styx.providers.aws.provider import Aws
from styx.providers.base import Context

REGIONS = ("us-east-1", "us-west-2")
KEYS = {"AWS_ACCESS_KEY_ID": "AKIATEST", "AWS_SECRET_ACCESS_KEY": "secret"}
_DEAD = {"terminated", "shutting-down"}


def context(environ: Mapping[str, str] = KEYS) -> Context:
    return Context(Path("/nonexistent"), environ, lambda: time.time_ns() // 1_000_000, asyncio.sleep)


class AwsWorld:
    """Everything in it is gone when it is opened again: moto is reset."""

    def __init__(self, regions: tuple[str, ...] = REGIONS) -> None:
        self.regions = regions
        self.proxy = AwsProxy("")
        self._providers: list[Aws] = []

    async def __aenter__(self) -> AwsWorld:
        self.proxy = AwsProxy(moto_url())
        await self.proxy.__aenter__()
        self._client = aiohttp.ClientSession()
        async with self._client.post(f"{self.proxy.upstream}/moto-api/reset") as answer:
            assert answer.status == 200
        for region in self.regions:  # moto takes its seconds for the first question of a kind
            await self.ask(region, Action="DescribeImages", **{"ImageId.1": X86_IMAGE})
            await self.ask(region, Action="DescribeVpcs")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for provider in self._providers:
            await provider.close()
        await self._client.close()
        await self.proxy.__aexit__()

    @property
    def faults(self) -> Faults:
        return self.proxy.faults

    @property
    def settings(self) -> dict[str, Any]:
        """What `[providers.aws]` says in this world."""
        return {"regions": list(self.regions), "endpoint_url": self.proxy.url}

    def provider(self, environ: Mapping[str, str] = KEYS, **settings: Any) -> Aws:
        made = make({**self.settings, **settings}, context(environ))
        assert isinstance(made, Aws)
        self._providers.append(made)
        return made

    async def alive(self) -> set[str]:
        """The refs of all machines that cost money now, whoever made them."""
        return {ref for ref, (state, _) in (await self.machines()).items() if state not in _DEAD}

    async def machines(self) -> dict[str, tuple[str, dict[str, str]]]:
        """State and tags of everything that was ever brought up, by ref."""
        found: dict[str, tuple[str, dict[str, str]]] = {}
        for region in self.regions:
            tree = await self.ask(region, Action="DescribeInstances")
            for item in tree.iterfind("reservationSet/item/instancesSet/item"):
                tags = {t.findtext("key", ""): t.findtext("value", "") for t in item.iterfind("tagSet/item")}
                found[f"{region}/{item.findtext('instanceId')}"] = (item.findtext("instanceState/name", ""), tags)
        return found

    async def user_data(self, ref: str) -> str:
        region, _, instance = ref.partition("/")
        tree = await self.ask(region, Action="DescribeInstanceAttribute", InstanceId=instance, Attribute="userData")
        return base64.b64decode(tree.findtext("userData/value", "")).decode()

    async def end(self, ref: str) -> None:
        """As the machine itself would by shutting down, or AWS by taking a spot machine back."""
        region, _, instance = ref.partition("/")
        await self.ask(region, Action="TerminateInstances", **{"InstanceId.1": instance})

    async def ask(self, region: str, **fields: str) -> ET.Element:
        """EC2 past the proxy; the answer without its namespace."""
        scope = (
            f"AWS4-HMAC-SHA256 Credential=AKIATEST/20250101/{region}/ec2/aws4_request, SignedHeaders=host, Signature=0"
        )
        headers = {"Authorization": scope, "Host": f"ec2.{region}.amazonaws.com"}
        async with self._client.post(
            self.proxy.upstream, data={**fields, "Version": "2016-11-15"}, headers=headers
        ) as answer:
            text = await answer.text()
            assert answer.status == 200, text
        tree = ET.fromstring(text)
        for element in tree.iter():
            element.tag = element.tag.rpartition("}")[2]
        return tree
