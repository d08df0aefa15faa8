"""Bytes that are nearly HTTP, or not at all, straight into the socket of a real server.

Whatever comes, each answer is whole, none is a 5xx, those that refuse are problem+json, and a connection whose other half is closed
ends. What two readers of HTTP could understand differently (request smuggling) is never acted upon.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from styx.testing.cluster import Cluster, eventually

PATIENCE = 20.0  # seconds until a connection counts as hanging
QUIET = 1.0  # seconds without a byte until our half is closed: what was sent does not make a whole request
AT_ONCE = 64
_STATUS = re.compile(rb"HTTP/[01]\.[0-9] (\d{3}) [^\r\n]*\r\n(?:[^\r\n]+\r\n)*\r\n")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("raw")) as cluster:
        cluster.start_server()
        cluster.start_agent("a", "--no-work", cpus=4)
        eventually("the agent is there", lambda: cluster.agents_up(1))
        yield cluster
        assert cluster.healthy()
        assert "Traceback" not in cluster.log("server"), cluster.log("server")[-5_000:]


def token(cluster: Cluster) -> bytes:
    return (cluster.home / "token").read_bytes().strip()


async def say(cluster: Cluster, pieces: list[bytes]) -> bytes:
    """Send this in pieces, close our half, and give what comes back until the other side closes too."""
    reader, writer = await asyncio.open_connection("127.0.0.1", cluster.port)
    try:
        async with asyncio.timeout(PATIENCE):
            try:
                for piece in pieces:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0)
            except (ConnectionError, OSError):
                pass  # it has heard enough; what it had to say may still be read
            return await _heard(reader, writer)
    except TimeoutError:
        raise AssertionError(f"the server neither answered nor closed: {b''.join(pieces)[:300]!r}") from None
    finally:
        writer.close()


async def _heard(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    answer = b""
    try:
        while True:
            try:
                async with asyncio.timeout(QUIET):
                    more = await reader.read(1 << 16)
            except TimeoutError:
                writer.write_eof()
                return answer + await reader.read(-1)
            if not more:
                return answer
            answer += more
    except (ConnectionError, OSError):
        return answer


async def say_all(cluster: Cluster, requests: list[list[bytes]]) -> list[bytes]:
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(pieces: list[bytes]) -> bytes:
        async with gate:
            return await say(cluster, pieces)

    return list(await asyncio.gather(*map(one, requests)))


def statuses(sent: list[bytes], answer: bytes) -> list[int]:
    """The statuses of an answer, after a look at what it says."""
    assert not answer or answer.startswith(b"HTTP/"), (sent, answer[:200])
    found = []
    for match in _STATUS.finditer(answer):
        status = int(match[1])
        assert status < 500, (sent, answer[:500])
        head = match[0].lower()
        if status >= 400 and b"content-length: 0\r\n" not in head:
            assert b"content-type: application/problem+json" in head, (sent, answer[:500])
        found.append(status)
    assert b"Traceback" not in answer
    return found


BODY = json.dumps({"name": "raw", "command": "true"}).encode()


def corpus(secret: bytes) -> list[bytes]:
    """Requests that are right, to be broken."""
    head = b"Host: localhost\r\nConnection: close\r\nAuthorization: Bearer " + secret + b"\r\n"
    chunked = b"5\r\n" + BODY[:5] + b"\r\n%x\r\n" % len(BODY[5:]) + BODY[5:] + b"\r\n0\r\n\r\n"
    upgrade = b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
    return [
        b"GET /health HTTP/1.1\r\n" + head + b"\r\n",
        b"GET /api/v1/jobs?limit=2&status=RUNNING HTTP/1.1\r\n" + head + b"\r\n",
        b"GET /api/v1/events?after=0 HTTP/1.1\r\n" + head + b"Last-Event-ID: 3\r\n\r\n",
        b"GET /api/v1/jobs/@latest/wait?timeout=0.01 HTTP/1.1\r\n" + head + b"\r\n",
        b"POST /api/v1/tasks HTTP/1.1\r\n" + head + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY,
        b"POST /api/v1/tasks HTTP/1.1\r\n" + head + b"Transfer-Encoding: chunked\r\n\r\n" + chunked,
        b"POST /api/v1/jobs HTTP/1.1\r\n" + head + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n{}",
        b"GET /api/v1/agents/connect HTTP/1.1\r\n" + head + upgrade + b"\r\n\x82\x83abcd\x01\x02\x03",
        b"OPTIONS * HTTP/1.1\r\n" + head + b"\r\n",
        b"DELETE /api/v1/tokens/9 HTTP/1.1\r\n" + head + b"Origin: http://localhost\r\n\r\n",
    ]


_BITS = [
    b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b"\xff\xfe", b"%00", b"%", b"HTTP/1.1", b"HTTP/2.0", b"HTTP/1.0", b"0\r\n\r\n", b"\r\n\r\n",
    b"Content-Length: 5\r\n", b"Content-Length: -1\r\n", b"Content-Length: 99999999999999999999\r\n", b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: gzip, chunked\r\n", b"Host: evil.example\r\n", b"Expect: 200-ok\r\n", b"Connection: close\r\n", b"Range: bytes=0-\r\n",
    b"Content-Encoding: gzip\r\n", b"Content-Type: application/yaml\r\n", b"Content-Type: ;;;\r\n", b"Accept: text/html\r\n", b"Cookie: \xf0\x9f\r\n",
    b"FFFFFFFFFFFFFFFFF\r\n", b"-1\r\n", b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"A" * 9_000, b"../" * 40, b"{", b"[" * 600,
]  # fmt: skip


def broken(chance: random.Random, requests: list[bytes]) -> list[bytes]:
    """A request with a few things done to it, in pieces."""
    data = bytearray(chance.choice(requests))
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(7):
            case 0:
                data[at:at] = chance.choice(_BITS)
            case 1:
                del data[at : at + chance.randint(1, 30)]
            case 2:
                data[at : at + 1] = bytes([chance.randrange(256)])
            case 3:
                other = chance.choice(requests)
                data[at:] = other[chance.randrange(len(other)) :]
            case 4:
                line = data.find(b"\r\n", at)
                if line >= 0:
                    data[line + 2 : line + 2] = chance.choice(_BITS)
            case 5:
                del data[at:]
            case 6:
                data[at:at] = chance.randbytes(chance.randint(1, 40))
    cuts = sorted(chance.randrange(len(data) + 1) for _ in range(chance.randint(0, 3)))
    return [bytes(data[begin:end]) for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def test_requests_with_things_done_to_them(cluster: Cluster) -> None:
    chance = random.Random(1)
    requests = [broken(chance, corpus(token(cluster))) for _ in range(1_200)]
    seen: Counter[int] = Counter()
    for sent, answer in zip(requests, asyncio.run(say_all(cluster, requests)), strict=True):
        seen.update(statuses(sent, answer))
    assert seen[400] > 200, seen
    assert seen[200] + seen[201] > 30, seen  # not all that was done to them mattered


def test_noise(cluster: Cluster) -> None:
    chance = random.Random(2)
    requests = [[chance.randbytes(chance.choice((1, 10, 100, 3_000)))] for _ in range(200)]
    requests += [[b"\x16\x03\x01" + chance.randbytes(200)] for _ in range(20)]  # TLS
    requests += [
        [b""],
        [b"\r\n" * 5_000],
        [b"\n"],
        [b" " * 20_000],
        [b"GET"],
        [b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 5_000],
    ]
    for sent, answer in zip(requests, asyncio.run(say_all(cluster, requests)), strict=True):
        assert set(statuses(sent, answer)) <= {400, 404, 405, 421}


def smuggled(cluster: Cluster) -> list[bytes]:
    """Requests whose end is a matter of opinion; to one opinion a second request, a submission, follows."""
    head = b"POST /api/v1/plan HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + token(cluster) + b"\r\n"
    inner = json.dumps({"name": "smuggled", "command": "true"}).encode()
    second = b"POST /api/v1/tasks HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + token(cluster) + b"\r\n"
    second += b"Content-Length: %d\r\n\r\n" % len(inner) + inner
    after = b"0\r\n\r\n" + second
    whole = b"Content-Length: %d\r\n" % len(after)
    ways = [
        whole + b"Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\n" + whole,
        b"Transfer-Encoding : chunked\r\n" + whole,
        b"Transfer-Encoding: xchunked\r\n" + whole,
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n" + whole,
        b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n" + whole,
        b"Transfer-Encoding:\tchunked\r\n" + whole,
        b"X: y\nTransfer-Encoding: chunked\r\n" + whole,
        b"X: y\rTransfer-Encoding: chunked\r\n" + whole,
        b"Transfer-Encoding:\r\n chunked\r\n" + whole,
        b"transfer_encoding: chunked\r\n" + whole,
        b"Transfer-Encoding: \x0bchunked\r\n" + whole,
        b"Transfer-Encoding: chunked, chunked\r\n" + whole,
        b"Content-Length: 5\r\n" + whole,
        whole + b"Content-Length: 5\r\n",
        b"Content-Length: 5, %d\r\n" % len(after),
        b"Content-Length: +5\r\n" + whole,
        b"Content-Length: 0x5\r\n" + whole,
        b"Content-Length : 5\r\n" + whole,
        b"Content-Length: 5\x0b\r\n" + whole,
    ]
    found = [head + way + b"\r\n" + after for way in ways]
    ends = (b"\n", b"\r", b"\n\r", b";\r\n", b";x\n\r\n", b" \r\n", b"\x0b\r\n", b"_\r\n")  # of a chunk's size
    chunks = head + b"Transfer-Encoding: chunked\r\n\r\n2"
    found += [chunks + end + b"{}\r\n" + after.replace(b"0\r\n", b"0" + end, 1) + b"0\r\n\r\n" for end in ends]
    return found


def test_what_could_be_understood_in_two_ways_is_not_acted_upon(cluster: Cluster) -> None:
    requests = [[data] for data in smuggled(cluster)]
    for sent, answer in zip(requests, asyncio.run(say_all(cluster, requests)), strict=True):
        found = statuses(sent, answer)
        assert 201 not in found, (sent, answer)
        assert len(found) <= 1 or found[0] >= 400, (sent, found)
    status, page = cluster.api("GET", "/api/v1/jobs?name=smuggled")
    assert (status, page["items"]) == (200, [])


_ODD = [
    "", " ", "@", "@latest", "@latest.", "@latest.0", "@latest/", "@latest/raw", "@latest/raw.0", "@latest/raw.99999999999999999999", "@latest/raw.-1",
    "@latest/raw.x", "%ff", "%ed%a0%80", "%u0041", "....", "../..", "%2e%2e", "abcd", "ABCD.1", "ffff" * 8, "ffff" * 8 + ".1", "ffff" * 8 + "/x", "-" * 36, "0" * 36, "g" * 32,
    "é", "\u2028", "\U0001f600" * 40, "a" * 3_000, "@latest/" + "n" * 300, "a/b/c", "a%00b", "1.1.1", "١٢٣٤", "①②③④", "\u0660" * 32, "@LATEST", "1e5",
]  # fmt: skip


def test_references_numbers_and_cursors_of_every_kind(cluster: Cluster) -> None:
    """What streams and waits is asked too, and our half is closed when nothing more comes."""
    assert cluster.api("POST", "/api/v1/tasks", {"name": "raw", "command": "true"})[0] == 201
    paths = []
    for odd in _ODD:
        ref = quote(odd, safe="%")
        paths += [
            f"jobs/{ref}",
            f"tasks/{ref}/why",
            f"tasks/{ref}/wait?timeout=30",
            f"jobs/{ref}/events",
            f"jobs/{ref}/logs?follow=1",
        ]
        paths += [f"tasks/{ref}/elements", f"resolve?ref={ref}", f"events?job={ref}&after=0", f"tasks?job={ref}"]
        for name in ("limit", "cursor", "status", "name", "nothing"):
            paths.append(f"jobs?{name}={ref}")
        paths += [
            f"jobs/@latest/wait?timeout={ref}",
            f"events?after={ref}",
            f"tasks/@latest/logs?tail={ref}",
            f"tokens/{ref}",
        ]
    head = (
        b"Host: localhost\r\nConnection: close\r\nAccept: */*\r\nAuthorization: Bearer " + token(cluster) + b"\r\n\r\n"
    )
    requests = [[b"GET /api/v1/" + path.encode() + b" HTTP/1.1\r\n" + head] for path in paths]
    seen: Counter[int] = Counter()
    for sent, answer in zip(requests, asyncio.run(say_all(cluster, requests)), strict=True):
        seen.update(statuses(sent, answer))
    assert seen[400] > 200, seen
    assert seen[404] > 50, seen


HALVES: list[tuple[str, Any]] = [
    ("jobs/@latest/cancel", {"reason": "\ud800"}),
    ("jobs/@latest/retry", {"start": "\udfff"}),
    ("tokens", {"name": "\ud800"}),
    ("backup", {"path": "/tmp/\ud800"}),
    ("gc", {"\ud800": 1}),
    ("tasks", {"command": "true", "env": {"\ud800": "a"}}),
    ("tasks", {"command": "true", "\udfff\ud800": 1}),
    ("jobs", {"tasks": {"\ud800": {"run": "x"}}}),
    ("plan", {"tasks": {"a": {"run": "x", "needs": ["\ud83d"]}}}),
]


@pytest.mark.parametrize(("path", "body"), HALVES)
@pytest.mark.parametrize("padding", [0, 70_000])  # large bodies have a reader of their own
def test_half_a_character_is_no_text(cluster: Cluster, path: str, body: Any, padding: int) -> None:
    status, problem = cluster.api("POST", f"/api/v1/{path}", json.dumps(body).encode() + b" " * padding)
    assert status == 400
    assert "not JSON" in problem["detail"]
    whole = json.dumps({"name": "t", "command": ["echo", "\U0001f600"]}).encode()
    assert cluster.api("POST", "/api/v1/tasks", whole + b" " * padding)[0] == 201


def test_a_copy_of_the_database_goes_only_where_it_is_told(cluster: Cluster, tmp_path: Path) -> None:
    odd = [
        "",
        " ",
        "x\0y",
        "x" * 300,
        "x" * 5_000,
        "\ud800",
        "é",
        "x/y/z",
        ".",
        "..",
        "/dev/null",
        "/proc/self/mem",
        "/",
        "relative",
        "~/x",
    ]
    for name in odd:
        path = name if name.startswith("/") or not name or name[0] in ".r~" else f"{tmp_path}/{name}"
        status, _ = cluster.api("POST", "/api/v1/backup", json.dumps({"path": path}).encode())
        assert status in {200, 400, 404, 409, 422}, (path, status)
