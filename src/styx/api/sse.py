"""Server-sent events: one writer for every stream.

A comment every `BEAT` seconds keeps proxies and readers from giving up. A reader that takes nothing for `SLOW` seconds is
cut off; every event carries its id, so it resumes where it was (`Last-Event-ID`). A stream that is over, as against
cut, ends with an event named `end`: readers that reconnect by themselves know then that they need not.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
from aiohttp import web

from styx.api.problems import HttpProblem, begun, document
from styx.errors import StyxError

__all__ = ["STREAMS", "Stream", "Streams", "last_event_id", "streaming"]

BEAT = 15.0
SLOW = 30.0

_encoder = msgspec.json.Encoder()


class Streams:
    """What lasts (streams, and requests that wait), so that a server on its way down can end it instead of waiting."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[object]] = set()

    def add(self) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def end(self) -> None:
        for task in list(self._tasks):
            task.cancel()

    def __len__(self) -> int:
        return len(self._tasks)


STREAMS = web.AppKey("streams", Streams)


class Stream:
    """A response in pieces: SSE by default, or any other media type through `write`. Made by `streaming`."""

    def __init__(self, content_type: str) -> None:
        self.response = web.StreamResponse(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        self.response.content_type = content_type
        if content_type.startswith("text/"):
            self.response.charset = "utf-8"

    async def write(self, data: bytes) -> None:
        try:
            async with asyncio.timeout(SLOW):
                await self.response.write(data)
        except TimeoutError:
            raise ConnectionResetError("the reader of a stream took nothing for too long") from None

    async def send(self, value: object, *, event: str = "", ident: str = "") -> None:
        """One event. JSON has no raw line breaks, so it is one `data:` line."""
        head = (f"id: {ident}\n" if ident else "") + (f"event: {event}\n" if event else "")
        await self.write(b"%sdata: %s\n\n" % (head.encode(), _encoder.encode(value)))

    async def problem(self, error: StyxError) -> None:
        """Why the stream ends here. The status line is long gone, so it is an event."""
        await self.send(document(error), event="problem")

    async def end(self) -> None:
        await self.send({}, event="end")

    async def keep_alive(self, beat: float) -> None:
        while True:
            await asyncio.sleep(beat)
            try:
                await self.write(b": still here\n\n")
            except ConnectionError:
                return


@asynccontextmanager
async def streaming(
    request: web.Request, content_type: str = "text/event-stream", *, beat: float = BEAT
) -> AsyncIterator[Stream]:
    """A stream that has begun. An error inside cuts the connection, and the reader sees that it has not all."""
    stream = Stream(content_type)
    await stream.response.prepare(request)
    request.app[STREAMS].add()
    with begun(request):
        if content_type != "text/event-stream":
            yield stream
            return
        await stream.write(b": styx\n\n")
        beats = asyncio.create_task(stream.keep_alive(beat), name="sse-beat")
        try:
            yield stream
        finally:
            beats.cancel()


def last_event_id(request: web.Request, default: int) -> int:
    """Where a reader wants to go on: the header that browsers send, else `default`."""
    given = request.headers.get("Last-Event-ID", "").strip()
    if not given:
        return default
    if not (given.isascii() and given.isdigit() and len(given) < 20):
        raise HttpProblem(400, f"Last-Event-ID is not an id of this stream: {given[:40]!r}")
    return int(given)
