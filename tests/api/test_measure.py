"""/metrics shows the server's figures, the requests that were answered among them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp

from styx.compose import ControlPlane
from styx.server.local_token import ensure
from styx.server.serve import serve_plane


def test_requests_are_counted_by_route_and_status(tmp_path: Path) -> None:
    async def main() -> str:
        async with ControlPlane.open(tmp_path, agent=False) as plane:
            secret = await ensure(tmp_path, plane.shell.store)
            serving = await serve_plane(plane, port=0)
            headers = {"Authorization": f"Bearer {secret}"}
            try:
                async with aiohttp.ClientSession(serving.url) as session:
                    for path in ("/health", "/api/v1/jobs", "/api/v1/jobs", "/nothing", "/api/v1/jobs/@latest"):
                        async with session.get(path, headers=headers):
                            pass
                    async with session.get("/api/v1/jobs"):
                        pass
                    async with session.get("/metrics", headers=headers) as answer:
                        assert answer.content_type == "text/plain"
                        return await answer.text()
            finally:
                await serving.stop()

    text = asyncio.run(main())
    for line in (
        'styx_http_requests_total{method="GET",route="/health",status="200"} 1.0',
        'styx_http_requests_total{method="GET",route="/api/v1/jobs",status="200"} 2.0',
        'styx_http_requests_total{method="GET",route="/api/v1/jobs",status="401"} 1.0',
        'styx_http_requests_total{method="GET",route="/api/v1/jobs/{ref}",status="404"} 1.0',
        'styx_http_requests_total{method="GET",route="-",status="404"} 1.0',
        "styx_commit_seconds_count",
        'styx_agents{state="UP"} 0.0',
    ):
        assert line in text, text
