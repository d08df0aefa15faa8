"""The two ports of an agent: messages in lists, both ways, with whoever is at the other end.

To a server: a websocket (`link.WebSocket`) or, in one process with it, `link.LocalLink`. To an owner: its unix socket
(`owner_link`) or the one that does no work (`nowork`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from styx.protocol.messages import AgentMessage, ServerMessage
from styx.protocol.owner import AgentToOwner, OwnerToAgent

__all__ = ["Dial", "OpenOwner", "OwnerPort", "Port", "ServerPort"]

S = TypeVar("S")  # what is sent
R = TypeVar("R")  # what is received


class Port(Protocol[S, R]):
    """One connection. When the other side is gone, `send` and `recv` raise ConnectionError; a peer that breaks the protocol
    is a ProtocolError."""

    async def send(self, messages: list[S], /) -> None:
        """Returns when the connection can take more."""
        ...

    async def recv(self) -> list[R]:
        """What came next, at least one message."""
        ...

    async def close(self) -> None: ...


ServerPort = Port[AgentMessage, ServerMessage]
OwnerPort = Port[AgentToOwner, OwnerToAgent]

# A new connection to a server. Errors: Unreachable and Busy (it is tried again), NotAllowed (it is for a while, if it had been allowed), Revoked (it is not).
Dial = Callable[[], Awaitable[ServerPort]]
# A new connection to the owner, which is started when there is none. Errors: OSError, StyxError.
OpenOwner = Callable[[], Awaitable[OwnerPort]]
