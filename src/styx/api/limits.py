"""What a request may be at all: where it may come from, how large and how slow.

Rebinding: a page in a browser may point a name of its own at 127.0.0.1 and so reach a server on loopback as if it were
its own origin. What it cannot choose is the Host header, which names the page's site. So names must be loopback names or
configured ones; an address written as digits is no name that anyone could point elsewhere, and passes. A browser that
sends Origin must have the page from here.

aiohttp closes a connection that has not completed its headers within the keep-alive time (`HEADER_SECONDS`). Bodies of more
than SMALL share one room, from when they are announced until their requests have been answered: a document takes many times its
size while it is read, and so many at once must not be sent that memory runs out.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.web_protocol import RequestPayloadError

from styx.api.problems import Handler, HttpProblem
from styx.errors import Busy

__all__ = ["BODY_SECONDS", "HEADER_SECONDS", "MAX_BODY", "ROOM", "Hosts", "Room", "body", "hosts_middleware"]

MAX_BODY = 16 << 20  # bytes
MAX_BODIES = 64 << 20  # bytes of all that are larger than SMALL
SMALL = 64 << 10  # bytes
BODY_SECONDS = 60.0
HEADER_SECONDS = 30.0


class Hosts:
    """The names that this server answers to."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._names = frozenset({"localhost", *(name.lower().rstrip(".") for name in names)})
        self.allows = lru_cache(maxsize=256)(self._allows)

    def _allows(self, netloc: str) -> bool:
        """Whether `host[:port]` names this server."""
        try:
            name = urlsplit(f"//{netloc}").hostname
        except ValueError:
            return False
        if not name:
            return False
        name = name.rstrip(".")
        return name in self._names or name.endswith(".localhost") or _is_address(name)

    def check(self, request: web.Request) -> None:
        """Raises HttpProblem when the request was not meant for this server."""
        host = request.headers.get("Host", "")
        if not self.allows(host):
            raise HttpProblem(
                421,
                f"this server is not called {host!r}",
                hint="name it with styx-server --allow-host, or use its address",
            )
        origin = request.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            raise HttpProblem(403, f"requests from pages of {origin!r} are refused", code="origin-not-allowed")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return True


class Room:
    """Bytes of large bodies that may be there at once."""

    def __init__(self, most: int = MAX_BODIES) -> None:
        self._left = most
        self._taken: dict[int, int] = {}  # by the id() of the request, which lives until it leaves

    def take(self, request: web.Request, size: int) -> None:
        """Raises Busy when so much is not left."""
        if size > self._left:
            raise Busy("other large requests are being read", retry_after=2.0, status=503)
        self._left -= size
        self._taken[id(request)] = self._taken.get(id(request), 0) + size

    def leave(self, request: web.Request) -> None:
        """The request has been answered."""
        self._left += self._taken.pop(id(request), 0)


HOSTS = web.AppKey("hosts", Hosts)
ROOM = web.AppKey("room", Room)


@web.middleware
async def hosts_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    request.app[HOSTS].check(request)
    try:
        return await handler(request)
    finally:
        request.app[ROOM].leave(request)


async def body(request: web.Request, *, seconds: float = BODY_SECONDS) -> bytes:
    """The whole body. Raises HttpProblem: 413 too large, 415 compressed, 408 too slow, 400 broken; and Busy when there is no
    room for it beside the others.

    Compressed bodies are refused, not bounded: a submission of 16 MiB is 100,000 tasks as it is, and what never is
    inflated needs no limit."""
    encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in {"", "identity"}:
        raise HttpProblem(415, f"bodies in {encoding!r} encoding are not read", hint="send it uncompressed")
    size = request.content_length
    if size is None:
        if request.body_exists:
            request.app[ROOM].take(request, MAX_BODY)  # it does not say how large it will be
    elif size > MAX_BODY:
        raise _too_large()
    elif size > SMALL:
        request.app[ROOM].take(request, size)
    try:
        async with asyncio.timeout(seconds):
            return await request.read()
    except TimeoutError:
        raise HttpProblem(408, f"the body did not arrive within {seconds:g} s") from None
    except web.HTTPRequestEntityTooLarge:
        raise _too_large() from None
    except (RequestPayloadError, web.HTTPBadRequest) as error:
        raise HttpProblem(400, f"the body cannot be read: {error}") from None


def _too_large() -> HttpProblem:
    return HttpProblem(
        413, f"the body is larger than {MAX_BODY >> 20} MiB", hint="write alike tasks as one task with `array`"
    )
