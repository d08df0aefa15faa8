"""Agents that send anything at all: the hub never breaks, says why it closes, and other agents work on.

Each example is some connections to the hub of a shell over a database on disk, with work that its agents are given, so that
what they say of attempts is about real ones. Afterwards the world is sound, another agent gets work, and the database opens.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec
from frames import Frame, frames
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from styx.core import ids
from styx.core.effects import Accepted
from styx.core.events import JobStaged, JobSubmitted
from styx.core.invariants import check
from styx.core.resources import Resources
from styx.core.spec import JobSpec, TaskSpec
from styx.errors import ProtocolError
from styx.protocol.codec import decode_agent, decode_server
from styx.protocol.messages import OLDEST, VERSION, Hello, Refused
from styx.runtime.link import LinkSettings
from styx.runtime.shell import Shell, ShellSettings
from styx.runtime.transport import PipeEnd, pipe
from styx.store.sqlite import SqliteStore
from styx.testing.agents import FakeAgent

PATIENCE = 10.0  # seconds until a connection counts as hanging
SETTINGS = ShellSettings(links=LinkSettings(handshakes=1e9))
MORE = int(os.environ.get("STYX_FUZZ", "0"))  # times as many examples, and the time to shrink what they find
EXAMPLES = settings(
    max_examples=100 * max(1, MORE),
    phases=list(Phase) if MORE else [Phase.explicit, Phase.generate],
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
BAIT = TaskSpec(
    "bait", ("true",), resources=Resources(500), labels=(("pool", "fuzz"),), array=50, max_lost=1_000, retries=1_000
)


class House:
    """A shell over a database on disk, work for those whose label is `fuzz`, and an agent that behaves."""

    def __init__(self, shell: Shell) -> None:
        self.shell = shell
        self.agent = FakeAgent(shell.hub, cpus=4)
        self.submitted = 0

    async def submit(self, spec: JobSpec) -> None:
        """By the core's own events: whether a known place could hold it is not asked."""
        header = msgspec.structs.replace(spec, tasks=())
        self.submitted += 1
        identifier = ids.job_id(self.shell.clock.now(), self.submitted)
        needs = tuple(() for _ in spec.tasks)
        answer = await self.shell.loop.ask(
            JobStaged(0, 0, spec.tasks, needs), lambda serial: JobSubmitted(serial, identifier, header, "")
        )
        assert isinstance(answer, Accepted), answer

    async def well(self) -> None:
        """The world is sound, nothing in the background has died, and the other agent is heard and given work."""
        assert not self.shell.fatal.done(), self.shell.fatal
        await self.shell.loop.settled()
        check(self.shell.engine.world)
        assert self.agent.connected
        done = len(self.agent.started)
        await self.submit(JobSpec("well", (TaskSpec("well", ("true",)),)))
        await self.agent.until(lambda: len(self.agent.started) > done and not self.agent.held)

    def given(self, agent: str) -> list[int]:
        """The attempts that an agent was given."""
        world = self.shell.engine.world
        node = world.nodes.get(world.by_agent.get(agent, 0))
        return sorted(node.held) if node is not None else []


def in_a_house(test: Callable[[House], Coroutine[Any, Any, None]]) -> None:
    """One example in a house of its own, which is opened again afterwards: what was stored can be read."""

    async def body() -> None:
        with tempfile.TemporaryDirectory(prefix="styx-fuzz-") as place:
            folder = Path(place)
            shell = await Shell.open(SqliteStore(folder), folder / "output", settings=SETTINGS)
            house = House(shell)
            await house.agent.connect()
            await house.submit(JobSpec("bait", (BAIT,)))
            try:
                await test(house)
                await house.well()
            finally:
                await house.agent.disconnect()
                await shell.close()
            again = await Shell.open(SqliteStore(folder), folder / "output", settings=SETTINGS)
            check(again.engine.world)
            await again.close()

    async def limited() -> None:
        async with asyncio.timeout(60):
            await body()

    asyncio.run(limited())


def breaks_the_protocol(said: list[bytes]) -> bool:
    """Whether the hub must close by itself, as far as one can tell from the frames alone."""
    greeted = False
    for frame in said:
        try:
            messages = decode_agent(frame)
        except ProtocolError:
            return True
        for message in messages:
            if isinstance(message, Hello) == greeted:
                return True
            greeted = True
            if isinstance(message, Hello) and (message.oldest > VERSION or message.newest < OLDEST):
                return True
    return False


async def converse(house: House, said: list[Frame], *, alone: bool = True) -> None:
    """One connection: send it all, and see that the hub ends it, by itself where it must."""
    shell = house.shell
    theirs, mine = pipe()
    serving = asyncio.create_task(shell.hub.connect(theirs))
    heard = asyncio.create_task(_hear(mine))
    agent = said[0].messages[0].agent if said and said[0].messages and isinstance(said[0].messages[0], Hello) else ""
    sent: list[bytes] = []
    try:
        for frame in said:
            sent.append(frame.encoded(house.given(agent)))
            await mine.send(sent[-1])
            await _settled(shell)
    except ConnectionError:
        pass  # it has heard enough
    must = breaks_the_protocol(sent)
    if not must:
        await mine.close()
    done, _ = await asyncio.wait([serving], timeout=PATIENCE)
    assert done, f"the hub hangs on {sent!r}"
    serving.result()
    answers = await heard
    if must and alone:  # else a connection of the same agent may have ended this one before
        assert any(isinstance(answer, Refused) for answer in answers), (sent, answers)


async def _settled(shell: Shell) -> None:
    for _ in range(5):
        await asyncio.sleep(0)
    if not shell.fatal.done():
        await shell.loop.settled()


async def _hear(mine: PipeEnd) -> list[Any]:
    answers: list[Any] = []
    async for frame in mine:
        answers += decode_server(frame)
    return answers


@EXAMPLES
@given(frames())
def test_anything_that_one_agent_says(said: list[Frame]) -> None:
    in_a_house(lambda house: converse(house, said))


@EXAMPLES
@given(st.lists(frames(), min_size=2, max_size=4))
def test_several_at_once_that_are_partly_the_same(connections: list[list[Frame]]) -> None:
    async def all_of_them(house: House) -> None:
        await asyncio.gather(*(converse(house, said, alone=False) for said in connections))

    in_a_house(all_of_them)


@EXAMPLES
@given(st.lists(frames(), min_size=2, max_size=4))
def test_one_after_the_other(connections: list[list[Frame]]) -> None:
    async def in_turns(house: House) -> None:
        for said in connections:
            await converse(house, said)

    in_a_house(in_turns)
