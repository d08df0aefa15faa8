"""Archives over HTTP and in their room: hashes are checked, quotas hold, and only who needs one is given it."""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

import styx
from styx.core.world import World
from styx.errors import Busy, NotFound, SpecError, UsageError
from styx.protocol.document import read_task
from styx.runtime import archives as room
from styx.runtime.archives import Archives
from styx.runtime.vault import Vault
from styx.server.serve import Serving, serve_plane
from styx.store.memory import MemoryStore


async def blocks(*data: bytes) -> AsyncIterator[bytes]:
    for one in data:
        yield one


def named(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def archives(folder: Path, **more: Any) -> Archives:
    return Archives(folder, MemoryStore(), World(), Vault(), **more)


def test_what_is_kept_is_what_its_name_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        kept = archives(tmp_path / "a")
        data = os.urandom(3 << 20)
        sha = named(data)
        with pytest.raises(NotFound):
            await kept.size(sha)
        assert await kept.receive(sha, len(data), blocks(data[:1000], data[1000:])) is True
        assert await kept.receive(sha, len(data), blocks()) is False  # it is here: nothing is read
        assert await kept.size(sha) == len(data)
        assert (tmp_path / "a" / f"{sha}.tar.gz").read_bytes() == data
        for name, content in (
            (sha.replace(sha[0], "x", 1), b""),
            ("../x", b""),
            (named(b"1"), b"2"),
            (sha.upper(), data),
        ):
            with pytest.raises(UsageError):
                await kept.receive(name, 0, blocks(content))
        monkeypatch.setattr(room, "MOST", 10)
        with pytest.raises(UsageError, match="long"):
            await kept.receive(named(b"x" * 20), 0, blocks(b"x" * 5, b"x" * 15))
        with pytest.raises(UsageError, match="long"):
            await kept.receive(named(b"x" * 20), 20, blocks(b"x" * 20))
        assert [path.name for path in (tmp_path / "a").iterdir()] == [f"{sha}.tar.gz"]

        async def broken() -> AsyncIterator[bytes]:
            yield b"x"
            raise ConnectionResetError

        with pytest.raises(ConnectionResetError):
            await kept.receive(named(b"y"), 0, broken())
        assert len(list((tmp_path / "a").iterdir())) == 1

    asyncio.run(main())


def test_what_nobody_needs_makes_room_and_what_is_needed_does_not(tmp_path: Path) -> None:
    async def main() -> None:
        async with styx.ControlPlane.open(tmp_path / "home", agent=False) as plane:
            kept = plane.archives
            assert kept is not None
            folder = tmp_path / "home" / "archives"
            contents = [bytes([number]) * 1_000 for number in range(4)]
            for age, data in enumerate(contents):
                await kept.receive(named(data), 1_000, blocks(data))
                old = time.time() - 90 * 86_400 + age
                os.utime(folder / f"{named(data)}.tar.gz", (old, old))
            await plane.submit_spec(read_task({"run": "true", "archive": named(contents[0])}))
            with pytest.raises(SpecError, match="is not here"):
                await plane.submit_spec(read_task({"run": "true", "archive": named(b"never sent")}))
            os.utime(folder / f"{named(contents[0])}.tar.gz", (1, 1))
            await kept.size(named(contents[3]))  # somebody asked, and may be about to submit
            assert (await plane.gc(days=30, keep_bytes=10**12))["bytes"] == 2_000
            left = {path.name for path in folder.iterdir()}
            assert left == {f"{named(contents[number])}.tar.gz" for number in (0, 3)}
            small = Archives(folder, plane.shell.store, plane.shell.engine.world, Vault(), quota=2_500)
            with pytest.raises(Busy):
                await small.receive(named(b"new"), 1_000, blocks(b"new"))
            os.utime(folder / f"{named(contents[3])}.tar.gz", (1, 1))
            assert await small.receive(named(b"new"), 3, blocks(b"new"))  # now there is room to be made

    asyncio.run(main())


def test_whether_a_folder_is_worth_packing(tmp_path: Path) -> None:
    kept = archives(tmp_path)
    assert not kept.wanted("here")
    assert kept.wanted("")
    kept.provisions = True
    assert kept.wanted("here")


def test_over_http(tmp_path: Path) -> None:
    async def main() -> None:
        async with styx.ControlPlane.open(tmp_path / "home", agent=False) as plane:
            serving: Serving = await serve_plane(plane, port=0, grace=0.1)
            try:
                async with aiohttp.ClientSession() as session:
                    await over_http(plane, serving.url, session)
            finally:
                await serving.stop()

    async def over_http(plane: styx.ControlPlane, url: str, session: aiohttp.ClientSession) -> None:
        secrets = {
            role: (await plane.add_token(role, role=role)).secret for role in ("user", "viewer", "agent", "admin")
        }

        async def ask(method: str, path: str, role: str, **more: Any) -> int:
            headers = {"Authorization": f"Bearer {secrets.get(role, role)}", **more.pop("headers", {})}
            async with session.request(method, f"{url}/api/v1/archives{path}", headers=headers, **more) as answer:
                body = await answer.read()
                if answer.status >= 400 and method != "HEAD":
                    assert answer.content_type == "application/problem+json", body
                return answer.status

        data = os.urandom(300_000)
        sha = named(data)
        assert await ask("HEAD", f"/{sha}", "user") == 404
        assert await ask("PUT", f"/{sha}", "viewer", data=data) == 403
        assert await ask("PUT", f"/{sha}", "user", data=data[1:]) == 400
        assert await ask("PUT", f"/{sha}", "user", data=data, headers={"Content-Encoding": "gzip"}) == 415
        assert await ask("PUT", f"/{sha}", "user", data=data) == 201
        assert await ask("PUT", f"/{sha}", "user", data=data) == 200
        assert await ask("HEAD", f"/{sha}", "user") == 200
        assert await ask("GET", "?host=here", "user") == 200
        # nobody gets it back but who is to run it
        assert await ask("GET", f"/{sha}", "user") == 403
        assert await ask("GET", f"/{sha}", "agent") == 403
        assert await ask("GET", f"/{sha}", "admin") == 200
        assert await ask("GET", f"/{named(b'')}", "admin") == 404
        assert plane.archives is not None
        ticket = await plane.archives.ticket(sha, 1)
        for wrong in ("nonsense", ticket):  # there is no attempt 1
            assert await ask("GET", f"/{sha}/for/1", wrong) == 404
        assert await ask("GET", f"/{sha}/for/x", ticket) == 404

    asyncio.run(main())


def test_an_agent_is_given_what_is_assigned_to_it_now(tmp_path: Path) -> None:
    """An agent that says exactly what a test wants; the ticket of a pod is judged by the same attempt."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "security"))
    from security_kit import dialled, hello, site

    from styx.protocol.messages import Start

    async def main() -> None:
        async with asyncio.timeout(60), site(tmp_path / "home") as place:
            kept = place.plane.archives
            assert kept is not None
            data, other = b"one", b"other"
            for content in (data, other):
                await kept.receive(named(content), len(content), blocks(content))
            mine, theirs = await place.token("agent"), await place.token("agent")
            async with dialled(place, mine.secret) as agent, dialled(place, theirs.secret) as idle:
                await agent.say(hello("a", kind="mine"))
                await agent.answer()
                await idle.say(hello("b"))
                await idle.answer()
                document = {
                    "run": "true",
                    "archive": named(data),
                    "host": "elsewhere",
                    "resources": {"labels": {"kind": "mine"}},
                }
                await place.plane.submit_spec(read_task(document))
                started: Start | None = None
                while started is None:
                    started = next((m for m in await agent.hear() or [] if isinstance(m, Start)), None)
                assert (started.spec.archive, started.spec.workdir) == (named(data), "")
                number = started.runs[0].attempt

                async def status(secret: str, path: str) -> int:
                    async with place.request("GET", f"/archives/{path}", secret) as answer:
                        return int(answer.status)

                assert await status(mine.secret, named(data)) == 200
                assert await status(mine.secret, named(other)) == 403
                assert await status(theirs.secret, named(data)) == 403
                ticket = await kept.ticket(named(data), number)
                assert await status(ticket, f"{named(data)}/for/{number}") == 200
                assert await status(ticket, f"{named(other)}/for/{number}") == 404
                assert await status(ticket, f"{named(data)}/for/{number + 1}") == 404
                with pytest.raises(NotFound):
                    await kept.of_ticket(number, ticket + "x", named(data))

    asyncio.run(main())
