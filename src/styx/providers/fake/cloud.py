"""The cloud itself: machines that come up and go, listings that lag behind, and answers that get lost.

All that happens is decided by the faults it is given; without any, every call succeeds after `latency`. What really exists is in
`alive`, which no caller of the provider sees: it is what tests hold the caller's belief against.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from styx.providers.base import Kind, Machine, MachineState, Order, Refused, Unsure

__all__ = ["FakeCloud", "Faults"]


class Faults:
    """What goes wrong. The lists are scripts: each call takes the next entry, None is a call without a fault."""

    def __init__(self) -> None:
        self.launch: deque[str | None] = deque()  # a Kind, "lost" (done, no answer), "dropped" (not done, no answer)
        self.terminate: deque[str | None] = deque()  # "lost", "dropped", or a Kind
        self.listing: deque[str | None] = deque()  # "partial", "stale", "lost", or a Kind
        self.no_capacity: set[tuple[str, str]] = set()  # (zone, instance type); "" is any
        self.no_quota: set[str] = set()  # regions
        self.never_boots: set[str] = set()  # zones in which machines come up without their agent
        self.choose: Callable[[str], str | None] | None = None  # for a script that is drawn as it goes: (call) -> fault

    def next(self, call: str) -> str | None:
        script: deque[str | None] = getattr(self, call)
        if script:
            return script.popleft()
        return self.choose(call) if self.choose is not None else None


class _Real(msgspec.Struct):
    """One machine, and when listings began to show what."""

    machine: Machine
    order: Order
    shown_from: int
    ended_at: int = 0
    hidden_from: int = 0  # when listings have heard of its end


class FakeCloud:
    """`now` in milliseconds since the epoch, `sleep` in seconds; `latency` and `settles` in milliseconds. `booted` is called with each
    machine that has come up, and `ended` with each that is gone. One that is not
    `idempotent` brings up another machine each time an order is repeated."""

    def __init__(
        self,
        now: Callable[[], int],
        sleep: Callable[[float], Awaitable[None]],
        *,
        latency: int = 0,
        settles: int = 0,
        idempotent: bool = True,
        name: str = "fake",
    ) -> None:
        self._now = now
        self._sleep = sleep
        self.latency = latency
        self.settles = settles
        self.idempotent = idempotent
        self.name = name
        self.faults = Faults()
        self.calls = 0
        self.launched = 0
        self.booted: Callable[[Machine, Order], None] = lambda machine, order: None
        self.ended: Callable[[Machine], None] = lambda machine: None
        self.asked_to_end: Callable[[str], None] = lambda ref: None
        self._machines: dict[str, _Real] = {}
        self._by_token: dict[str, str] = {}

    @property
    def alive(self) -> dict[str, Order]:
        """What really exists and costs: the orders of the machines, by ref."""
        return {ref: real.order for ref, real in self._machines.items() if not real.ended_at}

    async def launch(self, order: Order) -> Machine:
        fault = await self._call("launch")
        offer = order.offer
        if fault == "dropped":
            raise Unsure("the connection broke")
        if fault not in {None, "lost"}:
            raise _refused(str(fault), offer.instance_type, offer.zone)
        known = self._by_token.get(order.token)
        if known is None or not self.idempotent or self._machines[known].ended_at:
            self._check(order)
            known = self._create(order)
        await self._answer()
        if fault == "lost":
            raise Unsure("the answer was lost")
        return self._machines[known].machine

    async def list(self, cluster: str) -> tuple[list[Machine], bool]:
        """The machines that a listing shows, and whether all zones answered."""
        fault = await self._call("listing")
        if fault == "lost":
            raise Unsure("the answer was lost")
        if fault not in {None, "partial", "stale"}:
            raise _refused(str(fault), "", "")
        at = self._now() - (4 * max(self.settles, 1_000) if fault == "stale" else 0)
        shown = [self._as_of(real, at) for real in self._machines.values() if real.shown_from <= at]
        shown = [machine for machine in shown if cluster in {"", machine.cluster}]
        await self._answer()
        if fault == "partial":
            return shown[::2], False
        return shown, True

    async def terminate(self, refs: Sequence[str]) -> None:
        fault = await self._call("terminate")
        if fault == "dropped":
            raise Unsure("the connection broke")
        if fault not in {None, "lost"}:
            raise _refused(str(fault), "", "")
        for ref in refs:
            self.asked_to_end(ref)
            self.take(ref, "ended on request")
        await self._answer()
        if fault == "lost":
            raise Unsure("the answer was lost")

    def take(self, ref: str, detail: str) -> None:
        """End a machine: because it was asked for, or as a cloud takes back a spot machine."""
        real = self._machines.get(ref)
        if real is None or real.ended_at:
            return
        real.ended_at = self._now()
        real.hidden_from = real.ended_at + self.settles
        real.machine = msgspec.structs.replace(real.machine, state=MachineState.ENDED, detail=detail)
        self.ended(real.machine)

    def _check(self, order: Order) -> None:
        offer = order.offer
        if offer.region in self.faults.no_quota:
            raise _refused(Kind.QUOTA, offer.instance_type, offer.region)
        for key in ((offer.zone, offer.instance_type), (offer.zone, "")):
            if key in self.faults.no_capacity:
                raise _refused(Kind.CAPACITY, offer.instance_type, offer.zone)

    def _create(self, order: Order) -> str:
        self.launched += 1
        ref = f"{order.offer.zone or order.offer.region}/m-{self.launched}"
        offer = order.offer
        machine = Machine(
            ref=ref,
            token=order.token,
            cluster=order.cluster,
            state=MachineState.RUNNING,
            region=offer.region,
            zone=offer.zone,
            instance_type=offer.instance_type,
            spot=offer.spot,
            launched_at=self._now(),
        )
        self._machines[ref] = _Real(machine, order, self._now() + self.settles)
        self._by_token[order.token] = ref
        if offer.zone not in self.faults.never_boots:
            self.booted(machine, order)
        return ref

    def _as_of(self, real: _Real, at: int) -> Machine:
        if real.ended_at and real.hidden_from > at:
            return msgspec.structs.replace(real.machine, state=MachineState.RUNNING, detail="")
        return real.machine

    async def _call(self, what: str) -> str | None:
        self.calls += 1
        if self.latency:
            await self._sleep(self.latency / 2_000)
        return self.faults.next(what)

    async def _answer(self) -> None:
        """On its way back: whoever asked may be gone when it comes."""
        if self.latency:
            await self._sleep(self.latency / 2_000)


def _refused(kind: str, what: str, where: str) -> Refused:
    texts = {
        Kind.CAPACITY: f"there is no capacity for {what} in {where} now",
        Kind.QUOTA: f"the quota for {what} in {where} is used up",
        Kind.THROTTLED: "too many requests",
        Kind.DENIED: "the credentials are not valid",
        Kind.INVALID: f"there is no {what} in {where}",
        Kind.UNREACHABLE: "no route to the cloud",
    }
    known = Kind(kind)
    return Refused(known, texts[known], retry_after=1.0 if known is Kind.THROTTLED else 0.0)
