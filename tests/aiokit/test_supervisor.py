from __future__ import annotations

import asyncio
from typing import Any

import pytest

from styx.aiokit import Crash, Supervisor


async def _fail(message: str) -> None:
    raise ValueError(message)


async def _forever() -> None:
    await asyncio.get_running_loop().create_future()


def test_a_crash_reaches_the_callback_with_its_name() -> None:
    async def body() -> None:
        seen: list[Crash] = []
        supervisor = Supervisor("plane", on_crash=seen.append)
        task = supervisor.start("loop", _fail("broken"))
        await asyncio.wait([task])
        assert [crash.task for crash in seen] == ["plane.loop"]
        assert isinstance(seen[0].__cause__, ValueError)
        assert str(seen[0]) == "plane.loop stopped: ValueError: broken"
        await supervisor.close()

    asyncio.run(body())


def test_a_crash_reaches_whoever_waits() -> None:
    async def body() -> None:
        supervisor = Supervisor("plane")
        other = supervisor.start("other", _forever())
        supervisor.start("loop", _fail("broken"))
        with pytest.raises(Crash, match=r"plane\.loop"):
            await supervisor.wait()
        assert not other.done()  # the owner decides what happens to the others
        await supervisor.close()
        assert other.cancelled()
        assert len(supervisor) == 0

    asyncio.run(body())


def test_a_crash_that_nobody_heard_of_comes_out_of_close() -> None:
    async def body() -> None:
        supervisor = Supervisor("plane")
        await asyncio.wait([supervisor.start("loop", _fail("broken"))])
        with pytest.raises(Crash):
            await supervisor.close()
        await supervisor.close()  # once is enough

    asyncio.run(body())


def test_a_crash_while_closing_comes_out_too() -> None:
    async def dies_when_cancelled() -> None:
        try:
            await _forever()
        finally:
            raise ValueError("while cleaning up")

    async def body() -> None:
        supervisor = Supervisor("plane")
        supervisor.start("loop", dies_when_cancelled())
        await asyncio.sleep(0)
        with pytest.raises(Crash, match="while cleaning up"):
            await supervisor.close()

    asyncio.run(body())


def test_a_second_crash_goes_to_the_loops_handler() -> None:
    async def body() -> None:
        reported: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
        supervisor = Supervisor("plane")
        await asyncio.wait([supervisor.start("a", _fail("one")), supervisor.start("b", _fail("two"))])
        assert supervisor.crash is not None
        assert len(reported) == 1
        with pytest.raises(Crash):
            await supervisor.close()

    asyncio.run(body())


def test_normal_ends_and_cancellation_are_no_crashes() -> None:
    async def body() -> None:
        async with Supervisor("plane") as supervisor:
            done = supervisor.start("short", asyncio.sleep(0, "result"))
            assert await done == "result"
            stopped = supervisor.start("long", _forever())
            stopped.cancel()
            await asyncio.wait([stopped])
            waiting = asyncio.create_task(supervisor.wait())
            await asyncio.sleep(0)
        await waiting  # close lets it go without an error
        assert supervisor.crash is None

    asyncio.run(body())


def test_an_error_in_the_block_is_not_hidden_by_a_crash() -> None:
    async def body() -> None:
        async with Supervisor("plane") as supervisor:
            await asyncio.wait([supervisor.start("loop", _fail("broken"))])
            raise KeyError("the real one")

    with pytest.raises(KeyError):
        asyncio.run(body())


def test_a_task_may_close_its_own_supervisor() -> None:
    async def body() -> None:
        supervisor = Supervisor("plane")
        other = supervisor.start("other", _forever())
        await supervisor.start("closer", supervisor.close())
        assert other.cancelled()

    asyncio.run(body())
