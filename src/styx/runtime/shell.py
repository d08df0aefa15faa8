"""The rooms of the shell put together around one core and one store, and their lives: start, run, stop.

    store -> recover -> loop, leases, output writer -> (serve) -> links closed -> loop drained -> output flushed

Everything in the background belongs to one supervisor. Its first crash is fatal: `fatal` tells whoever owns the shell, and
nothing is committed after it.
"""

from __future__ import annotations

import asyncio
import time
from asyncio import FIRST_COMPLETED
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from styx.aiokit import Crash, Supervisor
from styx.core.engine import Engine
from styx.core.settings import CoreSettings
from styx.runtime.clock import BootClock, Clock, Handle
from styx.runtime.collector import Collector
from styx.runtime.committer import Committer
from styx.runtime.credentials import TTL, Credentials
from styx.runtime.dispatch import Dispatch
from styx.runtime.feeds import Feeds
from styx.runtime.figures import Figures
from styx.runtime.link import LinkSettings
from styx.runtime.links import Hub
from styx.runtime.loop import Loop
from styx.runtime.observers import Observers
from styx.runtime.output import OutputStore
from styx.runtime.output.segments import Segments
from styx.runtime.peers import Peers
from styx.runtime.results import Results
from styx.runtime.secrets import Secrets
from styx.runtime.vault import Vault
from styx.runtime.watch import Watch
from styx.store.base import Opened, Store
from styx.telemetry.lag import LagMonitor
from styx.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from styx.runtime.provisioner import Provisioner
    from styx.runtime.runners import Runners

__all__ = ["Shell", "ShellSettings"]


DRAIN_LIMIT = 10.0  # seconds


class ShellSettings(msgspec.Struct, frozen=True):
    """What can be set in the core, in the links, of the output (bytes of a segment), and of the credentials that agents join
    by (milliseconds of their lives)."""

    core: CoreSettings = CoreSettings()
    links: LinkSettings = LinkSettings()
    segment: int = 64 << 20
    credential: int = TTL


class Shell:
    """Made by `open`, ended by `close`. `output` is the folder for what programs print."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        engine: Engine,
        epoch: int,
        incarnation: str,
        output: Path | Segments,
        vault: Vault | None = None,
    ) -> None:
        self.store = store
        self.clock = clock
        self.engine = engine
        self.incarnation = incarnation
        self.started = clock.now()
        self.metrics = Metrics()
        self.committer = Committer(store, epoch, clock, self.metrics, self._full_changed)
        self.output = OutputStore(output, store)
        self.collector = Collector(self.output, store, engine.world, self.metrics.output)
        self.results = Results(store)
        self.secrets = Secrets(store, vault or Vault())
        self.feeds = Feeds(engine.world)
        self.figures = Figures(engine.world, self.metrics)
        self.lag = LagMonitor(self.metrics.lag)
        self.supervisor = Supervisor("styx", on_crash=self._crashed)
        self.fatal: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.hub: Hub
        self.watch: Watch
        self.observers: Observers
        self.loop: Loop
        self.dispatch: Dispatch
        self.provisioner: Provisioner | None = None  # there when there are providers
        self.runners: Runners | None = None
        self._tick: Handle | None = None
        self._running: asyncio.Task[None] | None = None
        self._regaining: asyncio.Task[None] | None = None

    @classmethod
    async def open(
        cls,
        store: Store,
        output: Path | Segments,
        *,
        clock: Clock | None = None,
        settings: ShellSettings | None = None,
        core: type[Engine] = Engine,
        stopwatch: Callable[[], float] = time.perf_counter,
        vault: Vault | None = None,
    ) -> Shell:
        """Open the store, rebuild the world from it, and begin to serve. `vault` seals secrets; without one they last as long as
        this process. `core` and `stopwatch` (see Loop) are for those who watch
        the core at work in virtual time. Raises StoreError."""
        settings = settings or ShellSettings()
        opened = await store.open()
        try:
            clock = clock or BootClock(opened.last_at)
            return await cls._open(store, opened, output, clock, settings, core, stopwatch, vault)
        except BaseException:
            await store.close()
            raise

    @classmethod
    async def _open(
        cls,
        store: Store,
        opened: Opened,
        output: Path | Segments,
        clock: Clock,
        settings: ShellSettings,
        core: type[Engine],
        stopwatch: Callable[[], float],
        vault: Vault | None,
    ) -> Shell:
        engine = core(settings=msgspec.structs.replace(settings.core, cluster=opened.incarnation))
        shell = cls(store, clock, engine, opened.epoch, opened.incarnation, output, vault)
        async for records in store.load():
            engine.recover(records)
            shell.results.note(records)
        engine.recovered(await store.serials(), clock.now())
        dispatch = shell.dispatch = Dispatch(engine.world, shell.results, shell.secrets)
        shell.watch = Watch(engine.world, store, last_event=opened.last_event)
        await shell.watch.recover()
        shell.metrics.readers.read = lambda: shell.watch.readers
        shell.observers = Observers(shell.watch, shell.feeds, shell.figures)
        shell.loop = Loop(
            engine,
            shell.committer,
            clock,
            perform=dispatch.perform,
            publisher=shell.observers,
            outputs=shell.collector,
            metrics=shell.metrics,
            stopwatch=stopwatch,
        )
        shell.hub = Hub(
            shell.loop,
            clock,
            shell.collector,
            incarnation=opened.incarnation,
            settings=settings.links,
            marks=await store.marks(),
            handshakes=shell.metrics.handshakes,
            peers=Peers(store, engine.world),
            credentials=Credentials(store, clock, engine.world, ttl=settings.credential),
        )
        dispatch.hub = shell.hub
        shell.output.synced = shell.loop.nudge
        await shell.output.open()
        shell._start()
        return shell

    async def close(self, reason: str = "the server is going down") -> None:
        """Say goodbye to the agents, finish what has been asked for, put output that has come on disk, and close the store.
        A crash that nobody was told about is raised."""
        try:
            if self._tick is not None:
                self._tick.cancel()
            self.lag.stop()
            if self.runners is not None:
                self.runners.leave()
            self.hub.close(reason)
            await self._drain()
            await self.supervisor.close()
            if self.provisioner is not None:
                await self.provisioner.close()
        finally:
            await self.output.close()
            await self.store.close()
            if self.fatal.done():
                self.fatal.exception()  # told, or raised by the supervisor
            else:
                self.fatal.cancel()

    async def _drain(self) -> None:
        """Let the loop finish; what cannot be written in a while comes again after the next start."""
        try:
            async with asyncio.timeout(DRAIN_LIMIT):
                await asyncio.wait(
                    [asyncio.ensure_future(self.output.flush()), self.fatal], return_when=FIRST_COMPLETED
                )
                self.loop.stop()
                if self._running is not None:
                    await asyncio.wait([self._running, self.fatal], return_when=FIRST_COMPLETED)
        except TimeoutError:
            return

    def _start(self) -> None:
        self.hub.recover()
        self._running = self.supervisor.start("loop", self.loop.run())
        self.supervisor.start("output", self.output.run())
        self.lag.start()
        self._beat()

    def _beat(self) -> None:
        self._tick = self.clock.call_later(self.hub.leases.interval, self._ticked)

    def _ticked(self) -> None:
        self.hub.tick()
        committer = self.committer
        if committer.full and not committer.blocked and (self._regaining is None or self._regaining.done()):
            self._regaining = self.supervisor.start("room", committer.regain())
        self._beat()

    def _full_changed(self) -> None:
        self.loop.full_changed()

    def _crashed(self, crash: Crash) -> None:
        if not self.fatal.done():
            self.fatal.set_exception(crash)
