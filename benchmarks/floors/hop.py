"""Floor of one hop of a chain: a websocket round trip to another process, and one synchronous=FULL commit of two rows through
aiosqlite, one after the other. Nothing is scheduled, nothing recorded beyond the two rows.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time

import aiohttp
import aiosqlite
import uvloop
from aiohttp import web


async def _hops(count: int) -> float:
    async def echo(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        connected.set_result(socket)
        await over.wait()
        return socket

    connected: asyncio.Future[web.WebSocketResponse] = asyncio.get_running_loop().create_future()
    over = asyncio.Event()
    app = web.Application()
    app.router.add_get("/", echo)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    peer = await asyncio.create_subprocess_exec(sys.executable, __file__, "--peer", str(port))
    with tempfile.TemporaryDirectory() as folder:
        async with aiosqlite.connect(f"{folder}/floor.db", isolation_level=None) as database:
            await database.execute("PRAGMA journal_mode = WAL")
            await database.execute("PRAGMA synchronous = FULL")
            await database.execute("CREATE TABLE hops (hop INTEGER PRIMARY KEY, state INTEGER)")
            socket = await connected
            begin = time.perf_counter()
            for hop in range(count):
                await socket.send_bytes(b"start")
                await socket.receive_bytes()
                await database.execute("BEGIN")
                await database.execute("INSERT INTO hops VALUES (?, 1), (?, 2)", (2 * hop, 2 * hop + 1))
                await database.execute("COMMIT")
            took = time.perf_counter() - begin
    over.set()
    peer.kill()
    await peer.wait()
    await runner.cleanup()
    return count / took


async def _peer(port: int) -> None:
    async with aiohttp.ClientSession() as session, session.ws_connect(f"http://127.0.0.1:{port}/") as socket:
        async for message in socket:
            await socket.send_bytes(message.data)


def hops_a_second(count: int) -> float:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_hops(count))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--peer"]:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_peer(int(sys.argv[2])))
    else:
        print(hops_a_second(int(sys.argv[1]) if len(sys.argv) > 1 else 2_000))
