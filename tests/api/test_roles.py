"""Route x role: everything that is allowed is listed here. A new route or a wider one fails until somebody says it is meant."""

from __future__ import annotations

import asyncio

import aiohttp
from aiohttp import web
from api_fakes import SECRETS, FakePlane, Served, served

ALL = {"", "admin", "user", "viewer", "agent", "join"}
READ = {"admin", "user", "viewer"}
WRITE = {"admin", "user"}

ALLOWED: dict[tuple[str, str], set[str]] = {
    ("GET", "/health"): ALL,
    ("GET", "/version"): ALL,
    ("GET", "/metrics"): READ,
    ("GET", "/api/v1/openapi.json"): READ,
    ("GET", "/api/v1/tasks"): READ,
    ("POST", "/api/v1/tasks"): WRITE,
    ("GET", "/api/v1/tasks/{ref}"): READ,
    ("POST", "/api/v1/tasks/{ref}/cancel"): WRITE,
    ("POST", "/api/v1/tasks/{ref}/retry"): WRITE,
    ("GET", "/api/v1/tasks/{ref}/logs"): READ,
    ("GET", "/api/v1/tasks/{ref}/elements"): READ,
    ("GET", "/api/v1/tasks/{ref}/why"): READ,
    ("GET", "/api/v1/tasks/{ref}/wait"): READ,
    ("GET", "/api/v1/jobs"): READ,
    ("POST", "/api/v1/jobs"): WRITE,
    ("GET", "/api/v1/jobs/{ref}"): READ,
    ("GET", "/api/v1/jobs/{ref}/tasks"): READ,
    ("POST", "/api/v1/jobs/{ref}/cancel"): WRITE,
    ("POST", "/api/v1/jobs/{ref}/retry"): WRITE,
    ("GET", "/api/v1/jobs/{ref}/logs"): READ,
    ("GET", "/api/v1/jobs/{ref}/events"): READ,
    ("GET", "/api/v1/jobs/{ref}/why"): READ,
    ("GET", "/api/v1/jobs/{ref}/wait"): READ,
    ("POST", "/api/v1/plan"): READ,
    ("GET", "/api/v1/resolve"): READ,
    ("GET", "/api/v1/agents"): READ,
    ("GET", "/api/v1/agents/connect"): {"admin", "agent"},
    ("POST", "/api/v1/agents/enrol"): {"join"},
    ("GET", "/api/v1/bootstrap/{python_tag}/{arch}"): {"admin", "agent", "join"},
    ("GET", "/api/v1/archives"): WRITE,
    ("HEAD", "/api/v1/archives/{sha256}"): WRITE,
    ("PUT", "/api/v1/archives/{sha256}"): WRITE,
    ("GET", "/api/v1/archives/{sha256}"): {"admin", "agent"},
    ("GET", "/api/v1/archives/{sha256}/for/{attempt}"): ALL,  # by a ticket of its own
    ("GET", "/api/v1/nodes"): READ,
    ("GET", "/api/v1/instances"): READ,
    ("POST", "/api/v1/instances/down"): WRITE,
    ("GET", "/api/v1/offers"): READ,
    ("POST", "/api/v1/offers/refresh"): WRITE,
    ("GET", "/api/v1/check"): READ,
    ("GET", "/api/v1/cost"): READ,
    ("GET", "/api/v1/events"): READ,
    ("GET", "/api/v1/stats"): READ,
    ("GET", "/api/v1/tokens"): {"admin"},
    ("POST", "/api/v1/tokens"): {"admin"},
    ("DELETE", "/api/v1/tokens/{id}"): {"admin"},
    ("POST", "/api/v1/gc"): {"admin"},
    ("POST", "/api/v1/backup"): {"admin"},
}


def routes(app: web.Application) -> set[tuple[str, str]]:
    return {(r.method, r.resource.canonical) for r in app.router.routes() if r.resource is not None}


async def status(server: Served, session: aiohttp.ClientSession, method: str, path: str, role: str) -> int:
    url = server.url + path.format(
        ref="nothing-has-this-id", id="99999", python_tag="cp399", arch="none", sha256="0" * 64, attempt="1"
    )
    async with session.request(method, url, headers=server.headers(role), timeout=aiohttp.ClientTimeout(10)) as answer:
        return answer.status


def test_the_matrix() -> None:
    async def main() -> None:
        async with served() as server, aiohttp.ClientSession() as session:
            assert routes(server.app) == set(ALLOWED)
            found = {}
            for method, path in routes(server.app):
                # whether a role gets past the gate: 401 and 403 mean no, all else (404, 422, ...) means it got in
                found[method, path] = {
                    role for role in sorted(ALL) if await status(server, session, method, path, role) not in {401, 403}
                }
            assert found == ALLOWED

    asyncio.run(main())


def test_whoever_is_nobody() -> None:
    async def main() -> None:
        plane = FakePlane()
        for role, secret in SECRETS.items():
            plane.token(secret, role)
        plane.token("styx_old", "admin", expires_at=1_000)
        async with served(plane) as server, aiohttp.ClientSession() as session:
            for header in (
                "Bearer wrong",
                "Bearer styx_old",
                "Bearer ",
                "Basic YTpi",
                "styx_admin",
                f"Token {SECRETS['admin']}",
            ):
                async with session.get(f"{server.url}/api/v1/jobs", headers={"Authorization": header}) as answer:
                    assert answer.status == 401, header
                    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
                    assert SECRETS["admin"] not in await answer.text()
            async with session.get(f"{server.url}/api/v1/jobs", params={"token": SECRETS["admin"]}) as answer:
                assert answer.status == 401
        assert plane.calls == []

    asyncio.run(main())


def test_a_token_lives_from_its_creation_to_its_revocation() -> None:
    async def main() -> None:
        async with served() as server, aiohttp.ClientSession(headers=server.headers()) as session:
            tokens = f"{server.url}/api/v1/tokens"
            key = {"Idempotency-Key": "one"}
            async with session.post(tokens, json={"name": "ci", "role": "viewer"}, headers=key) as answer:
                assert answer.status == 201
                made = await answer.json()
            async with session.post(tokens, json={"name": "ci", "role": "viewer"}, headers=key) as answer:
                assert await answer.json() == made
            async with session.post(tokens, json={"name": "ci", "role": "admin"}, headers=key) as answer:
                assert answer.status == 409
            mine = {"Authorization": f"Bearer {made['secret']}"}
            async with session.get(f"{server.url}/api/v1/jobs", headers=mine) as answer:
                assert answer.status == 200
            async with session.get(tokens) as answer:
                assert made["secret"] not in await answer.text()
            async with session.delete(f"{tokens}/{made['token_id']}") as answer:
                assert await answer.json() == {"revoked": True}
            async with session.get(f"{server.url}/api/v1/jobs", headers=mine) as answer:
                assert answer.status == 401
            for unknown in ("x", "-1", "9" * 40):
                async with session.delete(f"{tokens}/{unknown}") as answer:
                    assert answer.status == 404

    asyncio.run(main())
