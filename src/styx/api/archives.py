"""Packed working folders, by the SHA-256 of their bytes: submitters put them, agents and pods get them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from aiohttp import web
from aiohttp.web_protocol import RequestPayloadError

from styx.api import reply, requests
from styx.api.auth import IDENTITY
from styx.api.problems import HttpProblem
from styx.protocol.http import ArchivesView
from styx.runtime.archives import MOST, Archives

__all__ = ["ARCHIVES", "about", "get", "get_by_ticket", "put", "wanted"]

STALL = 60.0  # seconds that a sender may be silent

ARCHIVES: web.AppKey[Archives | None] = web.AppKey("archives")


async def wanted(request: web.Request) -> web.Response:
    """Whether a folder of the caller's host is worth packing: tasks may run on others."""
    asked = requests.query(request, requests.ArchivesQuery)
    return reply.json(ArchivesView(_archives(request).wanted(asked.host), MOST))


async def about(request: web.Request) -> web.Response:
    """Whether it is here. What is asked about is kept for a while, so that it can be named."""
    size = await _archives(request).size(request.match_info["sha256"])
    return web.Response(headers={"Content-Length": str(size), "Content-Type": "application/gzip"})


async def put(request: web.Request) -> web.Response:
    """Keep a gzipped tar; 201, or 200 when it was here already."""
    if request.headers.get("Content-Encoding", "identity").strip().lower() not in {"", "identity"}:
        raise HttpProblem(415, "an archive is sent as it is, without a Content-Encoding")
    size = request.content_length or 0
    if size > MOST:
        raise HttpProblem(413, f"an archive may be {MOST / 1e9:g} GB long")
    new = await _archives(request).receive(request.match_info["sha256"], size, _blocks(request))
    return reply.json({}, status=201 if new else 200)


async def get(request: web.Request) -> web.StreamResponse:
    """The gzipped tar, for an agent that an attempt is assigned to which needs it."""
    identity = IDENTITY.get()
    assert identity is not None  # nobody gets here without a token
    path = await _archives(request).of_agent(identity.token_id, identity.role, request.match_info["sha256"])
    return web.FileResponse(path, headers={"Content-Type": "application/gzip"})


async def get_by_ticket(request: web.Request) -> web.StreamResponse:
    """The gzipped tar, for the one attempt that the ticket (a Bearer token) was made for."""
    scheme, _, ticket = request.headers.get("Authorization", "").partition(" ")
    number = request.match_info["attempt"]
    if scheme.lower() != "bearer" or not (number.isascii() and number.isdecimal() and len(number) < 19):
        raise HttpProblem(404, "there is no archive without a ticket for it")
    path = await _archives(request).of_ticket(int(number), ticket.strip(), request.match_info["sha256"])
    return web.FileResponse(path, headers={"Content-Type": "application/gzip"})


def _archives(request: web.Request) -> Archives:
    archives = request.app[ARCHIVES]
    if archives is None:
        raise HttpProblem(404, "this server keeps no archives")
    return archives


async def _blocks(request: web.Request) -> AsyncIterator[bytes]:
    try:
        while True:
            async with asyncio.timeout(STALL):
                data = await request.content.readany()
            if not data:
                return
            yield data
    except TimeoutError:
        raise HttpProblem(408, f"nothing arrived for {STALL:g} s") from None
    except (RequestPayloadError, web.HTTPBadRequest) as error:
        raise HttpProblem(400, f"the archive cannot be read: {error}") from None
