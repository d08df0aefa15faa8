"""What a server does with a runner, in small: the host's own rooms (`RunnerOwner`, `Carrier`) on one side, and a desk in place of session, core
and store on the other. What the desk has noted survives `kill`, nothing else does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from kube_world import World

from styx.aiokit import Crash, Supervisor
from styx.core.events import AttemptEnding
from styx.core.states import Outcome
from styx.protocol.owner import (
    AgentToOwner,
    Configure,
    OwnerEnded,
    OwnerForget,
    OwnerHello,
    OwnerOutput,
    OwnerRelease,
    OwnerStart,
    OwnerStarted,
    OwnerStop,
)
from styx.providers.base import Refused, RunOrder, Unsure
from styx.runtime.clock import BootClock
from styx.runtime.runner_attempt import Hosted
from styx.runtime.runner_carrier import Carrier
from styx.runtime.runner_owner import RunnerOwner


class Desk:
    """`orders` are all that were ever given; `started` and `ends` what was heard of them, on disk."""

    def __init__(self, world: World, **settings: object) -> None:
        self.world = world
        self.settings = settings
        self.orders: dict[int, RunOrder] = {}
        self.started: set[int] = set()
        self.stopped: set[int] = set()
        self.ends: dict[int, AttemptEnding] = {}
        self.text: dict[int, bytes] = {}
        self.unheard: set[int] = set()  # ended by the desk itself: lost
        self._supervisor: Supervisor | None = None
        self._port: RunnerOwner | None = None
        self._changed = asyncio.Event()
        self.crash: BaseException | None = None

    async def up(self) -> None:
        """Start the host, and keep it running until `kill`."""
        supervisor = self._supervisor = Supervisor("desk", on_crash=self._crashed)
        supervisor.start("host", self._run(supervisor))

    async def kill(self) -> None:
        """From one moment to the next nothing of it is left but what is on disk."""
        supervisor, self._supervisor, self._port = self._supervisor, None, None
        if supervisor is not None:
            await supervisor.close()
        await self.world.kill()

    async def start(self, order: RunOrder) -> None:
        attempt = order.run.attempt
        self.orders[attempt] = order
        if self._port is not None:
            await self._say(OwnerStart(order.spec, (order.run,), "", order.secrets))

    async def stop(self, attempt: int) -> None:
        self.stopped.add(attempt)
        if self._port is not None:
            await self._say(OwnerStop((attempt,)))

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._changed.clear()
            await self._changed.wait()
            if self.crash is not None:
                raise self.crash

    async def _say(self, *messages: AgentToOwner) -> None:
        assert self._port is not None
        await self._port.send(list(messages))

    async def _run(self, supervisor: Supervisor) -> None:
        (runner,) = self.world.provider(**self.settings).runners.values()
        clock = BootClock()

        def never(held: Hosted, outcome: Outcome, reason: str, code: int) -> None:
            owner.never(held, outcome, reason, code)

        carrier = Carrier("desk", runner, supervisor, clock, self._order, never)
        owner = RunnerOwner(
            runner.capacity, runner.at_once, "nonce", clock.elapsed, carrier.place, carrier.end, carrier.leave
        )
        while True:
            try:
                found = await runner.open(self.world.tag, owner)
            except (Refused, Unsure):
                await asyncio.sleep(0.02)
            else:
                break
        owner.adopt(found, {})
        await owner.open()
        (hello,) = await owner.recv()
        assert isinstance(hello, OwnerHello)
        await owner.send([Configure("incarnation", runner.capacity)])
        self._port = owner
        await self._reconcile(hello)
        self._changed.set()
        while True:
            for message in await owner.recv():
                if isinstance(message, OwnerStarted):
                    self.started.update(message.attempts)
                elif isinstance(message, OwnerOutput):
                    self._keep(message)
                    await self._say(OwnerRelease(message.attempt, message.stream, message.offset + len(message.data)))
                elif isinstance(message, OwnerEnded):
                    await self._ended(message)
            self._changed.set()

    async def _reconcile(self, hello: OwnerHello) -> None:
        """As `core.on_node` does it."""
        held = {one.attempt: one.state for one in hello.held}
        for attempt, state in held.items():
            if attempt in self.ends or attempt not in self.orders:
                await self._say(OwnerForget((attempt,)) if state == 2 else OwnerStop((attempt,)))
            elif state == 1:
                self.started.add(attempt)
        for attempt, order in self.orders.items():
            if attempt in self.ends:
                continue
            if attempt in held:
                if attempt in self.stopped:
                    await self._say(OwnerStop((attempt,)))
            elif attempt in self.started or attempt in self.stopped:
                self.ends[attempt] = AttemptEnding(attempt, Outcome.LOST, reason="its node no longer knows of it")
            else:
                await self.start(order)

    def _keep(self, message: OwnerOutput) -> None:
        text = self.text.get(message.attempt, b"")
        assert message.offset <= len(text), "nothing is passed over"
        if message.offset + len(message.data) > len(text) and message.attempt not in self.ends:
            self.text[message.attempt] = text[: message.offset] + message.data

    async def _ended(self, message: OwnerEnded) -> None:
        for ending in message.ended:
            self.ends.setdefault(ending.attempt, ending)
        await asyncio.sleep(0)  # a commit: a server may die in it, and the runner has heard of nothing
        await self._say(OwnerForget(tuple(ending.attempt for ending in message.ended)))

    def _crashed(self, crash: Crash) -> None:
        self.crash = crash.error
        self._changed.set()

    async def _order(self, held: Hosted) -> RunOrder:
        return self.orders[held.number]
