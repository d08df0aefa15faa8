"""The SDK: aiobotocore, imported at the first call, one client for each service and region.

The first EC2 client costs 0.3 to 0.9 s of reading its model, which would stall the loop. So the models are read in a thread,
through a client that is made and thrown away there; those made in the loop after that cost 10 ms each.

Nothing is retried here (`total_max_attempts` 1): botocore would repeat a 500 for seconds, while Styx decides when to call again, and
what to look at first. Every error leaves as Refused or Unsure.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from styx.providers.aws.errors import raised_by_sdk, translate
from styx.providers.aws.settings import Settings

__all__ = ["Clients", "side_by_side"]

_MODELS: dict[
    str, Any
] = {}  # the SDK's loader, with what it has read: once a process, however many providers there are
_CONNECT = 4.0  # seconds
_READ = 30.0  # seconds without a byte; RunInstances itself takes up to ten
_TITLES = {"ec2": "EC2", "ssm": "SSM", "sts": "STS", "lambda": "Lambda", "pricing": "Pricing"}


@asynccontextmanager
async def side_by_side() -> AsyncIterator[asyncio.TaskGroup]:
    """A task group that raises the first error as it is, after the others were cancelled."""
    try:
        async with asyncio.TaskGroup() as tasks:
            yield tasks
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None


class Clients:
    def __init__(self, settings: Settings, environ: Mapping[str, str]) -> None:
        self._settings = settings
        self._environ = environ
        self._session: Any = None
        self._clients: dict[tuple[str, str], Any] = {}
        self._warmed: set[str] = set()
        self._making = asyncio.Lock()
        self._stack = AsyncExitStack()
        self._closed = False

    async def call(
        self, service: str, region: str, operation: str, *, limit: float = 60.0, stream: str = "", **parameters: Any
    ) -> dict[str, Any]:
        """One request and its answer, within `limit` seconds; the member `stream` of the answer is read to its end into bytes.
        Errors: Refused, Unsure."""
        try:
            async with asyncio.timeout(limit):
                client = await self.client(service, region)
                answer: dict[str, Any] = await getattr(client, operation)(**parameters)
                if stream:
                    answer[stream] = await answer[stream].read()
        except raised_by_sdk() as error:
            raise translate(error, _doing(service, operation, region)) from error
        return answer

    async def pages(
        self, service: str, region: str, operation: str, *, limit: float = 60.0, **parameters: Any
    ) -> AsyncIterator[dict[str, Any]]:
        """All pages of an answer, each within `limit` seconds. Errors: Refused, Unsure; what came before one is not the whole."""
        try:
            async with asyncio.timeout(limit):
                client = await self.client(service, region)
                pages = aiter(client.get_paginator(operation).paginate(**parameters))
            while True:
                try:
                    async with asyncio.timeout(limit):
                        page = await anext(pages)
                except StopAsyncIteration:
                    return
                yield page
        except raised_by_sdk() as error:
            raise translate(error, _doing(service, operation, region)) from error

    async def client(self, service: str, region: str) -> Any:
        """Errors: those of `raised_by_sdk`."""
        key = (service, region)
        if key not in self._clients:
            async with self._making:
                if self._closed:
                    raise OSError("the provider is closed")
                if service not in self._warmed:
                    self._session = await asyncio.to_thread(_warm, self._session, service, self._settings.profile)
                    self._warmed.add(service)
                if key not in self._clients:
                    self._clients[key] = await self._stack.enter_async_context(self._make(service, region))
        return self._clients[key]

    async def close(self) -> None:
        async with self._making:
            self._closed = True
            self._clients.clear()
            await self._stack.aclose()

    def _make(self, service: str, region: str) -> Any:
        from aiobotocore.config import AioConfig

        config = AioConfig(
            connect_timeout=_CONNECT,
            read_timeout=_READ if service != "lambda" else 910.0,  # an invocation may take 15 minutes
            retries={"total_max_attempts": 1, "mode": "standard"},
            max_pool_connections=100 if service != "lambda" else max(self._settings.concurrency, 10),
            user_agent_extra="styx",
        )
        keys: dict[str, str] = {}
        if not self._settings.profile and self._environ.get("AWS_ACCESS_KEY_ID", ""):
            # The environment that Styx was given, which need not be that of the process.
            keys = {
                "aws_access_key_id": self._environ["AWS_ACCESS_KEY_ID"],
                "aws_secret_access_key": self._environ.get("AWS_SECRET_ACCESS_KEY", ""),
            }
            if token := self._environ.get("AWS_SESSION_TOKEN", ""):
                keys["aws_session_token"] = token
        if self._settings.endpoint_url:
            keys["endpoint_url"] = self._settings.endpoint_url
        return self._session.create_client(service, region_name=region, config=config, **keys)


def _warm(session: Any, service: str, profile: str) -> Any:
    """In a thread: imports the SDK, and reads the model of a service into the session's cache."""
    from aiobotocore.session import AioSession

    if session is None:
        session = AioSession(profile=profile or None)
        session.register_component("data_loader", _MODELS.setdefault("loader", session.get_component("data_loader")))

    async def once() -> None:
        async with session.create_client(
            service, region_name="us-east-1", aws_access_key_id="none", aws_secret_access_key="none"
        ) as client:
            if service == "ec2":
                client.get_paginator("describe_instances")

    asyncio.run(once())
    return session


def _doing(service: str, operation: str, region: str) -> str:
    name = "".join(word.capitalize() for word in operation.split("_"))
    return f"{_TITLES.get(service, service)} {name} in {region}"
