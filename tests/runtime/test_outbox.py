"""What goes over a link: gathered, bounded, and never larger than a frame."""

from __future__ import annotations

import asyncio

import pytest

from styx.errors import ProtocolError
from styx.protocol.codec import MAX_FRAME, decode_server
from styx.protocol.messages import Ack, Bye, Files, HeartbeatAck, OutputAck, ServerMessage, Stop
from styx.runtime.outbox import Outbox
from styx.runtime.transport import pipe


async def sent(outbox: Outbox) -> list[list[ServerMessage]]:
    """What the outbox holds, as frames of messages."""
    outbox.close()
    frames = [frame async for frame in outbox.frames()]
    assert all(len(frame) <= MAX_FRAME for frame in frames)
    return [decode_server(frame) for frame in frames]


def test_what_gathered_goes_in_one_frame_and_acks_are_cumulative() -> None:
    async def main() -> None:
        outbox = Outbox()
        outbox.put(Stop((1,)))
        outbox.put(Stop((2,)))
        for number in (1, 2, 3):
            outbox.ack(number)
            outbox.beat(number)
            outbox.output_ack(9, 1, number * 10)
        outbox.output_ack(9, 1, 5)
        assert await sent(outbox) == [[HeartbeatAck(3), Stop((1,)), Stop((2,)), Ack(3), OutputAck(9, 1, 30)]]

    asyncio.run(main())


def test_a_writer_that_waits_is_woken() -> None:
    async def main() -> None:
        outbox = Outbox()
        frames = outbox.frames()
        waiting = asyncio.ensure_future(anext(frames))
        await asyncio.sleep(0)
        assert not waiting.done()
        outbox.put(Stop((1,)))
        assert decode_server(await waiting) == [Stop((1,))]

    asyncio.run(main())


def test_too_much_overflows_and_drops_the_rest() -> None:
    async def main() -> None:
        outbox = Outbox(limit=1_000)
        outbox.put(Stop((1,)), 900)
        assert not outbox.overflowed
        outbox.put(Stop((2,)), 200)
        assert outbox.overflowed
        outbox.put(Stop((3,)), 1)
        assert await sent(outbox) == []

    asyncio.run(main())


def test_frames_are_split_by_what_they_really_weigh() -> None:
    async def main() -> None:
        outbox = Outbox()
        messages = [Files(1, number, (("a", bytes(3 << 20)),)) for number in range(5)]
        for message in messages:
            outbox.put(message, 10)  # the estimate is far too low
        frames = await sent(outbox)
        assert [message for frame in frames for message in frame] == messages
        assert len(frames) > 1

    asyncio.run(main())


def test_a_message_that_no_frame_can_hold_is_an_error() -> None:
    async def main() -> None:
        outbox = Outbox()
        outbox.put(Files(1, 1, (("a", bytes(MAX_FRAME)),)))
        with pytest.raises(ProtocolError, match="longer than a frame"):
            await sent(outbox)

    asyncio.run(main())


def test_a_pipe_delivers_what_was_sent_before_it_closed() -> None:
    async def main() -> None:
        server, agent = pipe()
        for number in range(3):
            await agent.send(bytes([number]))
        await agent.close()
        assert [frame async for frame in server] == [b"\0", b"\1", b"\2"]
        with pytest.raises(ConnectionError):
            await server.send(b"late")

    asyncio.run(main())


def test_a_pipe_makes_a_fast_sender_wait() -> None:
    async def main() -> None:
        server, agent = pipe()

        async def flood() -> None:
            for number in range(1_000):
                await agent.send(number.to_bytes(2, "big"))
            await agent.close()

        sender = asyncio.ensure_future(flood())
        received = 0
        async for frame in server:
            assert int.from_bytes(frame, "big") == received
            received += 1
        await sender
        assert received == 1_000

    asyncio.run(main())


def test_goodbye_is_still_sent() -> None:
    async def main() -> None:
        outbox = Outbox()
        outbox.put(Bye(reason="down"))
        assert await sent(outbox) == [[Bye(reason="down")]]

    asyncio.run(main())
