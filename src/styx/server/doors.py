"""How many may come in at once.

A connection costs a descriptor and some 20 kB before it has said anything, and without descriptors neither database nor output
can be written. So there is a limit, and who comes beyond it is told to come back, by a protocol that reads nothing: a refusal must
cost less than what it refuses. Connections that say nothing are closed after `limits.HEADER_SECONDS`, so the doors open again
by themselves. Those who are in, agents above all, are not touched.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from aiohttp import web

__all__ = ["MOST", "Doors", "most_connections", "raise_limit"]

MOST = 20_000  # connections: twice the agents that one server is made for
_RESERVED = 256  # descriptors for everything else, refusals too
_DESCRIPTORS = 65_536  # more would only make room for more harm
_REFUSALS = 128  # that wait for the request they answer; beyond, connections are closed without a word
_PATIENCE = 1.0  # seconds that a refused connection has to send its request

_BODY = (
    b'{"title":"Busy","status":503,"type":"urn:styx:problem:busy","detail":"the server has as many connections as it can'
    b' serve","code":"busy","hint":"try again later","errors":[]}'
)
_ANSWER = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\nRetry-After: 5\r\n"
    b"Connection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(_BODY), _BODY)
)


def raise_limit() -> None:
    """As many descriptors as this process may have; the soft limit is a tenth of it or less on most systems."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def most_connections() -> int:
    """How many connections the descriptors of this process allow, up to MOST."""
    try:
        import resource
    except ImportError:
        return MOST
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST if soft == resource.RLIM_INFINITY else max(16, min(MOST, soft - _RESERVED))


class Doors:
    """A factory of protocols: those of `server` for up to `most` connections at a time, refusals for the others."""

    def __init__(self, server: web.Server, most: int) -> None:
        self._server = server
        self._most = most
        self._free = 0  # that many may come in before they are counted again
        self._refusals: set[_Refusal] = set()

    def __call__(self) -> asyncio.Protocol:
        if self._free <= 0:
            self._free = self._most - len(self._server.connections)
        if self._free <= 0:
            return _Refusal(self._refusals)
        self._free -= 1
        return self._server()


class _Refusal(asyncio.Protocol):
    """Answers the request, whatever it is, and closes. It waits for one, since what is closed with something unread in it is
    reset, and its peer would never see the answer."""

    def __init__(self, others: set[_Refusal]) -> None:
        self._others = others
        self._transport: asyncio.Transport | None = None
        self._alarm: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but its class
        if len(self._others) >= _REFUSALS:
            transport.abort()
            return
        self._others.add(self)
        self._transport = transport
        self._alarm = asyncio.get_running_loop().call_later(_PATIENCE, transport.abort)

    def data_received(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(_ANSWER)
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        self._others.discard(self)
        if self._alarm is not None:
            self._alarm.cancel()
