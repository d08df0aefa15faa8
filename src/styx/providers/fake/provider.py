"""The provider in front of the fake cloud: both ports' words, and a small catalog."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from styx.core.offers import Offer
from styx.core.resources import Resources
from styx.providers.base import Check, Kind, Listing, Machine, MachineState, Order, Promises, Refused, Runner, Unsure
from styx.providers.fake.cloud import FakeCloud

__all__ = ["FakeProvider"]

_GB = 1 << 30
# (type, CPUs, GB, accelerators, micros an hour on demand)
_TYPES: tuple[tuple[str, int, int, tuple[tuple[str, int], ...], int], ...] = (
    ("small", 2, 4, (), 40_000),
    ("medium", 8, 16, (), 150_000),
    ("large", 32, 128, (), 1_000_000),
    ("gpu", 8, 64, (("A100", 1),), 3_000_000),
    ("gpu8", 96, 1_024, (("A100", 8),), 22_000_000),
)


class FakeProvider:
    """Both `Provider` and `Provisioner`."""

    def __init__(self, cloud: FakeCloud, zones: Sequence[str] = ("fake-1a", "fake-1b", "fake-2a")) -> None:
        self.cloud = cloud
        self._zones = tuple(zones)
        self.unusable = ""  # why it cannot be used, for tests of that

    @property
    def name(self) -> str:
        return self.cloud.name

    @property
    def promises(self) -> Promises:
        return Promises(idempotent=self.cloud.idempotent, settles=self.cloud.settles / 1_000, notice=5.0)

    @property
    def provisioner(self) -> FakeProvider:
        return self

    @property
    def runners(self) -> Mapping[str, Runner]:
        return {}

    def catalog(self) -> tuple[Sequence[Offer], str]:
        found = []
        for at, zone in enumerate(self._zones):
            for kind, cpus, memory, accelerators, price in _TYPES:
                resources = Resources(cpus * 1_000, memory * _GB, 100 * _GB, accelerators)
                here = price + price * at // 20  # each further zone is a little dearer
                found.append(Offer(self.name, zone[:-1], zone, kind, False, here, resources))
                found.append(Offer(self.name, zone[:-1], zone, kind, True, here * 3 // 10, resources))
        return found, "2026-11-25, made up"

    async def check(self) -> Check:
        if self.unusable:
            return Check(False, problems=(self.unusable,), hints=("get new ones",))
        return Check(True, identity="nobody")

    async def close(self) -> None:
        return

    async def launch(self, order: Order) -> Machine:
        return await self.cloud.launch(order)

    async def find(self, order: Order) -> Machine | None:
        machines, complete = await self.cloud.list(order.cluster)
        for machine in machines:
            if machine.token == order.token and machine.state is not MachineState.ENDED:
                return machine
        if not complete:
            raise Unsure("not every zone answered")
        return None

    async def listing(self, cluster: str) -> Listing:
        machines, complete = await self.cloud.list(cluster)
        return Listing(tuple(machines), complete, () if complete else ("a zone did not answer",))

    async def terminate(self, refs: Sequence[str]) -> None:
        await self.cloud.terminate(refs)

    async def stop(self, refs: Sequence[str]) -> None:
        raise Refused(Kind.INVALID, "machines here cannot be stopped, only ended")

    async def start(self, refs: Sequence[str]) -> None:
        raise Refused(Kind.INVALID, "machines here cannot be stopped, only ended")

    async def offers(self) -> list[Offer]:
        return list(self.catalog()[0])
