"""Carries orders to a provider's Runner, again where the answer was no or none, and what cannot be carried back to the owner.

    Refused  what will not change by waiting gives the attempt back at once; for the rest (no room, no network, no permission) it is
             asked again for PATIENCE, then given back, so that another place may have it
    Unsure   the attempt may be there: it is asked again until there is an answer, and never given back before
One that is to be stopped while its order is on its way is first brought to a certain end of that, then stopped: what may still arrive must not
be left behind. A Runner is somebody's plug-in: a bug in it must not take the control plane down, so it counts as unsure.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from styx.aiokit import Supervisor
from styx.aiokit.backoff import Backoff
from styx.core.states import Outcome
from styx.errors import StyxError
from styx.providers.base import Kind, Refused, Runner, RunOrder, Unsure
from styx.runtime.clock import Clock
from styx.runtime.runner_attempt import ENDED, Hosted
from styx.telemetry.log import get

__all__ = ["Carrier"]

log = get("runners")

AT_ONCE = 32  # calls to one runner
CALL_LIMIT = 120.0  # seconds for one call
PATIENCE = 60_000  # milliseconds in which a refusal that may pass is waited for
FIRST, LAST = 0.5, 30.0  # seconds between calls


class Carrier:
    """`make` makes the order of an attempt (raises StyxError when it cannot ever), `never` ends one of which no program ran."""

    def __init__(
        self,
        name: str,
        runner: Runner,
        supervisor: Supervisor,
        clock: Clock,
        make: Callable[[Hosted], Awaitable[RunOrder]],
        never: Callable[[Hosted, Outcome, str, int], None],
    ) -> None:
        self._name = name
        self._runner = runner
        self._supervisor = supervisor
        self._clock = clock
        self._make = make
        self._never = never
        self._gate = asyncio.Semaphore(AT_ONCE)
        self._placing: dict[int, asyncio.Event] = {}  # attempts whose order is on its way -> set: look again now
        self.trouble = ""  # what went wrong last; empty once the runner answers again

    def place(self, held: Hosted) -> None:
        self._placing[held.number] = asyncio.Event()
        self._supervisor.start(f"place {held.number}", self._place(held))

    def end(self, held: Hosted) -> None:
        under_way = self._placing.get(held.number)
        if under_way is not None:
            under_way.set()  # it sees to that itself
        else:
            self._supervisor.start(f"stop {held.number}", self._stop(held))

    def leave(self, held: Hosted) -> None:
        if held.placed:
            self._supervisor.start(f"forget {held.number}", self._forget(held))

    async def _place(self, held: Hosted) -> None:
        hurry = self._placing[held.number]
        waits, since, unsure = Backoff(FIRST, LAST), self._clock.elapsed(), False
        try:
            order = await self._make(held)
            while not held.stopping or unsure:
                try:
                    await self._call(self._runner.start(order))
                except Refused as error:
                    if held.stopping:
                        self._never(held, Outcome.KILLED, "stopped before it started", 0)
                        return
                    if error.kind is Kind.INVALID or self._clock.elapsed() - since > PATIENCE:
                        self._never(held, Outcome.REJECTED, _words(error), 0)
                        return
                    held.reason = _words(error)
                    await self._pause(hurry, max(waits.next(), error.retry_after))
                except Unsure as error:
                    unsure = True
                    held.reason = error.message
                    await self._pause(hurry, waits.next())
                else:
                    break
            else:
                self._never(held, Outcome.KILLED, "stopped before it started", 0)
                return
        except StyxError as error:  # of `make`: it can never be ordered
            self._never(held, Outcome.EXITED, _words(error), 126)
            return
        finally:
            del self._placing[held.number]
        if held.stopping:
            await self._stop(held)

    async def _stop(self, held: Hosted) -> None:
        waits = Backoff(FIRST, LAST)
        while held.state != ENDED:
            try:
                await self._call(self._runner.stop(held.number, held.grace))
            except (Refused, Unsure) as error:
                held.reason = f"it cannot be stopped yet: {error.message}"
                await asyncio.sleep(waits.next())
            else:
                return

    async def _forget(self, held: Hosted) -> None:
        """Until it has worked; a server that goes down before finds the attempt again."""
        waits = Backoff(FIRST, LAST)
        while True:
            try:
                await self._call(self._runner.forget(held.number))
            except (Refused, Unsure) as error:
                if waits.failures == 4:
                    log.warning("attempt not removed yet", runner=self._name, attempt=held.number, reason=error.message)
                await asyncio.sleep(waits.next())
            else:
                return

    async def _pause(self, hurry: asyncio.Event, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await hurry.wait()
        except TimeoutError:
            return
        hurry.clear()

    async def _call(self, call: Awaitable[None]) -> None:
        """Raises Refused and Unsure, whatever the runner does."""
        try:
            async with self._gate, asyncio.timeout(CALL_LIMIT):
                await call
        except (Refused, Unsure) as error:
            self.trouble = error.message
            raise
        except TimeoutError:
            self.trouble = f"{self._name} did not answer within {CALL_LIMIT:g} s"
            raise Unsure(self.trouble) from None
        except Exception as error:  # a plug-in's bug must not take the control plane down
            self.trouble = f"{type(error).__name__}: {error}"
            log.crash(f"runner {self._name!r} failed", error)
            raise Unsure(self.trouble) from error
        self.trouble = ""


def _words(error: StyxError) -> str:
    return f"{error.message}; {error.hint}" if error.hint else error.message
