"""The server process: the shipping shell over the simulated disk and network, and callers that may lose it at any moment."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import TypeVar

from styx.core.effects import Step
from styx.core.engine import Engine
from styx.core.events import Event
from styx.errors import StyxError, Unreachable
from styx.protocol.messages import ServerMessage
from styx.runtime.refs import Refs
from styx.runtime.shell import Shell, ShellSettings
from styx.runtime.submission import Submissions
from styx.runtime.transport import Transport
from styx.runtime.wishes import Wishes
from styx.testing.simulator.disk import Disk, Segments
from styx.testing.simulator.process import Process, ProcessClock
from styx.testing.simulator.timeloop import TimeLoop

__all__ = ["Server", "Verbs"]

T = TypeVar("T")


class Verbs:
    """What callers may ask of a running server."""

    def __init__(self, shell: Shell, chance: Random) -> None:
        refs = Refs(shell.loop, shell.store)
        self.submissions = Submissions(shell.loop, shell.store, shell.clock, shell.secrets, entropy=chance.getrandbits)
        self.wishes = Wishes(shell.loop, shell.store, refs, shell.results)


class Server:
    """`stepped` is called after every step of the core, `point` where a crash may come, `ready` when it has opened, `wrong` with what must not happen."""

    def __init__(
        self,
        loop: TimeLoop,
        chance: Random,
        settings: ShellSettings,
        *,
        disk: Disk,
        segments: Segments,
        stepped: Callable[[Engine, Event, Step], None],
        point: Callable[[str], None],
        ready: Callable[[], None],
        wrong: Callable[[str], None],
    ) -> None:
        self.disk = disk
        self.segments = segments
        self.process: Process | None = None
        self.shell: Shell | None = None
        self._verbs: Verbs | None = None
        self._loop = loop
        self._chance = chance
        self._settings = settings
        self._point = point
        self._ready = ready
        self._wrong = wrong
        self._calls: list[asyncio.Future[object]] = []

        class WatchedEngine(Engine):
            """The shipping core; somebody looks at the world after each step."""

            __slots__ = ()

            def step(self, event: Event, now: int) -> Step:
                step = super().step(event, now)
                stepped(self, event, step)
                return step

        self._core = WatchedEngine

    @property
    def up(self) -> bool:
        return self.process is not None and self.process.alive and self._verbs is not None

    def start(self) -> None:
        """Start it, unless it runs."""
        if self.process is not None and self.process.alive:
            return
        self.process = process = Process("server", self._loop, self._wrong)
        process.on_kill.append(self._gone)
        process.start(self._serve(process))

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()

    async def stop(self) -> None:
        """Shut it down as SIGTERM does."""
        shell, process = self.shell, self.process
        if shell is None or process is None or not process.alive or self._verbs is None:
            return
        self._verbs = None
        await asyncio.wait([process.start(self._close(shell))])  # it may be killed while it shuts down
        process.kill()

    async def _close(self, shell: Shell) -> None:
        await shell.close()

    def accept(self, end: Transport) -> None:
        """A connection comes in."""
        process = self.process
        if process is not None:
            process.call(lambda: self._accept(process, end))

    def _accept(self, process: Process, end: Transport) -> None:
        shell = self.shell
        if shell is None or self._verbs is None:
            process.start(end.close())
        else:
            process.start(shell.hub.connect(end))

    async def call(self, verb: Callable[[Verbs], Awaitable[T]]) -> T:
        """A request of a caller. Raises Unreachable when the server is not there, or goes away before it has answered."""
        verbs, process = self._verbs, self.process
        if verbs is None or process is None or not process.alive:
            raise Unreachable("no server answers")
        answer: asyncio.Future[object] = self._loop.create_future()
        self._calls.append(answer)

        def ask() -> None:
            process.start(self._answer(verb, verbs, answer))

        process.call(ask)
        try:
            return await answer  # type: ignore[return-value]
        finally:
            self._calls.remove(answer)

    async def _answer(
        self, verb: Callable[[Verbs], Awaitable[object]], verbs: Verbs, answer: asyncio.Future[object]
    ) -> None:
        try:
            result = await verb(verbs)
        except StyxError as error:
            if not answer.done():
                answer.set_exception(error)
        else:
            if not answer.done():
                answer.set_result(result)

    def _gone(self) -> None:
        self.shell = self._verbs = None
        for answer in self._calls:
            if not answer.done():
                answer.set_exception(Unreachable("the server went away"))

    async def _serve(self, process: Process) -> None:
        shell = await Shell.open(
            self.disk,
            self.segments,
            clock=ProcessClock(process),
            settings=self._settings,
            core=self._core,
            stopwatch=lambda: 0.0,
        )
        shell.lag.stop()
        send = shell.hub.send

        def watched(node: int, message: ServerMessage, size: int, held: int = 0) -> None:
            self._point("between two effects")
            send(node, message, size, held)

        setattr(shell.hub, "send", watched)  # noqa: B010
        self.shell = shell
        self._verbs = Verbs(shell, self._chance)
        self._ready()
        shell.fatal.add_done_callback(lambda fatal: self._crashed(process, fatal))

    def _crashed(self, process: Process, fatal: asyncio.Future[None]) -> None:
        error = None if fatal.cancelled() else fatal.exception()
        if error is not None and process.alive:
            self._wrong(f"the server crashed: {error}")
