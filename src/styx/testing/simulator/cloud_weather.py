"""What goes wrong in a run with a cloud: calls that fail, zones without room, machines that are taken or go mute, a server that is
killed at any point. How much of it there is in one run is drawn first; `clear` ends all of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from random import Random

from styx.providers.fake import FakeCloud
from styx.testing.simulator.cloud_work import CloudMachine

__all__ = ["Weather"]

_LAUNCH = ("lost", "lost", "dropped", "throttled", "capacity", "quota", "unreachable", "denied")
_OTHER = ("lost", "dropped", "throttled", "denied")
_LISTING = ("partial", "stale", "lost", "throttled")


class Weather:
    """`note` writes down what happens."""

    def __init__(self, chance: Random, note: Callable[[str], None]) -> None:
        self.calm = False
        self._chance = chance
        self._note = note
        self._rate = chance.choice((0.0, 0.05, 0.2, 0.4))  # of calls that fail
        self._deadly = chance.choice((0.0, 0.0, 0.002, 0.01))  # of points at which the server is killed

    def fault(self, call: str) -> str | None:
        """How this call to the cloud fails, if it does."""
        if self.calm or self._chance.random() >= self._rate:
            return None
        fault = self._chance.choice({"launch": _LAUNCH, "terminate": _OTHER, "listing": _LISTING}[call])
        self._note(f"{call}: {fault}")
        return fault

    def strikes(self) -> bool:
        """Whether the server is killed at this point."""
        return not self.calm and self._chance.random() < self._deadly

    async def storm(
        self,
        lasting: float,
        cloud: FakeCloud,
        machines: Mapping[str, CloudMachine],
        kill: Callable[[str], None],
        stop: Callable[[], Awaitable[None]],
    ) -> None:
        """Trouble after trouble, for so many seconds."""
        chance, faults = self._chance, cloud.faults
        loop = asyncio.get_running_loop()
        until = loop.time() + lasting
        while loop.time() < until:
            await asyncio.sleep(chance.expovariate(1 / 90))
            what = chance.choice(("capacity", "quota", "preempt", "kill", "mute", "better", "cut", "stop"))
            zone = chance.choice(("fake-1a", "fake-1b", "fake-2a"))
            if what == "capacity":
                faults.no_capacity.add((zone, chance.choice(("", "small", "medium"))))
            elif what == "quota":
                faults.no_quota.add(zone[:-1])
            elif what == "mute":
                faults.never_boots.add(zone)
            elif what == "better":
                _mend(cloud)
            elif what == "preempt":
                spots = sorted(ref for ref, order in cloud.alive.items() if order.offer.spot)
                if spots:
                    cloud.take(chance.choice(spots), "taken back")
            elif what == "cut" and machines:
                await machines[chance.choice(sorted(machines))].agent.disconnect()
            elif what == "kill" and self._deadly:
                kill("at any moment")
            elif what == "stop" and self._deadly:
                await stop()
            else:
                continue
            self._note(what)

    def clear(self, cloud: FakeCloud) -> None:
        """Nothing goes wrong from now on."""
        self._note("faults end")
        self.calm = True
        _mend(cloud)


def _mend(cloud: FakeCloud) -> None:
    cloud.faults.no_capacity.clear()
    cloud.faults.no_quota.clear()
    cloud.faults.never_boots.clear()
