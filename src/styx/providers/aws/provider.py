"""The provider as the registry sees it: EC2, the functions of each region, and what neither can promise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from styx.core.offers import Offer
from styx.providers.aws.catalog import builtin
from styx.providers.aws.check import check
from styx.providers.aws.clients import Clients
from styx.providers.aws.ec2 import Ec2
from styx.providers.aws.functions import Functions
from styx.providers.aws.ground import Ground
from styx.providers.aws.settings import Settings
from styx.providers.base import Check, Context, Promises, Provisioner, Runner

__all__ = ["PROMISES", "Aws"]

PROMISES = Promises(
    idempotent=True,  # by ClientToken
    settles=60.0,  # the API is eventually consistent, and names no bound; it shows what is new within seconds
    notice=120.0,  # of a spot machine's end
    lifetime=False,
    stops=True,  # machines on demand; EC2 refuses it for spot ones
    output=False,  # of a function's log there is only the tail
    exclusive=False,  # after a broken connection nobody can tell whether an invocation still runs
    interrupts=False,  # an invocation cannot be stopped
)
_PLANNED = ("us-east-1",)
"""Offers to plan with while no region is set."""


class Aws:
    """See `base.Provider`."""

    name = "aws"
    promises = PROMISES

    def __init__(self, settings: Settings, context: Context) -> None:
        self._settings = settings
        self._clients = Clients(settings, context.environ)
        self._ground = Ground(self._clients, settings, context.now)
        self._ec2 = Ec2(self._clients, settings, self._ground)
        self._functions = {
            f"functions-{region}": Functions(self._clients, region, settings.concurrency, context)
            for region in (settings.regions if settings.concurrency else ())
        }

    @property
    def provisioner(self) -> Provisioner:
        return self._ec2

    @property
    def runners(self) -> Mapping[str, Runner]:
        return self._functions

    def catalog(self) -> tuple[Sequence[Offer], str]:
        return builtin(self._settings.regions or _PLANNED, self._settings.disk)

    async def check(self) -> Check:
        return await check(self._clients, self._settings, self._ground)

    async def close(self) -> None:
        for functions in self._functions.values():
            await functions.close()
        await self._clients.close()
