"""The websocket of the agents: a Transport over aiohttp, handed to the hub, and nothing else.

One thread of control writes (the link's writer) and one reads, as aiohttp wants it. The hub's heartbeats see to
connections that are half open, so the websocket pings nobody.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial

from aiohttp import WSCloseCode, WSMsgType, web

from styx.api.agents import peer_of
from styx.api.auth import TOKENS
from styx.api.openings import OPENING
from styx.api.problems import HttpProblem, begun
from styx.protocol.codec import MAX_FRAME
from styx.runtime.peers import Peer
from styx.runtime.transport import Transport

__all__ = ["CONNECT", "SUBPROTOCOL", "Connect", "connect"]

SUBPROTOCOL = "styx"

Connect = Callable[[Transport, Peer, Callable[[int], None]], Awaitable[None]]
"""Serves a link: who is at its other end, and what to call with the token that takes the place of theirs."""

CONNECT: web.AppKey[Connect | None] = web.AppKey("connect")


class Socket:
    """A websocket as a Transport."""

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self._socket = socket

    async def send(self, frame: bytes) -> None:
        await self._socket.send_bytes(frame)

    async def close(self) -> None:
        await self._socket.close()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for message in self._socket:
            if message.type is not WSMsgType.BINARY:
                await self._socket.close(code=WSCloseCode.UNSUPPORTED_DATA, message=b"frames are binary")
                return
            yield message.data


async def connect(request: web.Request) -> web.StreamResponse:
    """Serve an agent until its link ends."""
    serve = request.app[CONNECT]
    if serve is None:
        raise HttpProblem(404, "this server takes no agents")
    # aiohttp refuses a message that is as long as its limit
    socket = web.WebSocketResponse(
        max_msg_size=MAX_FRAME + 1, compress=False, autoping=True, timeout=5.0, protocols=(SUBPROTOCOL,)
    )
    if not socket.can_prepare(request).ok:
        raise HttpProblem(400, "agents connect here with a websocket", hint="start one with `styx-agent`")
    await socket.prepare(request)
    opening = OPENING.get()
    opening.part = partial(socket.close, code=WSCloseCode.POLICY_VIOLATION, message=b"the token has ended")

    def renewed(token: int) -> None:
        opening.token = token
        request.app[TOKENS].forget()  # the agent may come with it at once

    with begun(request):
        await serve(Socket(socket), peer_of(opening.identity), renewed)
    return socket
