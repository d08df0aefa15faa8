"""What every owner must do, whether it runs programs or only says so.

    class TestOwner(OwnerContract):
        def opener(self, folder): ...          # an OpenOwner: each call is a new connection to the same owner

The suite asks only for programs that succeed at once, and everything that it waits for comes in a message.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from styx.agent.ports import OpenOwner, OwnerPort
from styx.core.events import AttemptEnding
from styx.core.resources import Resources
from styx.core.states import Outcome
from styx.protocol.messages import Run, Spec
from styx.protocol.owner import (
    OWNER_VERSION,
    AgentToOwner,
    Configure,
    OwnerEnded,
    OwnerForget,
    OwnerHello,
    OwnerRecall,
    OwnerRelease,
    OwnerShutdown,
    OwnerStart,
    OwnerStop,
    OwnerToAgent,
)

__all__ = ["OwnerContract", "true"]

LIMIT = 60.0  # seconds; a test that takes as long hangs
CAPACITY = Resources(cpus=4_000)


def true(task: int = 0) -> Spec:
    """A task that succeeds at once."""
    return Spec(1, task, "job", "task", "true", ("true",), False, 0, Resources(), (), "", 0, 1_000)


def start(*attempts: int) -> OwnerStart:
    return OwnerStart(true(), tuple(Run(attempt, 0, 1) for attempt in attempts))


class Conversation:
    """One connection: `hello`, and the ends in the order they were told."""

    def __init__(self, port: OwnerPort) -> None:
        self._port = port
        self._unread: list[OwnerToAgent] = []
        self.ends: list[AttemptEnding] = []

    async def hello(self) -> OwnerHello:
        self._unread += await self._port.recv()
        first = self._unread.pop(0)
        assert isinstance(first, OwnerHello), "the owner speaks first, and says hello first"
        return first

    async def configure(self, incarnation: str = "one") -> OwnerHello:
        hello = await self.hello()
        await self.send(Configure(incarnation, CAPACITY))
        return hello

    async def send(self, *messages: AgentToOwner) -> None:
        await self._port.send(list(messages))

    async def until_ended(self, *attempts: int) -> None:
        """Until each of these has been told to have ended."""
        while not set(attempts) <= {ending.attempt for ending in self.ends}:
            unread, self._unread = self._unread or await self._port.recv(), []
            for message in unread:
                assert not isinstance(message, OwnerHello), "hello is said once"
                if isinstance(message, OwnerEnded):
                    self.ends += message.ended

    async def close(self) -> None:
        await self._port.close()


class OwnerContract:
    def opener(self, folder: Path) -> OpenOwner:
        raise NotImplementedError

    def _run(self, folder: Path, body: Callable[[Callable[[], Awaitable[Conversation]]], Awaitable[None]]) -> None:
        async def main() -> None:
            async with asyncio.timeout(LIMIT):
                opener = self.opener(folder)

                async def talk() -> Conversation:
                    return Conversation(await opener())

                await body(talk)
                last = await talk()  # nothing is left of it when the test is over
                await last.hello()
                await last.send(Configure("the end", CAPACITY), OwnerShutdown(kill=True))
                await last.close()

        asyncio.run(main())

    def test_it_says_hello_and_who_it_is(self, tmp_path: Path) -> None:
        async def body(talk: Callable[[], Awaitable[Conversation]]) -> None:
            first = await talk()
            hello = await first.configure()
            assert (hello.version, hello.incarnation, hello.held) == (OWNER_VERSION, "", ())
            assert hello.pid > 0
            await first.close()
            again = await talk()
            later = await again.configure()
            assert (later.nonce, later.pid, later.incarnation) == (hello.nonce, hello.pid, "one")
            await again.close()

        self._run(tmp_path, body)

    def test_each_attempt_ends_and_a_start_of_one_that_is_held_changes_nothing(self, tmp_path: Path) -> None:
        async def body(talk: Callable[[], Awaitable[Conversation]]) -> None:
            it = await talk()
            await it.configure()
            await it.send(start(1, 2, 3), start(4))
            await it.until_ended(1, 2, 3, 4)
            assert {(e.outcome, e.code, e.stdout, e.stderr) for e in it.ends} == {(Outcome.EXITED, 0, 0, 0)}
            await it.send(start(2, 5))  # 2 is held; its end may be told again, but is the same
            await it.until_ended(5)
            await it.send(start(6))
            await it.until_ended(6)
            assert {ending.attempt for ending in it.ends} == {1, 2, 3, 4, 5, 6}
            assert len({ending.pid for ending in it.ends if ending.attempt == 2}) == 1
            await it.close()

        self._run(tmp_path, body)

    def test_an_end_is_told_again_until_it_is_forgotten(self, tmp_path: Path) -> None:
        async def body(talk: Callable[[], Awaitable[Conversation]]) -> None:
            it = await talk()
            await it.configure()
            await it.send(start(1, 2))
            await it.until_ended(1, 2)
            await it.close()
            it = await talk()
            hello = await it.configure()
            assert sorted((held.attempt, held.state) for held in hello.held) == [(1, 2), (2, 2)]
            await it.until_ended(1, 2)
            await it.send(OwnerForget((1, 99)), start(3))
            await it.until_ended(3)
            await it.close()
            it = await talk()
            hello = await it.configure()
            assert sorted(held.attempt for held in hello.held) == [2, 3]
            await it.until_ended(2, 3)
            assert sorted(ending.attempt for ending in it.ends) == [2, 3]
            await it.close()

        self._run(tmp_path, body)

    def test_nothing_is_told_before_configure(self, tmp_path: Path) -> None:
        async def body(talk: Callable[[], Awaitable[Conversation]]) -> None:
            it = await talk()
            await it.configure("old")
            await it.send(start(1))
            await it.until_ended(1)
            await it.close()
            it = await talk()
            hello = await it.configure("new")  # another database: what is held means nothing to it
            assert hello.incarnation == "old"
            await it.send(start(2))
            await it.until_ended(2)
            assert [ending.attempt for ending in it.ends] == [2]
            await it.send(start(1))
            await it.until_ended(1)
            await it.close()

        self._run(tmp_path, body)

    def test_what_it_does_not_hold_is_no_error(self, tmp_path: Path) -> None:
        async def body(talk: Callable[[], Awaitable[Conversation]]) -> None:
            it = await talk()
            await it.configure()
            await it.send(OwnerStop((7,)), OwnerRecall((7,)), OwnerForget((7,)), OwnerRelease(7, 1, 100), start(1))
            await it.until_ended(1)
            await it.send(OwnerStop((1,)), OwnerRecall((1,)), start(2))  # it has ended: too late
            await it.until_ended(2)
            assert [(e.attempt, e.outcome) for e in it.ends] == [(1, Outcome.EXITED), (2, Outcome.EXITED)]
            await it.close()

        self._run(tmp_path, body)
