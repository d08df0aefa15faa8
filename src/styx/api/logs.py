"""Output of programs. Plain text for people and pipes, JSON or SSE for programs; bytes are base64 in those.

Accept: text/plain (and whoever does not say)   the bytes as they are; `?follow=1` goes on until the end
Accept: text/event-stream, or ?follow=1         a LogChunk an event
Accept: application/json                        {"items": [LogChunk, ...], "next": null}, written as it is read
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

import msgspec
from aiohttp import web

from styx.api import requests
from styx.api.reply import plane
from styx.api.sse import streaming
from styx.errors import StyxError
from styx.protocol.http import LogChunk

__all__ = ["of"]

_encoder = msgspec.json.Encoder()


async def of(request: web.Request) -> web.StreamResponse:
    asked = requests.query(request, requests.LogsQuery)
    ref = request.match_info["ref"]
    await plane(request).resolve(ref)  # an unknown one is a 404 before the stream begins
    source = plane(request).logs(ref, follow=asked.follow, tail=asked.tail)
    accept = request.headers.get("Accept", "")
    async with aclosing(source) as chunks:  # type: ignore[type-var]
        wanted = _only(chunks, asked.stream) if asked.stream else chunks
        if "text/plain" in accept:
            return await _plain(request, wanted)
        if "text/event-stream" in accept or asked.follow:
            return await _events(request, wanted)
        if "application/json" in accept:
            return await _json(request, wanted)
        return await _plain(request, wanted)


async def _only(chunks: AsyncIterator[LogChunk], stream: str) -> AsyncIterator[LogChunk]:
    async for chunk in chunks:
        if chunk.stream == stream:
            yield chunk


async def _plain(request: web.Request, chunks: AsyncIterator[LogChunk]) -> web.StreamResponse:
    async with streaming(request, "text/plain") as stream:
        async for chunk in chunks:
            if chunk.gap:
                await stream.write(b"\n[styx: %d bytes are missing here]\n" % chunk.gap)
            if chunk.data:
                await stream.write(chunk.data)
    return stream.response


async def _events(request: web.Request, chunks: AsyncIterator[LogChunk]) -> web.StreamResponse:
    async with streaming(request) as stream:
        try:
            async for chunk in chunks:
                await stream.send(chunk, event="log")
        except StyxError as error:
            await stream.problem(error)
        await stream.end()
    return stream.response


async def _json(request: web.Request, chunks: AsyncIterator[LogChunk]) -> web.StreamResponse:
    async with streaming(request, "application/json") as stream:
        before = b'{"items":['
        async for chunk in chunks:
            await stream.write(before + _encoder.encode(chunk))
            before = b","
        await stream.write((b"" if before == b"," else before) + b'],"next":null}')
    return stream.response
