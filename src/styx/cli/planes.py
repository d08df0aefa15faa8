"""What can be said of places with or without a server: without one, a control plane in this process that runs nothing and brings nothing
up looks at the providers in this user's settings, and at the offers that were refreshed here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from styx.cli.app import App
    from styx.protocol.verbs import Verbs

__all__ = ["looking"]


@asynccontextmanager
async def looking(app: App, *, agent: bool = False) -> AsyncIterator[Verbs]:
    """The server if there is one, else a plane of one's own; with `agent` this machine is a place there."""
    if app.address():
        from styx.cli.places import server

        async with server(app) as verbs:
            yield verbs
        return
    from styx.compose import ControlPlane

    async with ControlPlane.open(agent=agent) as plane:
        plane.offering.home = app.home
        plane.offering.tables = app.settings.providers
        yield plane
