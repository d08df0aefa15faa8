"""The agent's side of its owner's socket: start the owner if there is none, and speak frames with it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from styx.agent.nowork import NoWorkOwner
from styx.agent.owner import launch
from styx.agent.owner.address import connect
from styx.agent.owner.frames import encode, from_owner
from styx.agent.ports import OpenOwner, OwnerPort
from styx.errors import ProtocolError
from styx.protocol.owner import AgentToOwner, OwnerToAgent

__all__ = ["OwnerSocket", "open_owner", "owner_opener"]

TIED = 30.0  # seconds to wait for a tied owner to have ended its programs
_READ = 256 << 10


class OwnerSocket:
    """An OwnerPort over the unix socket. `process` is a pidfd of an owner that is tied to this connection, or -1."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, process: int = -1) -> None:
        self._reader = reader
        self._writer = writer
        self._process = process
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
        with suppress(ConnectionError):  # it was gone already
            await self._writer.wait_closed()
        if self._process >= 0:
            await _ended(self._process)
            self._process = -1

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
    pid = await asyncio.to_thread(launch, os.fspath(folder), tied=tied)
    process = os.pidfd_open(pid) if tied else -1
    try:
        reader, writer = await asyncio.open_unix_connection(sock=connect(os.fspath(folder)))
    except OSError:
        if process >= 0:
            os.close(process)
        raise
    return OwnerSocket(reader, writer, process)


async def _ended(process: int) -> None:
    """Until the process is gone, but no longer than TIED: it ends its programs in its own time even if nobody waits."""
    loop = asyncio.get_running_loop()
    gone = asyncio.Event()
    loop.add_reader(process, gone.set)
    try:
        async with asyncio.timeout(TIED):
            await gone.wait()
    except TimeoutError:
        return
    finally:
        loop.remove_reader(process)
        os.close(process)


def owner_opener(folder: Path, *, no_work: bool, tied: bool) -> OpenOwner:
    """How the runner gets its owner: the real one of a folder, or one that does no work."""
    if no_work:
        return NoWorkOwner().open

    async def opened() -> OwnerPort:
        return await open_owner(folder, tied=tied)

    return opened
