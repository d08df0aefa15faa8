"""What every implementation of `Verbs` must do: one suite that ControlPlane and Client both pass.

    class TestControlPlane(PlaneContract):
        @asynccontextmanager
        async def plane(self, folder): ...       # a plane with one agent of at least two CPUs, which may come up a moment later

Programs really run, so the suite also shows that output, exit codes and kills come through. Nothing here sleeps to be in time:
it waits for events and ends. One room holds the verbs that belong together; PlaneContract is all of them.
"""

from __future__ import annotations

from styx.testing.contracts.plane.finding import Finding
from styx.testing.contracts.plane.places import Places
from styx.testing.contracts.plane.running import Running
from styx.testing.contracts.plane.upkeep import Upkeep

__all__ = ["PlaneContract"]


class PlaneContract(Running, Finding, Places, Upkeep):
    """All that every implementation of `Verbs` does."""
