"""One cluster's API: a client for one context of the kubeconfig, made at the first call.

The generated client is used for what it is good at, credentials and connections. Its models are not: objects go out as they are
made and come in as the few fields that are read. It is imported in a thread, since that takes a second and 70 MB. When credentials are
refused they are read again, in case they were renewed.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import msgspec

from styx.providers.base import Kind, Refused, Unsure
from styx.providers.kubernetes.errors import translated, unconnected
from styx.providers.kubernetes.objects import ObjectList
from styx.providers.kubernetes.settings import IN_CLUSTER

__all__ = ["Answer", "Cluster"]

CALL = 20.0  # seconds for one call
_PAGE = 500  # objects in one page
_RENEW = 10.0  # seconds between two readings of the credentials

T = TypeVar("T")
Query = Sequence[tuple[str, str]]


class Answer(msgspec.Struct, frozen=True):
    status: int
    body: bytes

    def read(self, kind: type[T]) -> T:
        """Raises Unsure for what is no such object: a proxy that answers by itself."""
        try:
            return msgspec.json.decode(self.body, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise Unsure(f"its answer cannot be read: {error}") from None


class _Client:
    """The library's client, and how many use it now: one whose credentials are old is closed when the last one has finished."""

    __slots__ = ("api", "stale", "users")

    def __init__(self, api: Any) -> None:
        self.api = api
        self.users = 0
        self.stale = False


class Cluster:
    """Errors of every method: Refused, Unsure, and of lists and watches Gone."""

    def __init__(self, context: str, kubeconfig: str, connections: int) -> None:
        self.context = context
        self._kubeconfig = kubeconfig
        self._connections = connections
        self._client: _Client | None = None
        self._making = asyncio.Lock()
        self._made_at = 0.0

    async def call(
        self,
        method: str,
        path: str,
        *,
        query: Query = (),
        body: Mapping[str, Any] | None = None,
        patch: bool = False,
        allow: Sequence[int] = (),
        limit: float = CALL,
    ) -> Answer:
        """One request. `allow` are statuses beside 2xx that are no errors; `patch`: the body is a merge patch."""
        try:
            async with asyncio.timeout(limit):
                async with self._asked(method, path, query, body, patch, 0.0) as response:
                    answer = Answer(response.status, await self._body(response))
        except TimeoutError:
            raise Unsure(f"{self.context}: no answer came within {limit:g} s") from None
        if 200 <= answer.status < 300 or answer.status in allow:
            return answer
        raise translated(self.context, answer.status, answer.body, response.headers)

    @asynccontextmanager
    async def stream(self, path: str, query: Query, silence: float) -> AsyncGenerator[AsyncIterator[bytes], None]:
        """A GET whose answer goes on, in pieces as they come; Unsure after `silence` seconds without any."""
        async with self._asked("GET", path, query, None, False, silence) as response:
            if response.status != 200:
                raise translated(self.context, response.status, await self._body(response), response.headers)
            yield self._pieces(response)

    async def pages(self, path: str, query: Query) -> tuple[list[msgspec.Raw], str]:
        """All objects of a list, and the version it is of."""
        found: list[msgspec.Raw] = []
        more = ""
        while True:
            paging = [*query, ("limit", str(_PAGE)), *([("continue", more)] if more else [])]
            page = (await self.call("GET", path, query=paging)).read(ObjectList)
            found += page.items or ()
            more = page.metadata.continue_
            if not more:
                return found, page.metadata.resource_version

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.api.close()

    # -- the client -----------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _asked(
        self, method: str, path: str, query: Query, body: Mapping[str, Any] | None, patch: bool, silence: float
    ) -> AsyncGenerator[Any, None]:
        import aiohttp

        headers = {"Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/merge-patch+json" if patch else "application/json"
        timeout = aiohttp.ClientTimeout(sock_connect=10.0, sock_read=silence or None)
        for again in (False, True):
            client = await self._ready(renew=again)
            client.users += 1
            try:
                response = await self._send(client, method, path, query, headers, body, timeout)
                try:
                    if response.status == 401 and not again and self._may_renew():
                        continue
                    yield response
                    return
                finally:
                    response.close()
            finally:
                client.users -= 1
                if client.stale and not client.users:
                    await client.api.close()

    async def _send(
        self,
        client: _Client,
        method: str,
        path: str,
        query: Query,
        headers: dict[str, str],
        body: Mapping[str, Any] | None,
        timeout: object,
    ) -> Any:
        import aiohttp

        try:
            return await client.api.call_api(
                path,
                method,
                query_params=list(query),
                header_params=dict(headers),
                body=body,
                auth_settings=["BearerToken"],
                _preload_content=False,
                _request_timeout=timeout,
            )
        except (aiohttp.ClientConnectorError, aiohttp.ClientSSLError) as error:
            raise unconnected(self.context, error) from None
        except (aiohttp.ClientError, OSError) as error:
            raise Unsure(f"{self.context}: the connection broke ({str(error) or type(error).__name__})") from None

    async def _body(self, response: Any) -> bytes:
        import aiohttp

        try:
            body = await response.read()
        except (aiohttp.ClientError, OSError) as error:
            raise Unsure(f"{self.context}: the connection broke ({str(error) or type(error).__name__})") from None
        assert isinstance(body, bytes)
        return body

    async def _pieces(self, response: Any) -> AsyncIterator[bytes]:
        import aiohttp

        try:
            async for piece in response.content.iter_any():
                yield piece
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise Unsure(f"{self.context}: the connection broke ({str(error) or type(error).__name__})") from None

    def _may_renew(self) -> bool:
        return asyncio.get_running_loop().time() - self._made_at > _RENEW

    async def _ready(self, *, renew: bool) -> _Client:
        async with self._making:
            client = self._client
            if client is not None and renew and self._may_renew():
                client.stale = True
                client = None
            if client is None:
                client = self._client = _Client(await self._make())
                self._made_at = asyncio.get_running_loop().time()
            return client

    async def _make(self) -> Any:
        from yaml import YAMLError

        kubernetes = await asyncio.to_thread(_imported)
        settings = kubernetes.client.Configuration()
        problem = kubernetes.config.ConfigException
        try:
            if self.context == IN_CLUSTER:
                kubernetes.config.load_incluster_config(client_configuration=settings)
            else:
                self._look_for_file()
                await kubernetes.config.load_kube_config(
                    config_file=self._kubeconfig,
                    context=self.context,
                    client_configuration=settings,
                    persist_config=False,
                )
        except (problem, OSError, ValueError, KeyError, TypeError, AttributeError, YAMLError) as error:
            hint = "name it with `kubeconfig` in [providers.kubernetes]" if self.context != IN_CLUSTER else ""
            raise Refused(Kind.DENIED, f"{self.context}: its credentials cannot be read: {error}", hint=hint) from None
        settings.connection_pool_maxsize = self._connections
        return kubernetes.client.ApiClient(settings)

    def _look_for_file(self) -> None:
        paths = [path for path in self._kubeconfig.split(":") if path]
        if not any(os.path.exists(path) for path in paths):
            raise FileNotFoundError(f"there is no file {self._kubeconfig or '~/.kube/config'}")


def _imported() -> Any:
    import kubernetes_asyncio.client
    import kubernetes_asyncio.config

    return kubernetes_asyncio
