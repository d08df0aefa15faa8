"""The provider as the registry sees it: Compute Engine, and what it cannot promise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from styx.core.offers import Offer
from styx.providers.base import Check, Context, Promises, Provisioner, Runner
from styx.providers.gcp.api import Api
from styx.providers.gcp.catalog import builtin
from styx.providers.gcp.check import check
from styx.providers.gcp.compute import Compute
from styx.providers.gcp.operations import Operations
from styx.providers.gcp.settings import Settings

__all__ = ["PROMISES", "Gcp"]

PROMISES = Promises(
    idempotent=True,  # by requestId, and by the name, of which there can be one in a zone
    settles=60.0,  # no bound is published; a listing shows an instance with the answer to its insert
    notice=30.0,  # of a spot machine's end
    lifetime=True,  # maxRunDuration, counted while it runs
    stops=True,
)
_PLANNED = ("us-central1-a",)
"""Offers to plan with while no zone is set."""


class Gcp:
    """See `base.Provider`."""

    name = "gcp"
    promises = PROMISES

    def __init__(self, settings: Settings, context: Context) -> None:
        self._settings = settings
        self._api = Api(settings, context)
        self._compute = Compute(self._api, settings, Operations(self._api, context.sleep))

    @property
    def provisioner(self) -> Provisioner:
        return self._compute

    @property
    def runners(self) -> Mapping[str, Runner]:
        return {}

    def catalog(self) -> tuple[Sequence[Offer], str]:
        return builtin(self._settings.zones or _PLANNED, self._settings.disk)

    async def check(self) -> Check:
        return await check(self._api, self._settings)

    async def close(self) -> None:
        await self._api.close()
