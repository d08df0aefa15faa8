"""What HTTP adds: hosts, media types, pages, problems, streams."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import aiohttp
import pytest
from api_fakes import FakePlane, Served, served

from styx.api import limits
from styx.api.bodies import ASIDE, parse_json
from styx.api.openapi import describe
from styx.errors import Busy, NoFit, Problem, StoreFull, SyncFailed
from styx.protocol.http import LogChunk

TASK = {"name": "t", "command": "echo", "args": ["Hello"]}


def test_a_task_is_created(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with served() as server, aiohttp.ClientSession(headers=server.headers("user")) as session:
            # the way curl sends it: no JSON media type
            form = {"Content-Type": "application/x-www-form-urlencoded"}
            async with session.post(f"{server.url}/api/v1/tasks", data=json.dumps(TASK), headers=form) as answer:
                assert answer.status == 201
                made = await answer.json()
                assert made["task_id"] == "job-0"
                assert made["status"]
                assert answer.headers["Location"] == "/api/v1/tasks/job-0"
            async with session.get(server.url + answer.headers["Location"]) as answer:
                assert answer.status == 200
            async with session.post(
                f"{server.url}/api/v1/jobs", json={"name": "j", "tasks": {"a": {"run": "x"}}}
            ) as answer:
                assert answer.headers["Location"] == "/api/v1/jobs/job-1"
            yaml = b"name: j\ntasks:\n  a: {run: 'echo on'}\n"
            async with session.post(
                f"{server.url}/api/v1/jobs", data=yaml, headers={"Content-Type": "application/yaml"}
            ) as answer:
                assert answer.status == 201, await answer.text()
        assert server.plane.calls[0][1].tasks[0].command == ("echo", "Hello")

    asyncio.run(main())


def test_an_idempotency_key() -> None:
    async def main() -> None:
        async with served() as server, aiohttp.ClientSession(headers=server.headers()) as session:
            url, key = f"{server.url}/api/v1/tasks", {"Idempotency-Key": "abc"}
            async with session.post(url, json=TASK, headers=key) as answer:
                first = await answer.json()
            async with session.post(url, json=TASK, headers=key) as answer:
                assert answer.status == 201
                assert (await answer.json())["job_id"] == first["job_id"]
            async with session.post(url, json={**TASK, "args": ["Bye"]}, headers=key) as answer:
                assert answer.status == 409
                assert answer.content_type == "application/problem+json"
            assert len(server.plane.specs) == 1

    asyncio.run(main())


@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        ("127.0.0.1:1", None, 200),
        ("localhost", None, 200),
        ("[::1]:8080", None, 200),
        ("192.168.1.5:8080", None, 200),
        ("styx.example", None, 200),
        ("STYX.example:99", None, 200),
        ("evil.example", None, 421),
        ("127.0.0.1.evil.example", None, 421),
        ("localhost.evil.example", None, 421),
        ("", None, 421),
        ("localhost@evil.example", None, 421),
        ("127.0.0.1:1", "http://127.0.0.1:1", 200),
        ("127.0.0.1:1", "http://evil.example", 403),
        ("127.0.0.1:1", "http://127.0.0.1:2", 403),
        ("127.0.0.1:1", "null", 403),
    ],
)
def test_hosts_and_origins(host: str, origin: str | None, status: int) -> None:
    async def main() -> None:
        async with served(hosts=["styx.example"]) as server, aiohttp.ClientSession() as session:
            headers = server.headers() | {"Host": host} | ({"Origin": origin} if origin else {})
            for path in ("/health", "/api/v1/jobs"):
                async with session.get(server.url + path, headers=headers) as answer:
                    assert answer.status == status, await answer.text()

    asyncio.run(main())


def test_queries_are_checked() -> None:
    wrong = [
        "jobs?limit=0", "jobs?limit=1001", "jobs?limit=x", "jobs?limit=", "jobs?limt=5", "jobs?cursor=%00",
        "jobs?cursor=garbage", "tasks?cursor=" + "x" * 500, "tasks?limit=1&limit=2", "jobs?status=DONE",
        "tasks/job-0/logs?tail=-1", "tasks/job-0/logs?stream=stdin", "jobs/job-0/wait?timeout=-1",
        "jobs/job-0/wait?timeout=nan", "jobs/job-0/wait?timeout=1e9", "events?after=x", "events?after=-2", "resolve",
        "tokens?x=1", "tasks/job-0/elements?cursor=!",
    ]  # fmt: skip

    async def main() -> None:
        async with served() as server, aiohttp.ClientSession(headers=server.headers()) as session:
            async with session.post(f"{server.url}/api/v1/tasks", json=TASK) as answer:
                assert answer.status == 201
            for path in wrong:
                async with session.get(f"{server.url}/api/v1/{path}") as answer:
                    assert answer.status == 400, (path, await answer.text())
                    assert answer.content_type == "application/problem+json"
            async with session.get(f"{server.url}/api/v1/events", headers={"Last-Event-ID": "x"}) as answer:
                assert answer.status == 400

    asyncio.run(main())


def test_pages() -> None:
    async def main() -> None:
        async with served() as server, aiohttp.ClientSession(headers=server.headers()) as session:
            for _ in range(5):
                async with session.post(f"{server.url}/api/v1/tasks", json=TASK):
                    pass
            seen, cursor = [], ""
            while True:
                async with session.get(f"{server.url}/api/v1/jobs", params={"limit": 2, "cursor": cursor}) as answer:
                    page = await answer.json()
                seen += [job["job_id"] for job in page["items"]]
                if page["next"] is None:
                    break
                cursor = page["next"]
            assert seen == [f"job-{n}" for n in range(5)]

    asyncio.run(main())


def test_errors_are_problems(caplog: pytest.LogCaptureFixture) -> None:
    cases: list[tuple[BaseException, int, str]] = [
        (Busy("too much", retry_after=7), 429, "busy"),
        (Busy("starting", status=503), 503, "busy"),
        (StoreFull("no room"), 507, "disk-full"),
        (SyncFailed("fsync"), 503, "sync-failed"),
        (NoFit([Problem("$.tasks.a", "needs 99 CPUs", "the largest has 4")]), 422, "no-fit"),
        (ZeroDivisionError("secret detail"), 500, "internal"),
    ]

    async def main() -> None:
        async with served() as server, aiohttp.ClientSession(headers=server.headers()) as session:
            for error, status, code in cases:
                server.plane.raises = error
                async with session.post(f"{server.url}/api/v1/tasks", json=TASK) as answer:
                    problem = await answer.json(content_type="application/problem+json")
                    assert (answer.status, problem["status"], problem["code"]) == (status, status, code)
                    assert "secret detail" not in str(problem)
                    if isinstance(error, Busy):
                        assert answer.headers["Retry-After"] == str(int(error.retry_after))
                    if isinstance(error, NoFit):
                        assert problem["errors"] == [
                            {"path": "$.tasks.a", "message": "needs 99 CPUs", "hint": "the largest has 4"}
                        ]

    with caplog.at_level(logging.ERROR, logger="styx.api"):
        asyncio.run(main())
    assert "secret detail" in caplog.text


def test_health_says_why() -> None:
    async def main() -> None:
        async with served() as server, aiohttp.ClientSession() as session:
            async with session.get(f"{server.url}/health") as answer:
                assert (answer.status, (await answer.json())["status"]) == (200, "healthy")
            server.plane.state = "full"
            async with session.get(f"{server.url}/health") as answer:
                assert (answer.status, (await answer.json())["reason"]) == (503, "the disk is full")
            async with session.get(f"{server.url}/version") as answer:
                assert (await answer.json())["protocol"] >= 1

    asyncio.run(main())


async def raw_request(server: Served, head: str, body: bytes = b"") -> bytes:
    """What a server answers to bytes that no client library would send."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(head.replace("\n", "\r\n").encode() + b"\r\n\r\n" + body)
    await writer.drain()
    answer = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    return answer


def test_slow_bodies_and_headers_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits.body, "__kwdefaults__", {"seconds": 0.05})

    async def main() -> None:
        async with served(header_seconds=0.2) as server:
            token = server.headers()["Authorization"]
            head = f"POST /api/v1/tasks HTTP/1.1\nHost: localhost\nAuthorization: {token}\nContent-Length: 100"
            assert b" 408 " in (await raw_request(server, head, b"{")).partition(b"\r\n")[0]
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(b"GET /health HTTP/1.1\r\nHost: local")  # and no more
            assert await reader.read() == b""
            writer.close()

    asyncio.run(main())


def test_chunked_bodies_have_the_same_limit() -> None:
    async def main() -> None:
        async def endless() -> Any:
            for _ in range(40):
                yield b" " * (1 << 20)

        async with (
            served() as server,
            aiohttp.ClientSession(headers=server.headers()) as session,
            session.post(f"{server.url}/api/v1/tasks", data=endless()) as answer,
        ):
            assert answer.status == 413
            assert answer.content_type == "application/problem+json"

    asyncio.run(main())


def test_events_resume_behind_the_last_one() -> None:
    async def main() -> None:
        plane = FakePlane()
        for number in range(3):
            plane.emit("task.ready", job=f"j{number}")
        async with (
            served(plane) as server,
            aiohttp.ClientSession(headers=server.headers()) as session,
            session.get(f"{server.url}/api/v1/events", headers={"Last-Event-ID": "1"}) as answer,
        ):
            assert answer.content_type == "text/event-stream"
            text = ""
            while "j2" not in text:
                text += (await answer.content.readany()).decode()
            assert "id: 2\nevent: task.ready\ndata: {" in text
            assert "id: 1\nevent" not in text
            plane.emit("node.linked", node="n")
            while "node.linked" not in text:
                text += (await answer.content.readany()).decode()
            assert "id: 4\n" in text

    asyncio.run(main())


def test_a_stream_from_now_on_misses_nothing_after_its_beginning() -> None:
    async def main() -> None:
        plane = FakePlane()
        plane.emit("task.ready", job="before")
        async with (
            served(plane) as server,
            aiohttp.ClientSession(headers=server.headers()) as session,
            session.get(f"{server.url}/api/v1/events") as answer,
        ):
            plane.emit("task.ready", job="after")
            text = ""
            while "after" not in text:
                text += (await answer.content.readany()).decode()
            assert "before" not in text

    asyncio.run(main())


def test_the_events_of_a_job_end_with_it() -> None:
    async def main() -> None:
        async with served() as server, aiohttp.ClientSession(headers=server.headers()) as session:
            async with session.post(f"{server.url}/api/v1/tasks", json=TASK):
                server.plane.finish("job-0")
            async with session.get(f"{server.url}/api/v1/jobs/job-0/events") as answer:
                text = await answer.text()
            assert "event: job.accepted" in text
            assert text.endswith("event: end\ndata: {}\n\n")
            async with session.get(f"{server.url}/api/v1/jobs/none/events") as answer:
                assert answer.status == 404

    asyncio.run(main())


def test_logs_in_three_forms() -> None:
    async def main() -> None:
        plane = FakePlane()
        plane.output = [
            LogChunk("t", "job-0", None, 1, "stdout", 0, b"one\n\xff\x00"),
            LogChunk("t", "job-0", None, 1, "stderr", 0, b"oops\n"),
            LogChunk("t", "job-0", None, 1, "stdout", 16, b"two\n", gap=10),
            LogChunk("t", "job-0", None, 1, "stdout", 20, b"", end=True),
        ]
        async with served(plane) as server, aiohttp.ClientSession(headers=server.headers()) as session:
            async with session.post(f"{server.url}/api/v1/tasks", json=TASK):
                pass
            url = f"{server.url}/api/v1/tasks/job-0/logs"

            async def get(accept: str, query: str = "") -> tuple[str, bytes]:
                async with session.get(url + query, headers={"Accept": accept}) as answer:
                    return answer.content_type, await answer.read()

            plain = b"one\n\xff\x00oops\n\n[styx: 10 bytes are missing here]\ntwo\n"
            assert await get("text/plain") == ("text/plain", plain)
            assert await get("*/*") == ("text/plain", plain)
            assert await get("text/plain", "?stream=stderr") == ("text/plain", b"oops\n")
            assert await get("text/plain", "?follow=1") == ("text/plain", plain)
            kind, body = await get("application/json")
            assert kind == "application/json"
            assert [item["offset"] for item in json.loads(body)["items"]] == [0, 0, 16, 20]
            kind, body = await get("*/*", "?follow=1")
            assert kind == "text/event-stream"
            assert body.count(b"event: log\n") == 4
            assert body.endswith(b"event: end\ndata: {}\n\n")
            plane.output = []
            assert json.loads((await get("application/json"))[1]) == {"items": [], "next": None}

    asyncio.run(main())


def test_a_bug_in_a_stream_cuts_it() -> None:
    class Broken(FakePlane):
        async def logs(self, ref: str, *, follow: bool = False, tail: int = 0) -> Any:
            yield LogChunk("t", "job-0", None, 1, "stdout", 0, b"one\n")
            raise ZeroDivisionError

    async def main() -> None:
        async with served(Broken()) as server, aiohttp.ClientSession(headers=server.headers()) as session:
            async with session.post(f"{server.url}/api/v1/tasks", json=TASK):
                pass
            with pytest.raises(aiohttp.ClientError):
                async with session.get(f"{server.url}/api/v1/tasks/job-0/logs") as answer:
                    await answer.read()

    asyncio.run(main())


def test_references_with_slashes_are_one_segment() -> None:
    async def main() -> None:
        async with served() as server, aiohttp.ClientSession(headers=server.headers()) as session:
            from yarl import URL

            for ref, path in (("abcd/x.3", "abcd%2Fx.3"), ("@latest/ü", "@latest%2F%C3%BC"), ("a%b", "a%25b")):
                async with session.get(URL(f"{server.url}/api/v1/tasks/{path}", encoded=True)) as answer:
                    assert answer.status == 404
                assert server.plane.calls[-1] == ("task", ref)

    asyncio.run(main())


def test_openapi_describes_every_route() -> None:
    async def main() -> None:
        async with served() as server, aiohttp.ClientSession(headers=server.headers()) as session:
            async with session.get(f"{server.url}/api/v1/openapi.json") as answer:
                document = await answer.json()
            assert {
                (route.method.lower(), route.resource.canonical)
                for route in server.app.router.routes()
                if route.resource is not None
            } == {(method, path) for path, methods in document["paths"].items() for method in methods}
        assert document == json.loads(json.dumps(describe()))
        names = {op["operationId"] for ops in document["paths"].values() for op in ops.values()}
        assert len(names) == sum(len(ops) for ops in document["paths"].values())

        def references(value: Any) -> Any:
            if isinstance(value, dict):
                yield from [value["$ref"]] if "$ref" in value else []
                for part in value.values():
                    yield from references(part)
            elif isinstance(value, list):
                for part in value:
                    yield from references(part)

        known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
        assert set(references(document)) <= known

    asyncio.run(main())


def test_a_large_json_body_is_read_with_pauses_and_a_small_one_without() -> None:
    calls: list[int] = []
    body = b'{"tasks":{' + b",".join(b'"t%d":{"command":["true"]}' % n for n in range(5_000)) + b"}}"
    assert len(body) > ASIDE
    assert len(parse_json(body, lambda: calls.append(1))["tasks"]) == 5_000
    assert len(calls) == 5_002
    calls.clear()
    parse_json(b'{"a":{"b":1}}', lambda: calls.append(1))
    assert not calls
