"""The owner's socket within the agent: frames of every size, however the reads cut them."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from styx.agent.inlet import Inlet
from styx.agent.owner.frames import MAX_FRAME, encode
from styx.errors import ProtocolError
from styx.protocol.owner import OwnerOutput, OwnerStarted, OwnerToAgent


class Transport:
    """What an inlet does with the socket."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def pause_reading(self) -> None:
        self.done.append("pause")

    def resume_reading(self) -> None:
        self.done.append("resume")

    def abort(self) -> None:
        self.done.append("abort")


def inlet() -> tuple[Inlet, Transport]:
    made, transport = Inlet(), Transport()
    made.connection_made(transport)  # type: ignore[arg-type]
    return made, transport


def receive(into: Inlet, data: bytes, most: int) -> None:
    """As the loop would, with reads of at most so many bytes."""
    while data:
        buffer = into.get_buffer(-1)
        size = min(len(buffer), len(data), most)
        assert size, "no room to read into"
        buffer[:size] = data[:size]
        buffer.release()
        into.buffer_updated(size)
        data = data[size:]


@pytest.mark.parametrize("most", [1, 5, 1_000, 65_535, 1 << 30])
def test_frames_of_every_size_come_whole(most: int) -> None:
    async def body() -> None:
        chance = random.Random(most)
        sent: list[OwnerToAgent] = []
        wire = bytearray()
        sizes = [0, 1, 65_000, 65_515, 65_516, 65_517, 65_536, 70_000, 300_000] if most > 5 else [0, 1, 100, 66_000]
        for number in range(40 if most > 5 else 6):
            size = chance.choice(sizes)
            messages: list[OwnerToAgent] = [OwnerStarted((number,)), OwnerOutput(number, 1, 0, chance.randbytes(size))]
            sent += messages
            wire += encode(messages)
        made, _ = inlet()
        receive(made, bytes(wire), most)
        assert await made.messages() == sent

    asyncio.run(body())


def test_who_does_not_take_what_came_is_not_read_for() -> None:
    async def body() -> None:
        made, transport = inlet()
        frame = encode([OwnerOutput(1, 1, 0, bytes(300_000))])
        receive(made, frame, 1 << 30)
        assert transport.done == []
        receive(made, frame, 1 << 30)
        assert transport.done == ["pause"]
        assert len(await made.messages()) == 2
        assert transport.done == ["pause", "resume"]

    asyncio.run(body())


@pytest.mark.parametrize("wrong", [(MAX_FRAME + 1).to_bytes(4, "big"), b"\0\0\0\3\xff\xff\xff"])
def test_what_is_no_frame_ends_it_after_what_came_before(wrong: bytes) -> None:
    async def body() -> None:
        made, transport = inlet()
        receive(made, encode([OwnerStarted((1,))]) + wrong + bytes(9), 1 << 30)
        assert transport.done == ["abort"]
        made.connection_lost(None)
        assert await made.messages() == [OwnerStarted((1,))]
        with pytest.raises(ProtocolError):
            await made.messages()
        with pytest.raises(ConnectionError):
            await made.write([b"x"])

    asyncio.run(body())


def test_whoever_waits_hears_that_it_is_over() -> None:
    async def body() -> None:
        made, _ = inlet()
        waiting: asyncio.Task[Any] = asyncio.create_task(made.messages())
        await asyncio.sleep(0)
        made.eof_received()
        with pytest.raises(ConnectionResetError):
            await waiting

    asyncio.run(body())
