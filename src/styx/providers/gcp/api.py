"""One request and its answer.

The session is made at the first call. Nothing is retried but two things: an access token that is not accepted though its time is not
over is replaced once, since a 401 says for certain that nothing was done; and aiohttp sends a GET or DELETE anew, once, when a
connection that was kept open breaks. Every error leaves as Refused or Unsure.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec

from styx.providers.base import Context, Kind
from styx.providers.gcp.credentials import Credentials
from styx.providers.gcp.errors import GcpRefused, GcpUnsure, answered, raised_by_http, unanswered
from styx.providers.gcp.settings import Settings

__all__ = ["Api"]

COMPUTE = "https://compute.googleapis.com"
BILLING = "https://cloudbilling.googleapis.com"
_CONNECT = 4.0  # seconds
_LIMIT = 30.0  # seconds for a whole answer
_MOST = 64 << 20  # bytes of one answer; a page of 500 machine types has 1 MB


class Api:
    def __init__(self, settings: Settings, context: Context) -> None:
        self._settings = settings
        self.credentials = Credentials(settings, context)
        self._session: Any = None
        self._closed = False

    async def project(self) -> str:
        """The project that everything is in. Errors: Refused."""
        project = self._settings.project or (await self.credentials.found()).project
        if not project:
            hint = "set `project` under [providers.gcp], or GOOGLE_CLOUD_PROJECT"
            raise GcpRefused(Kind.INVALID, "no project of Google Cloud is set", hint=hint)
        return project

    async def compute(
        self,
        method: str,
        path: str,
        doing: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        limit: float = _LIMIT,
    ) -> dict[str, Any]:
        """A request to `projects/PROJECT/PATH` of Compute Engine; `doing` names it in errors. Errors: Refused, Unsure."""
        url = f"{self._settings.endpoint or COMPUTE}/compute/v1/projects/{await self.project()}"
        return await self._send(
            method, f"{url}/{path}" if path else url, f"Compute Engine, {doing}", query or {}, body, limit
        )

    async def pages(
        self, path: str, doing: str, *, query: Mapping[str, str] | None = None, limit: float = _LIMIT
    ) -> AsyncIterator[dict[str, Any]]:
        """All pages of an answer, each within `limit` seconds. Errors: Refused, Unsure; what came before one is not the whole."""
        asked = dict(query or {})
        while True:
            page = await self.compute("GET", path, doing, query=asked, limit=limit)
            yield page
            token = str(page.get("nextPageToken") or "")
            if not token:
                return
            asked["pageToken"] = token

    async def billing(self, path: str, doing: str, query: Mapping[str, str]) -> dict[str, Any]:
        """A request to the Cloud Billing catalog. Errors: Refused, Unsure."""
        url = f"{self._settings.endpoint or BILLING}/v1/{path}"
        return await self._send("GET", url, f"Cloud Billing, {doing}", query, None, 60.0)

    async def close(self) -> None:
        self._closed = True
        if self._session is not None:
            await self._session.close()

    async def _send(
        self, method: str, url: str, doing: str, query: Mapping[str, str], body: Any, limit: float
    ) -> dict[str, Any]:
        session = self._opened()
        for last in (False, True):
            token = await self.credentials.token(session)
            try:
                async with asyncio.timeout(limit):
                    status, after, answer = await _exchange(session, method, url, token, query, body)
            except raised_by_http() as error:
                raise unanswered(error, doing) from error
            if status == 401 and not last:
                self.credentials.forget(token)
                continue
            break
        if 200 <= status < 300:
            try:
                read = msgspec.json.decode(answer, type=dict[str, Any])
            except msgspec.DecodeError as error:
                raise GcpUnsure(f"{doing}: an answer that is no JSON ({error})", status=status) from error
            return read
        try:
            refusal = msgspec.json.decode(answer, type=dict[str, Any])
        except msgspec.DecodeError:
            refusal = {}
        raise answered(status, refusal, doing, after)

    def _opened(self) -> Any:
        if self._closed:
            raise GcpRefused(Kind.UNREACHABLE, "the provider gcp is closed")
        if self._session is None:
            import aiohttp

            self._session = aiohttp.ClientSession(
                # Waiting for operations holds connections, and must not keep other requests from going out.
                connector=aiohttp.TCPConnector(limit=0),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT),
                trust_env=not self._settings.endpoint,
                headers={"User-Agent": "styx"},
            )
        return self._session


async def _exchange(
    session: Any, method: str, url: str, token: str, query: Mapping[str, str], body: Any
) -> tuple[int, str, bytes]:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    data = None if body is None else msgspec.json.encode(body)
    async with session.request(
        method, url, params=dict(query), data=data, headers=headers, allow_redirects=False
    ) as answer:
        content = bytearray()
        async for chunk in answer.content.iter_chunked(1 << 16):
            content += chunk
            if len(content) > _MOST:
                raise ValueError(f"an answer of more than {_MOST >> 20} MiB")
        return answer.status, answer.headers.get("Retry-After", ""), bytes(content)
