"""The agent's side of its owner's socket: start the owner if there is none, and speak frames with it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

from styx.agent.nowork import NoWorkOwner
from styx.agent.owner import launch
from styx.agent.owner.address import connect
from styx.agent.owner.frames import encode, from_owner
from styx.agent.ports import OpenOwner, OwnerPort
from styx.errors import ProtocolError
from styx.protocol.owner import AgentToOwner, OwnerToAgent

__all__ = ["OwnerSocket", "open_owner", "owner_opener"]

_READ = 256 << 10


class OwnerSocket:
    """An OwnerPort over the unix socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._frames = from_owner()

    async def send(self, messages: list[AgentToOwner], /) -> None:
        self._write(messages)
        await self._writer.drain()

    async def recv(self) -> list[OwnerToAgent]:
        while True:
            data = await self._reader.read(_READ)
            if not data:
                raise ConnectionResetError("the owner process closed the connection")
            messages = self._frames.feed(data)
            if messages:
                return messages

    async def close(self) -> None:
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except ConnectionError:
            return  # it was gone already

    def _write(self, messages: Sequence[AgentToOwner]) -> None:
        try:
            self._writer.write(encode(messages))
        except ProtocolError:  # too long for one frame
            if len(messages) == 1:
                raise
            middle = len(messages) // 2
            self._write(messages[:middle])
            self._write(messages[middle:])


async def open_owner(folder: str | os.PathLike[str], *, tied: bool = False) -> OwnerSocket:
    """Connect to the owner of this agent's folder, starting one when none holds it. Errors: OSError, StyxError."""
    # It forks, execs and waits for a socket to appear: in a thread, so that heartbeats go on meanwhile.
    await asyncio.to_thread(launch, os.fspath(folder), tied=tied)
    reader, writer = await asyncio.open_unix_connection(sock=connect(os.fspath(folder)))
    return OwnerSocket(reader, writer)


def owner_opener(folder: Path, *, no_work: bool, tied: bool) -> OpenOwner:
    """How the runner gets its owner: the real one of a folder, or one that does no work."""
    if no_work:
        return NoWorkOwner().open

    async def opened() -> OwnerPort:
        return await open_owner(folder, tied=tied)

    return opened
