"""The dead-man's switch: a machine that nobody could take down any more takes itself down.

It costs money for as long as it runs, and whoever would end it may be gone for good. So a machine that was brought up for a server
ends itself when no server has said anything for a while: an hour when it does nothing, longer while programs run, whose work a
server may yet come back for. Time is counted on the clock that runs through suspend and that nobody can set.

When a server was last heard is noted in a file, with how many programs ran, as seconds of /proc/uptime: whoever starts
this agent watches the same switch from outside, in case the agent dies, and an agent that is started again goes on from there. A
server counts once it has welcomed the agent; one that refuses it would not take the machine down either.
"""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from styx.agent.clock import boottime, uptime

if TYPE_CHECKING:
    from styx.agent.session import Session

__all__ = ["SHUTDOWN", "DeadMan", "Limits"]

SHUTDOWN = "shutdown -h now"
LOOK = 10.0  # seconds at most between two looks: timers of the event loop stand still while the machine is suspended
AGAIN = 60_000  # milliseconds until the command is given again, if the machine is still there

log = logging.getLogger("styx.agent")


class Limits(msgspec.Struct, frozen=True):
    """Milliseconds without a word of a server, while no program runs and while one does; what ends the machine; where to note."""

    idle: int
    busy: int
    command: str = SHUTDOWN
    contact: str = ""


class DeadMan:
    """Watches over one session."""

    def __init__(
        self,
        limits: Limits,
        session: Session,
        *,
        clock: Callable[[], int] = boottime,
        end: Callable[[str], int] | None = None,
    ) -> None:
        self._limits = limits
        self._session = session
        self._clock = clock
        self._end = _run if end is None else end
        self._noted: tuple[int, int] | None = None
        self._since, self._ran = self._recalled()

    def left(self) -> int:
        """Milliseconds until the machine is to be ended; 0 or less when it is."""
        limit = self._limits.busy if self._running() else self._limits.idle
        return self._heard() + limit - self._clock()

    async def watch(self) -> None:
        """Until cancelled; ends the machine when the time has come, and again as long as it is still there."""
        again = 0  # when the command is given another time
        while True:
            await asyncio.to_thread(self.note)
            left = self.left()
            if left > 0:
                again = 0
                await asyncio.sleep(min(LOOK, left / 1_000))
                continue
            if self._clock() < again:
                await asyncio.sleep(1.0)
                continue
            again = self._clock() + AGAIN
            silent = (self._clock() - self._heard()) / 1_000
            log.critical("no server was heard for %.0f s: this machine is ended by `%s`", silent, self._limits.command)
            code = await asyncio.to_thread(self._end, self._limits.command)
            if code:
                log.error("`%s` ended with %d; it is given again in %.0f s", self._limits.command, code, AGAIN / 1_000)

    def note(self) -> None:
        """Put down when a server was last heard, if that has changed."""
        now = (self._heard(), self._running())
        if not self._limits.contact or now == self._noted:
            return
        fresh = f"{self._limits.contact}.new"
        try:
            heard = uptime() - (self._clock() - now[0]) / 1_000
            with open(fresh, "w", encoding="ascii") as file:
                file.write(f"{max(0, int(heard))} {now[1]}\n")
            os.replace(fresh, self._limits.contact)
        except OSError as error:
            log.warning("%s cannot be written: %s", self._limits.contact, error.strerror or error)
            return
        self._noted = now

    def _heard(self) -> int:
        return self._since if self._session.heard_at is None else self._session.heard_at

    def _running(self) -> int:
        """How many programs run; what was noted, as long as their owner has not been heard."""
        if self._session.owner_ready:
            self._ran = self._session.running
        return self._ran

    def _recalled(self) -> tuple[int, int]:
        """When a server was last heard, and what ran, according to an agent before this one; now and nothing if that is not known."""
        now = self._clock()
        if not self._limits.contact:
            return now, 0
        try:
            seconds, running = Path(self._limits.contact).read_text("ascii").split()
            return now - int(max(0.0, uptime() - int(seconds)) * 1_000), int(running)
        except (OSError, ValueError):
            return now, 0


def _run(command: str) -> int:
    return subprocess.run(["/bin/sh", "-c", command], stdin=subprocess.DEVNULL, check=False).returncode
