"""Peers that mean no good: headers and bodies that never end, bodies that are far too large or would become so, more connections
than there are descriptors. Each is answered or closed within bounds, and nobody else notices."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
from faults_kit import SOAK, ended, faulty, figure, outcomes, scaled, submit, task_of

from styx.api.limits import BODY_SECONDS, HEADER_SECONDS, MAX_BODY
from styx.server.doors import Doors, most_connections
from styx.testing.cluster import Cluster, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(scaled(120, 300))]

DESCRIPTORS = 500  # of the server, so that a test can use them up
HEADERS = scaled(4.0, HEADER_SECONDS)
BODY = scaled(5.0, BODY_SECONDS)
SLOW = 60  # connections of each kind of slowness
MANY = 600

# styx-server with few descriptors and, in the short form, with less patience.
# Heartbeats that hostile peers kept away would be missed for as long as they are there, 8 s; a busy machine may lose some by itself.
PATIENT = {"STYX_HEARTBEAT": "200ms", "STYX_SUSPECT": "3s", "STYX_LOST": "12s"}
PROGRAM = f"""
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, ({DESCRIPTORS}, {DESCRIPTORS}))
if {not SOAK}:
    from styx.api import limits
    limits.HEADER_SECONDS = {HEADERS}
    limits.body.__kwdefaults__["seconds"] = {BODY}
from styx.server.daemon import main
sys.exit(main())
"""


async def answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of what comes; the status is 0 when the connection was closed without a word."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return 0, {}, b""
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
    return int(first.split()[1]), headers, await reader.readexactly(int(headers.get("content-length", 0)))


class Peer:
    """One connection to the server."""

    def __init__(self, cluster: Cluster) -> None:
        self._port = cluster.port
        self.token = (cluster.home / "token").read_text().strip()
        self.reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter

    async def open(self) -> Peer:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    def post(self, *headers: str) -> None:
        lines = ["POST /api/v1/jobs HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json"]
        self.writer.write("\r\n".join([*lines, f"Authorization: Bearer {self.token}", *headers, "", ""]).encode())

    async def trickle(self, data: bytes) -> tuple[int, float]:
        """Send a byte every tenth of a second until the server has had enough; its answer, and how long that took."""
        began = time.monotonic()
        hearing = asyncio.ensure_future(answer(self.reader))
        try:
            while not hearing.done():
                self.writer.write(data)
                await asyncio.wait([hearing], timeout=0.1)
            return (await hearing)[0], time.monotonic() - began
        finally:
            hearing.cancel()
            self.writer.close()


async def health(peer: Peer) -> float:
    """Seconds until /health has answered over a connection that is open already."""
    began = time.monotonic()
    peer.writer.write(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    status, _, body = await answer(peer.reader)
    assert (status, json.loads(body)["status"]) == (200, "healthy")
    return time.monotonic() - began


async def slow(cluster: Cluster) -> tuple[float, float]:
    """Slow headers and slow bodies at the same time: until the last of each was cut off, in seconds."""
    headers = [await Peer(cluster).open() for _ in range(SLOW)]
    bodies = [await Peer(cluster).open() for _ in range(SLOW)]
    for peer in headers:
        peer.writer.write(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n")
    for peer in bodies:
        peer.post("Content-Length: 60000")
    async with asyncio.TaskGroup() as group:
        of_headers = [group.create_task(peer.trickle(b"x")) for peer in headers]
        of_bodies = [group.create_task(peer.trickle(b" ")) for peer in bodies]
    assert {task.result()[0] for task in of_headers} <= {0, 400, 408}
    assert {task.result()[0] for task in of_bodies} == {408}
    return max(task.result()[1] for task in of_headers), max(task.result()[1] for task in of_bodies)


async def giant(cluster: Cluster) -> None:
    """Announced, endless, and packed small."""
    peer = await Peer(cluster).open()
    peer.post("Content-Length: 10000000000")
    assert (await answer(peer.reader))[0] == 413
    peer.writer.close()
    peer = await Peer(cluster).open()
    peer.post("Transfer-Encoding: chunked")
    hearing = asyncio.ensure_future(answer(peer.reader))
    chunk = b"100000\r\n" + bytes(1 << 20) + b"\r\n"
    sent = 0
    while not hearing.done() and sent < 4 * MAX_BODY:
        peer.writer.write(chunk)
        sent += 1 << 20
        await peer.writer.drain()
        await asyncio.sleep(0)
    assert (await hearing)[0] == 413
    assert sent < 4 * MAX_BODY, "it went on reading"
    peer.writer.close()
    peer = await Peer(cluster).open()
    bomb = gzip.compress(b'{"name":"' + b"a" * (1 << 26))
    peer.post(f"Content-Length: {len(bomb)}", "Content-Encoding: gzip")
    peer.writer.write(bomb)
    assert (await answer(peer.reader))[0] == 415
    peer.writer.close()


async def large_together(cluster: Cluster) -> Counter[int]:
    """As large as is allowed, a dozen at the same time."""
    body = json.dumps({"name": "large", "tasks": {f"t{n}": {"run": "true"} for n in range(1_000)}}).encode()
    body += b" " * (MAX_BODY - len(body) - 1)

    async def one() -> int:
        peer = await Peer(cluster).open()
        try:
            peer.post(f"Content-Length: {len(body)}", "Expect: 100-continue")
            status, headers, _ = await answer(peer.reader)
            if status == 100:
                peer.writer.write(body)
                status, headers, _ = await answer(peer.reader)
            assert status != 503 or headers["retry-after"] == "2"
            return status
        finally:
            peer.writer.close()

    return Counter(await asyncio.gather(*(one() for _ in range(12))))


async def many(cluster: Cluster) -> Counter[int]:
    """More connections than the server has descriptors: what those are told that are too many."""
    peers: list[Peer] = []
    told: Counter[int] = Counter()
    try:
        for _ in range(MANY):
            peer = await Peer(cluster).open()
            peer.writer.write(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            peers.append(peer)
        for peer in peers:
            status, headers, _ = await answer(peer.reader)
            assert status != 503 or headers["retry-after"] == "5"
            told[status] += 1
    finally:
        for peer in peers:
            peer.writer.close()
    return told


async def attack(cluster: Cluster) -> None:
    assert cluster.server is not None
    server = psutil.Process(cluster.server.pid)
    friend = await Peer(cluster).open()
    slowest = 0.0
    over = asyncio.Event()

    async def be_friendly() -> None:
        nonlocal slowest
        while not over.is_set():
            slowest = max(slowest, await health(friend))
            await asyncio.sleep(0.1)

    async with asyncio.TaskGroup() as group:
        group.create_task(be_friendly())
        of_headers, of_bodies = await slow(cluster)
        await giant(cluster)
        calm = server.memory_info().rss
        together = await large_together(cluster)
        told = await many(cluster)
        over.set()
    friend.writer.close()
    figure(
        "hostile peers",
        slow_headers_cut_after=round(of_headers, 1),
        slow_bodies_cut_after=round(of_bodies, 1),
        large_bodies=dict(together),
        connections=dict(told),
        memory_mb=round(server.memory_info().rss / 1e6),
        memory_before_mb=round(calm / 1e6),
        health_slowest_ms=round(1_000 * slowest),
    )
    assert of_headers < HEADERS + 5
    assert of_bodies < BODY + 5
    assert set(together) == {201, 503}
    assert sum(together.values()) == 12
    assert set(told) <= {200, 503, 0}
    assert told[503] > 0
    assert told[200] > DESCRIPTORS - 256 - 20
    assert told[0] < MANY / 10, "most were not told why"
    assert slowest < 5.0


def test_hostile_peers(tmp_path: Path) -> None:
    with faulty(tmp_path, **PATIENT) as cluster:
        go = tmp_path / "go"
        cluster.start_server(program=("python", "-c", PROGRAM))
        cluster.start_agent("a", cpus=2)
        eventually("the agent is there", lambda: cluster.agents_up(1))
        steady = submit(cluster, {"name": "steady", "run": f"while ! test -e {go}; do sleep 0.1; done"})
        asyncio.run(attack(cluster))
        eventually("the doors are open again", cluster.healthy)
        eventually("the agent is there still", lambda: cluster.agents_up(1))
        go.touch()
        assert eventually("the job ends", lambda: ended(cluster, steady))["status"] == "SUCCEEDED"
        assert outcomes(task_of(cluster, steady)) == ["EXITED"]
        log = cluster.log("server")
        assert "agent suspect" not in log
        assert "Traceback" not in log


def test_doors_count_only_who_is_inside() -> None:
    """As many as may be in, then refusals; somebody who leaves makes room for one."""

    class Server:
        def __init__(self) -> None:
            self.connections: list[asyncio.Protocol] = []

        def __call__(self) -> asyncio.Protocol:
            self.connections.append(asyncio.Protocol())
            return self.connections[-1]

    server = Server()
    doors = Doors(server, 3)  # type: ignore[arg-type]
    inside = [doors() for _ in range(3)]
    assert inside == server.connections
    assert doors() not in server.connections
    server.connections.remove(inside[1])
    assert doors() in server.connections
    assert doors() not in server.connections
    assert most_connections() >= 16
