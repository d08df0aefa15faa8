"""What can go wrong in the fake of Google Cloud, and when."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Error:
    """An answer of Google's; nothing is done. `detail` is the reason that newer services give besides."""

    status: int
    reason: str
    message: str = "made up by the test"
    detail: str = ""
    retry_after: str = ""


@dataclass(frozen=True)
class Fails:
    """It is accepted, and the operation ends with this error after so many waits; what it had begun to make is gone then."""

    code: str
    status: int = 503
    message: str = "made up by the test"
    waits: int = 1


@dataclass(frozen=True)
class Slow:
    """The operation needs so many waits. `granted`: the instance is shown as STAGING meanwhile, else as PROVISIONING."""

    waits: int = 3
    granted: bool = False


@dataclass(frozen=True)
class Lost:
    """It is done, and the connection breaks before the answer."""


@dataclass(frozen=True)
class Dropped:
    """The connection breaks, and nothing is done."""


@dataclass(frozen=True)
class Gateway:
    """Something in between answers, in its own words. `done`: what was asked for has been done all the same."""

    status: int = 502
    done: bool = False


@dataclass(frozen=True)
class Stale:
    """The answer that the same question got the last time; an empty one if it was not asked before, or if it is to be `empty`."""

    empty: bool = False


@dataclass(frozen=True)
class Partial:
    """A list that lacks this zone, and says so: in `unreachables`, or by a warning at the zone."""

    zone: str
    warning: bool = False


@dataclass(frozen=True)
class Cut:
    """The body breaks off half-way."""


class Held:
    """It is done, and the answer waits until `release`. `reached` is set when there is one that waits."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self._go = asyncio.Event()

    def release(self) -> None:
        self._go.set()

    async def wait(self) -> None:
        self.reached.set()
        await self._go.wait()


Fault = Error | Fails | Slow | Lost | Dropped | Gateway | Stale | Partial | Cut | Held


@dataclass(frozen=True)
class Asked:
    """One request, as far as the faults care. `method` as in `instances.insert`."""

    method: str
    zone: str = ""
    body: dict[str, Any] = field(default_factory=dict)
    query: dict[str, str] = field(default_factory=dict)
    name: str = ""

    @property
    def region(self) -> str:
        return self.zone.rpartition("-")[0]

    @property
    def machine_type(self) -> str:
        return str(self.body.get("machineType", "")).rpartition("/")[2]


class Faults:
    """`next` for the next request of a method (several queue up), `always` until `clear`; all may be narrowed."""

    def __init__(self) -> None:
        self._queued: defaultdict[str, deque[tuple[Fault | None, Callable[[Asked], bool]]]] = defaultdict(deque)
        self._standing: list[tuple[str, Fault, Callable[[Asked], bool]]] = []
        self._broken: dict[str, Fault] = {}  # by request id
        self.hit: Counter[str] = Counter()

    def next(self, method: str, *faults: Fault | None, when: Callable[[Asked], bool] = lambda asked: True) -> None:
        """None is a request without a fault."""
        self._queued[method] += [(fault, when) for fault in faults]

    def always(self, method: str, fault: Fault, *, region: str = "", zone: str = "", machine_type: str = "") -> None:
        """An empty `method` means all."""

        def when(asked: Asked) -> bool:
            return (
                region in {"", asked.region} and zone in {"", asked.zone} and machine_type in {"", asked.machine_type}
            )

        self._standing.append((method, fault, when))

    def clear(self) -> None:
        self._queued.clear()
        self._standing.clear()

    def take(self, asked: Asked) -> Fault | None:
        """A connection that breaks makes aiohttp send a DELETE anew: that is the same request still, and meets the same fault."""
        request = asked.query.get("requestId", "")
        if request in self._broken:
            return self._broken[request]
        fault = self._take(asked)
        if isinstance(fault, (Lost, Dropped)) and asked.method == "instances.delete":
            self._broken[request] = fault
        return fault

    def _take(self, asked: Asked) -> Fault | None:
        queue = self._queued[asked.method]
        if queue and queue[0][1](asked):
            fault = queue.popleft()[0]
            self.hit[asked.method] += fault is not None
            return fault
        for method, standing, when in self._standing:
            if method in {"", asked.method} and when(asked):
                self.hit[asked.method] += 1
                return standing
        return None
