"""One server over HTTP: requests with an answer, and streams that outlive a broken connection.

What may be repeated is repeated: reads, and creations under an Idempotency-Key. A server that has answered before and is gone
now is most likely being restarted, so such requests are tried again for `patience` seconds; one that never answered is
Unreachable at once.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import msgspec

from styx.aiokit.backoff import Backoff
from styx.client.failures import error_of, of_document
from styx.client.sse import Parser, Received
from styx.errors import Busy, StyxError, TooSlow, Unreachable, UsageError
from styx.protocol.http import ProblemDocument

if TYPE_CHECKING:
    import aiohttp

__all__ = ["Channel"]

T = TypeVar("T")


def _cause(error: Exception) -> str:
    """The operating system's own words, where there are any; a library's are for its programmers."""
    cause = getattr(error, "os_error", error)
    if isinstance(cause, OSError) and cause.errno and not isinstance(cause, ssl.SSLError):  # whose numbers are its own
        return os.strerror(cause.errno).lower()
    return str(error) or type(error).__name__


class Channel:
    """`token` "" sends none. `patience` is in seconds."""

    def __init__(
        self, url: str, token: str, *, patience: float = 60.0, tls: ssl.SSLContext | None = None, connect: float = 10.0
    ) -> None:
        self.url = _checked(url)
        self._token = token
        self._patience = patience
        self._tls = tls
        self._connect = connect
        self._met = False
        self._opened: aiohttp.ClientSession | None = None

    @property
    def _session(self) -> aiohttp.ClientSession:
        if self._opened is None:
            import aiohttp

            headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
            # limit=0: streams hold their connections for as long as they are read, and must not keep requests waiting
            connector = aiohttp.TCPConnector(limit=0, ssl=self._tls if self._tls is not None else True)
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._connect, sock_read=None)
            self._opened = aiohttp.ClientSession(connector=connector, headers=headers, timeout=timeout)
        return self._opened

    async def close(self) -> None:
        if self._opened is not None:
            await self._opened.close()
            self._opened = None

    async def ask(
        self,
        method: str,
        path: str,
        kind: type[T],
        *,
        query: Mapping[str, Any] | None = None,
        body: object = None,
        key: str = "",
        repeat: bool | None = None,
        accept: frozenset[int] = frozenset(),
        seconds: float = 60.0,
    ) -> T:
        """The answer as `kind`. `accept` are statuses above 400 whose body is an answer; `seconds` bounds one try."""
        again = method in {"GET", "DELETE"} or bool(key) if repeat is None else repeat
        headers = {"Accept": "application/json"}
        if key:
            headers["Idempotency-Key"] = key
        data = None if body is None else msgspec.json.encode(body)
        if data is not None:
            headers["Content-Type"] = "application/json"
        waits = Backoff(0.1, 2.0)
        until = 0.0
        while True:
            try:
                return _decode(await self._once(method, path, query, data, headers, accept, seconds), kind, self.url)
            except Unreachable:
                if not (self._met and again):
                    raise
                until = until or time.monotonic() + self._patience
                wait = waits.next()
                if time.monotonic() + wait > until:
                    raise
            except Busy as busy:
                if not again or waits.failures >= 3 or busy.retry_after > 5:
                    raise
                wait = max(waits.next(), busy.retry_after)
            await asyncio.sleep(wait)

    async def _once(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None,
        data: bytes | AsyncIterator[bytes] | None,
        headers: dict[str, str],
        accept: frozenset[int],
        seconds: float,
    ) -> bytes:
        import aiohttp

        try:
            async with (
                asyncio.timeout(seconds),
                self._session.request(
                    method, self._at(path), params=_text(query), data=data, headers=headers, allow_redirects=False
                ) as response,
            ):
                content = await response.read()
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, aiohttp.ClientResponseError) as error:
            raise self._unreachable(error) from None
        except TimeoutError:
            raise Unreachable(f"{self.url} did not answer within {seconds:g} s") from None
        status = response.status
        if status < 300 or status in accept:
            self._met = True
            return content
        retry_after = response.headers.get("Retry-After", "")
        refusal = error_of(status, response.content_type, content, retry_after=retry_after, url=self.url)
        self._met = self._met or not isinstance(refusal, Unreachable)
        raise refusal

    async def fetch(self, path: str, *, seconds: float) -> bytes:
        """What is at a path, as it is."""
        return await self._once("GET", path, None, None, {}, frozenset(), seconds)

    async def has(self, path: str) -> bool:
        """Whether there is something at a path. Whatever else may be wrong is said by who asks for more than HEAD, which has no words."""
        import aiohttp

        try:
            async with (
                asyncio.timeout(60.0),
                self._session.head(self._at(path), allow_redirects=False) as response,
            ):
                return response.status == 200
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, aiohttp.ClientResponseError) as error:
            raise self._unreachable(error) from None
        except TimeoutError:
            raise Unreachable(f"{self.url} did not answer within 60 s") from None

    async def put(self, path: str, body: Callable[[], AsyncIterator[bytes]], size: int, *, seconds: float) -> None:
        """Send a body of `size` bytes, for as long as `seconds`; `body` is asked anew for each try."""
        headers = {"Content-Type": "application/gzip", "Content-Length": str(size)}
        waits = Backoff(0.2, 5.0)
        while True:
            try:
                await self._once("PUT", path, None, body(), headers, frozenset(), seconds)
                return
            except (Unreachable, Busy) as error:
                if waits.failures >= 3 or not self._met:
                    raise
                await asyncio.sleep(max(waits.next(), min(10.0, getattr(error, "retry_after", 0.0))))

    def _at(self, path: str) -> Any:
        from yarl import URL

        return URL(self.url + path, encoded=True)

    def _unreachable(self, error: Exception) -> Unreachable:
        return Unreachable(
            f"no Styx server answers at {self.url}: {_cause(error)}",
            hint="is it running (`styx server`), and is the address right (--server, STYX_SERVER_URL)?",
        )

    async def stream(
        self, path: str, query: Mapping[str, Any], *, resume: Mapping[str, Any] | None = None
    ) -> AsyncGenerator[Received, None]:
        """Events until the server says that the stream is over. A connection that breaks is made again, with
        Last-Event-ID where events have ids, else with the query `resume`, and the reader skips what it has seen."""
        last, waits, until, asked = "", Backoff(0.1, 2.0), 0.0, query
        while True:
            parser = Parser()
            try:
                async with aclosing(self._connected(path, asked, last, parser)) as events:
                    async for event in events:
                        waits.reset()
                        until = 0.0
                        if event.event == "end":
                            return
                        if event.event == "problem":
                            raise of_document(msgspec.json.decode(event.data, type=ProblemDocument))
                        yield event
            except TooSlow:
                until = 0.0  # dropped as a slow reader: go on behind the last event that was read
            except (Unreachable, Busy):
                if not self._met:
                    raise
                until = until or time.monotonic() + self._patience
                if time.monotonic() > until:
                    raise
            last = parser.ident or last
            asked = query if resume is None else resume
            await asyncio.sleep(waits.next())

    async def _connected(
        self, path: str, query: Mapping[str, Any], last: str, parser: Parser
    ) -> AsyncGenerator[Received, None]:
        import aiohttp

        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last} if last else {})
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._connect, sock_read=60.0)  # beats come every 15 s
        try:
            async with self._session.get(
                self._at(path), params=_text(query), headers=headers, timeout=timeout, allow_redirects=False
            ) as response:
                if response.status != 200:
                    content = await response.read()
                    retry_after = response.headers.get("Retry-After", "")
                    raise error_of(
                        response.status, response.content_type, content, retry_after=retry_after, url=self.url
                    )
                self._met = True
                async for piece in response.content.iter_any():
                    for event in parser.feed(piece):
                        yield event
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, aiohttp.ClientResponseError) as error:
            raise self._unreachable(error) from None
        except TimeoutError:
            raise Unreachable(f"{self.url} went silent") from None


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        good = False
    if not good or parts.query or parts.fragment:
        raise UsageError(f"not the address of a server: {url!r}", hint="write it like http://127.0.0.1:8080")
    return url.rstrip("/")


def _text(query: Mapping[str, Any] | None) -> dict[str, str]:
    return {name: str(value) for name, value in (query or {}).items() if value not in {"", None}}


def _decode(content: bytes, kind: type[T], url: str) -> T:
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.MsgspecError as error:
        raise StyxError(
            f"{url} answered what this release does not understand: {error}",
            hint="install the same release of Styx on both sides",
        ) from None
