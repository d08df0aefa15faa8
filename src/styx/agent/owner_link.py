"""The agent's side of its owner's socket: start the owner if there is none, and speak frames with it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

from styx.agent.inlet import Inlet
from styx.agent.nowork import NoWorkOwner
from styx.agent.owner import launch
from styx.agent.owner.address import connect
from styx.agent.owner.frames import encode
from styx.agent.ports import OpenOwner, OwnerPort
from styx.errors import ProtocolError
from styx.protocol.owner import AgentToOwner, OwnerToAgent

__all__ = ["OwnerSocket", "open_owner", "owner_opener"]

TIED = 30.0  # seconds to wait for a tied owner to have ended its programs


class OwnerSocket:
    """An OwnerPort over the unix socket. `process` is a pidfd of an owner that is tied to this connection, or -1."""

    def __init__(self, inlet: Inlet, process: int = -1) -> None:
        self._inlet = inlet
        self._process = process

    async def send(self, messages: list[AgentToOwner], /) -> None:
        await self._inlet.write(_frames(messages))

    async def recv(self) -> list[OwnerToAgent]:
        return await self._inlet.messages()

    async def close(self) -> None:
        await self._inlet.close()
        if self._process >= 0:
            await _ended(self._process)
            self._process = -1


def _frames(messages: Sequence[AgentToOwner]) -> list[bytes]:
    """The messages as frames that are not too long."""
    try:
        return [encode(messages)]
    except ProtocolError:
        if len(messages) == 1:
            raise
        middle = len(messages) // 2
        return _frames(messages[:middle]) + _frames(messages[middle:])


async def open_owner(folder: str | os.PathLike[str], *, tied: bool = False) -> OwnerSocket:
    """Connect to the owner of this agent's folder, starting one when none holds it. Errors: OSError, StyxError."""
    # It forks, execs and waits for a socket to appear: in a thread, so that heartbeats go on meanwhile.
    pid = await asyncio.to_thread(launch, os.fspath(folder), tied=tied)
    process = os.pidfd_open(pid) if tied else -1
    try:
        socket = connect(os.fspath(folder))
        _, inlet = await asyncio.get_running_loop().create_unix_connection(Inlet, sock=socket)
    except OSError:
        if process >= 0:
            os.close(process)
        raise
    return OwnerSocket(inlet, process)


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
