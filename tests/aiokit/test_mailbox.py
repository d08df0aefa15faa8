from __future__ import annotations

import asyncio

import pytest

from styx.aiokit import Mailbox, MailboxClosed


def test_drain_takes_everything_in_order() -> None:
    async def body() -> None:
        box: Mailbox[int] = Mailbox(10)
        for item in range(5):
            assert box.offer(item)
        assert len(box) == 5
        assert await box.drain() == [0, 1, 2, 3, 4]
        assert box.drain_now() == []

    asyncio.run(body())


def test_drain_waits_for_the_first_item() -> None:
    async def body() -> None:
        box: Mailbox[str] = Mailbox(1)
        reader = asyncio.create_task(box.drain())
        await asyncio.sleep(0)
        assert not reader.done()
        box.push("a")
        box.push("b")
        assert await reader == ["a", "b"]

    asyncio.run(body())


def test_the_bound_holds_for_offer_and_put_but_not_for_push() -> None:
    async def body() -> None:
        box: Mailbox[int] = Mailbox(2)
        assert box.offer(1)
        assert box.offer(2)
        assert not box.offer(3)
        box.push(4)
        writer = asyncio.create_task(box.put(5))
        await asyncio.sleep(0)
        assert not writer.done()
        assert not box.offer(6)  # nobody jumps the queue of writers
        assert await box.drain() == [1, 2, 4]
        await writer
        assert await box.drain() == [5]

    asyncio.run(body())


def test_writers_are_let_in_in_order_and_a_cancelled_one_takes_its_item_back() -> None:
    async def body() -> None:
        box: Mailbox[int] = Mailbox(1)
        await box.put(0)
        writers = [asyncio.create_task(box.put(item)) for item in (1, 2, 3)]
        await asyncio.sleep(0)
        writers[1].cancel()
        await asyncio.sleep(0)
        assert await box.drain() == [0]
        assert await box.drain() == [1]
        assert await box.drain() == [3]
        assert writers[1].cancelled()
        await asyncio.gather(writers[0], writers[2])

    asyncio.run(body())


def test_close_gives_out_what_is_in_and_refuses_the_rest() -> None:
    async def body() -> None:
        box: Mailbox[int] = Mailbox(1)
        box.push(1)
        writer = asyncio.create_task(box.put(2))
        await asyncio.sleep(0)
        box.close()
        with pytest.raises(MailboxClosed):
            await writer
        with pytest.raises(MailboxClosed):
            box.offer(3)
        with pytest.raises(MailboxClosed):
            box.push(3)
        assert await box.drain() == [1]
        with pytest.raises(MailboxClosed):
            await box.drain()

    asyncio.run(body())


def test_close_wakes_the_reader() -> None:
    async def body() -> None:
        box: Mailbox[int] = Mailbox(1)
        reader = asyncio.create_task(box.drain())
        await asyncio.sleep(0)
        box.close()
        with pytest.raises(MailboxClosed):
            await reader

    asyncio.run(body())


def test_a_second_reader_is_refused_and_a_cancelled_one_leaves_the_place() -> None:
    async def body() -> None:
        box: Mailbox[int] = Mailbox(1)
        reader = asyncio.create_task(box.drain())
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="one reader"):
            await box.drain()
        reader.cancel()
        await asyncio.sleep(0)
        box.push(7)
        assert await box.drain() == [7]

    asyncio.run(body())
