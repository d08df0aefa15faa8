"""An agent within another program: a session in the caller's loop, with an owner of its own that ends with the caller.

Nothing goes over a network: `connect` gives a transport whose other end is the control plane's hub in the same process.
"""

from __future__ import annotations

import asyncio
import socket
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path

from styx.agent.cellar import Shelf
from styx.agent.identity import claim, release
from styx.agent.link import LocalLink, Transport
from styx.agent.owner_link import owner_opener
from styx.agent.ports import ServerPort
from styx.agent.probe import boot_id, capacity, host_id, vitals
from styx.agent.runner import AgentRunner
from styx.agent.session import Profile, Session
from styx.core.resources import Resources

__all__ = ["run_embedded"]


async def run_embedded(
    connect: Callable[[], Awaitable[Transport]],
    *,
    home: Path,
    name: str = "",
    capacity_override: Resources | None = None,
    labels: tuple[tuple[str, str], ...] = (),
    no_work: bool = False,
    tied: bool = True,
    on_start: Callable[[AgentRunner], None] | None = None,
) -> None:
    """Run an agent until cancelled, or until `on_start`'s runner was told to drain and has.

    `connect` opens a link to the hub each time it is called; a ConnectionError from it is tried again. `home` holds the
    agent's folder. With `tied` the programs end when this does. Errors: those of `AgentRunner.run` and `identity.claim`.
    """
    mine = claim(home)
    try:
        found, devices = await asyncio.to_thread(capacity, mine.folder)
        profile = Profile(
            mine.agent,
            name or socket.gethostname(),
            host_id(),
            boot_id(),
            uuid.uuid4().hex,
            release(),
            capacity_override or found,
            labels,
            devices,
            str(mine.folder / "results"),
            tied,
        )
        runner = AgentRunner(
            Session(profile),
            owner_opener(mine.folder, no_work=no_work, tied=tied),
            _dialler(connect),
            vitals=vitals,
            parcels=Shelf(home / "archives"),
        )
        if on_start is not None:
            on_start(runner)
        await runner.run()
    finally:
        mine.close()


def _dialler(connect: Callable[[], Awaitable[Transport]]) -> Callable[[], Awaitable[ServerPort]]:
    async def dial() -> ServerPort:
        return LocalLink(await connect())

    return dial
