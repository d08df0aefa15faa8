"""Output that is put aside for a link: views of its frames, as long as they do not keep much more than themselves in memory."""

from __future__ import annotations

import asyncio

from styx.core.resources import Resources
from styx.protocol.codec import decode_agent, encode
from styx.protocol.messages import Hello, Output
from styx.runtime.link import Link
from styx.runtime.transport import pipe

HELLO = Hello("a", "a", "h", "b", "s", 1, 1, "1", Resources(cpus=1), (), "", ())


def test_a_little_output_does_not_keep_a_large_frame() -> None:
    async def body() -> None:
        link = Link(HELLO, pipe()[0])
        sent = [Output(1, 1, 0, b"x" * 100_000), Output(1, 1, 100_000, b"y" * 100)]
        for message in decode_agent(encode(sent)):
            assert isinstance(message, Output)
            link.put_aside(message)
        intake = aiter(link.intake())
        large, small = await anext(intake), await anext(intake)
        assert [large, small] == sent
        assert isinstance(large.data, memoryview)
        assert isinstance(small.data, bytes)

    asyncio.run(body())
