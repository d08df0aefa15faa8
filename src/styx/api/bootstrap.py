"""The archive that a new machine runs its agent from: for whoever comes with a join token, which this does not spend."""

from __future__ import annotations

from aiohttp import web

from styx.api import requests
from styx.api.problems import HttpProblem
from styx.runtime.bundles import Bundles

__all__ = ["BUNDLES", "archive"]

BUNDLES: web.AppKey[Bundles | None] = web.AppKey("bundles")


async def archive(request: web.Request) -> web.StreamResponse:
    """Styx and what its agent needs, as a gzipped tar, for a Python (cp311) and an architecture (x86_64)."""
    asked = requests.query(request, requests.BundleQuery)
    bundles = request.app[BUNDLES]
    if bundles is None:
        raise HttpProblem(404, "this server has no archives for machines")
    path = await bundles.find(request.match_info["python_tag"], request.match_info["arch"], asked.sha256)
    return web.FileResponse(path, headers={"Content-Type": "application/gzip"})
