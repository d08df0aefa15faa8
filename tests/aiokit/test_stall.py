"""A wait that lasts too long is ended, and nothing else is."""

from __future__ import annotations

import asyncio

import pytest

from styx.aiokit.stall import Stall

SOON = 0.01


def test_a_wait_that_never_ends_is_ended() -> None:
    async def body() -> None:
        with Stall(SOON) as waiting:
            waiting.begins()
            await asyncio.Event().wait()

    async def guarded() -> int:
        with pytest.raises(TimeoutError):
            await body()
        task = asyncio.current_task()
        assert task is not None
        return task.cancelling()

    assert asyncio.run(guarded()) == 0


def test_what_lies_between_two_waits_may_last() -> None:
    async def body() -> int:
        done = 0
        with Stall(SOON) as waiting:
            for _ in range(3):
                waiting.begins()
                await asyncio.sleep(0)
                waiting.ends()
                await asyncio.sleep(3 * SOON)
                done += 1
        return done

    assert asyncio.run(body()) == 3


def test_who_cancels_from_outside_is_heard() -> None:
    async def body() -> None:
        started = asyncio.Event()

        async def work() -> None:
            with Stall(60.0) as waiting:
                waiting.begins()
                started.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(work())
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(body())


def test_an_error_of_the_wait_itself_is_raised() -> None:
    async def body() -> None:
        with Stall(SOON) as waiting:
            waiting.begins()
            raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        asyncio.run(body())
