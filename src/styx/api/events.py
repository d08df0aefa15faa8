"""What happens, as it happens: one multiplexed stream of everything, and the stream of one job, which ends with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast

from aiohttp import web

from styx.api import requests
from styx.api.reply import plane
from styx.api.sse import last_event_id, streaming
from styx.errors import StyxError
from styx.protocol.http import Event

__all__ = ["POSITION", "everything", "of_job"]


POSITION: web.AppKey[Callable[[], int] | None] = web.AppKey("position")  # the id of the last event


async def everything(request: web.Request) -> web.StreamResponse:
    """Events from now on, or behind `Last-Event-ID` (or `?after=`); of one job with `?job=`."""
    asked = requests.query(request, requests.AfterQuery)
    return await _stream(request, asked.job, asked.after)


async def of_job(request: web.Request) -> web.StreamResponse:
    """Events of one job; the stream is over after job.ended. From the beginning unless told otherwise."""
    asked = requests.query(request, requests.JobEventsQuery)
    return await _stream(request, request.match_info["ref"], asked.after)


async def _stream(request: web.Request, job: str, after: int) -> web.StreamResponse:
    after = last_event_id(request, after)
    if job:
        job = (await plane(request).job(job)).job_id  # an unknown one is a 404 before the stream begins
    position = request.app[POSITION]
    if after < 0 and position is not None:
        after = (
            position()
        )  # told to the reader, so that one that loses its connection before the first event resumes here
    async with _subscribed(plane(request).events(job=job, after=after)) as source, streaming(request) as stream:
        if after >= 0:
            await stream.write(b"id: %d\n\n" % after)
        try:
            async for event in source:
                await stream.send(event, event=event.type, ident=str(event.id))
        except StyxError as error:
            await stream.problem(error)
        await stream.end()
    return stream.response


@asynccontextmanager
async def _subscribed(source: AsyncIterator[Event]) -> AsyncIterator[AsyncIterator[Event]]:
    """The source, already listening. A generator runs only when it is asked, and whoever sees the response begin may
    count on seeing all that happens from then on."""
    events = cast("AsyncGenerator[Event, None]", source)
    first = asyncio.ensure_future(anext(events))
    await asyncio.sleep(0)

    async def all_of_it() -> AsyncIterator[Event]:
        try:
            yield await first
        except StopAsyncIteration:
            return
        async for event in events:
            yield event

    try:
        yield all_of_it()
    finally:
        first.cancel()
        await asyncio.wait([first])
        if not first.cancelled():
            first.exception()  # it was raised to the reader, or nobody is there any more
        await events.aclose()
