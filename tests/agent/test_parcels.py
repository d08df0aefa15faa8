"""Starts that wait for their packed working folder: the session's dialogue, and the files that an agent keeps."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from aiohttp import web
from session_dialogue import Dialogue, owner_hello, start

from styx.agent.cellar import Cellar, NoParcel
from styx.core.states import Outcome
from styx.errors import Busy, Unreachable
from styx.protocol.messages import Ack, Forget, Recall, Report, Start, Stop
from styx.protocol.owner import (
    Configure,
    OwnerStart,
    OwnerStarted,
    OwnerStop,
    OwnerWatching,
)

SHA = "a" * 64


def packed(message: Start, sha: str = SHA) -> Start:
    return msgspec.structs.replace(message, spec=msgspec.structs.replace(message.spec, archive=sha))


def fetched(talk: Dialogue, sha: str = SHA) -> None:
    talk.take(talk.session.fetched(sha, f"/kept/{sha}", talk.now))


def test_a_start_waits_for_its_parcel_and_others_do_not() -> None:
    talk = Dialogue().joined()
    out = talk.session.received(packed(start(1, 2)), talk.now)
    assert (out.fetch, out.to_owner) == ([SHA], [])
    assert talk.session.received(packed(start(3, task=1)), talk.now).fetch == []  # it is on its way
    talk.says(start(4, task=2))
    assert [run.attempt for run in talk.order(OwnerStart).runs] == [4]
    assert talk.session.waiting == 4
    fetched(talk)
    for attempts in ([1, 2], [3]):
        order = talk.order(OwnerStart)
        assert ([run.attempt for run in order.runs], order.parcel) == (attempts, f"/kept/{SHA}")
    talk.says(packed(start(5, task=3)))  # it is here
    assert talk.order(OwnerStart).parcel == f"/kept/{SHA}"
    assert talk.session.parcels.used == {SHA}
    talk.session.parcels.dropped(SHA)
    assert talk.session.received(packed(start(6, task=4)), talk.now).fetch == [SHA]


def test_what_waits_can_be_given_back_stopped_and_forgotten() -> None:
    talk = Dialogue().joined()
    talk.says(packed(start(1, 2, 3, 4)))
    talk.says(Recall((1,)))
    talk.says(Stop((2,)))
    ended = {ending.attempt: ending for _ in range(2) for ending in talk.expect(Report).ended}
    assert (ended[1].outcome, ended[2].outcome) == (Outcome.REJECTED, Outcome.KILLED)
    talk.says(Ack(2), Forget((1, 2, 3)))
    fetched(talk)
    assert [run.attempt for run in talk.order(OwnerStart).runs] == [4]
    talk.nothing_else()
    assert talk.session.parcels.used == {SHA}
    talk.owner_says(OwnerStarted((4,)))
    talk.says(Stop((4,)))
    talk.order(OwnerStop)


def test_draining_gives_back_what_waits() -> None:
    talk = Dialogue().joined()
    talk.says(packed(start(1)))
    talk.take(talk.session.drain(talk.now))
    talk.server.pop(0)  # the goodbye
    assert talk.expect(Report).ended[0].outcome is Outcome.REJECTED
    fetched(talk)
    talk.nothing_else()
    assert not talk.session.parcels.wanted(SHA)


def test_a_parcel_that_cannot_be_had_is_the_end_of_what_waits() -> None:
    talk = Dialogue().joined()
    talk.says(packed(start(1, 2)))
    talk.take(talk.session.unfetched(SHA, Outcome.EXITED, "it is gone", talk.now))
    assert [(end.attempt, end.code, end.reason) for end in talk.expect(Report).ended] == [
        (1, 126, "it is gone"), (2, 126, "it is gone"),
    ]  # fmt: skip
    talk.says(Ack(1), Forget((1, 2)))
    talk.nothing_else()
    assert talk.session.parcels.used == set()


def test_an_owner_that_comes_back_does_not_lack_what_it_was_never_sent() -> None:
    talk = Dialogue().joined()
    talk.says(packed(start(1)), start(2, task=1))
    talk.order(OwnerStart)
    talk.take(talk.session.owner_gone(talk.now))
    fetched(talk, "b" * 64)
    talk.owner_says(owner_hello(OwnerWatching(2, 0, 0), incarnation="inc"))
    talk.order(Configure)
    talk.nothing_else()  # neither of them is lost
    fetched(talk)
    talk.order(OwnerStart)
    # another owner has lost all, also what still waits
    talk.says(packed(start(3, task=5), "c" * 64))
    talk.owner_says(owner_hello(nonce="n2"))
    assert not talk.session.parcels.coming
    talk.owner.clear()
    fetched(talk, "c" * 64)
    assert talk.owner == []


def test_another_database_wants_nothing_of_it() -> None:
    talk = Dialogue().joined()
    talk.says(packed(start(1)))
    talk.cut()
    talk.dial()
    talk.welcome(incarnation="another")
    assert not talk.session.parcels.wanted(SHA)
    assert talk.session.parcels.used == set()


class Shop:
    """A server that has parcels. `status` 0: as it should be."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.status = 0
        self.cut = 0  # bytes after which it hangs up
        self.asked: list[str] = []

    async def get(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.headers.get("Authorization", ""))
        data = self.kept.get(request.match_info["sha"])
        if self.status or data is None:
            return web.Response(status=self.status or 404)
        response = web.StreamResponse(headers={"Content-Length": str(len(data))})
        await response.prepare(request)
        await response.write(data[: self.cut] if self.cut else data)
        if self.cut:
            assert request.transport is not None
            request.transport.close()
        return response

    def put(self, data: bytes) -> str:
        sha = hashlib.sha256(data).hexdigest()
        self.kept[sha] = data
        return sha


@asynccontextmanager
async def shop() -> AsyncIterator[tuple[Shop, str]]:
    made = Shop()
    app = web.Application()
    app.router.add_get("/api/v1/archives/{sha}", made.get)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield made, f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def token() -> str:
    return "secret"


def test_what_is_kept_is_whole_and_right(tmp_path: Path) -> None:
    async def main() -> None:
        async with shop() as (made, url):
            cellar = Cellar(tmp_path / "c", url, token)
            sha = made.put(os.urandom(3 << 20))
            path = await cellar.fetch(sha)
            assert await asyncio.to_thread(Path(path).read_bytes) == made.kept[sha]
            assert await cellar.fetch(sha) == path
            assert made.asked == ["Bearer secret"]  # once
            other = made.put(b"x" * 100_000)
            made.cut = 1_000
            with pytest.raises(Unreachable, match="in the middle"):
                await cellar.fetch(other)
            made.cut = 0
            for status, kind in ((503, Busy), (429, Busy)):
                made.status = status
                with pytest.raises(kind):
                    await cellar.fetch(other)
            for status, outcome in ((403, Outcome.REJECTED), (404, Outcome.EXITED)):
                made.status = status
                with pytest.raises(NoParcel) as refused:
                    await cellar.fetch(other)
                assert refused.value.outcome is outcome
            made.status = 0
            made.kept[other] = b"y" * 100_000
            with pytest.raises(NoParcel, match="damaged"):
                await cellar.fetch(other)
            with pytest.raises(NoParcel):
                await cellar.fetch("../../etc/passwd")
            assert [entry.name for entry in (tmp_path / "c").iterdir()] == [sha]
        with pytest.raises(Unreachable):
            await cellar.fetch(other)

    asyncio.run(main())


def test_the_oldest_go_when_there_are_too_many(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    folder.mkdir()

    def lay(name: str, at: int) -> str:
        (folder / (name * 64)).write_bytes(bytes(100))
        os.utime(folder / (name * 64), (at, at))
        return name * 64

    a, b = lay("a", 1), lay("b", 2)
    cellar = Cellar(folder, "", token, limit=250)
    c, d = lay("c", 3), lay("d", 4)
    # a and b were there before, and may be needed by what an agent before this one passed on
    assert cellar.tidy({d}, idle=False) == [c]
    e = lay("e", 5)
    assert cellar.tidy({e}, idle=True) == [a, b]
    assert sorted(entry.name for entry in folder.iterdir()) == [d, e]
    assert Cellar(tmp_path / "none", "", token).tidy((), idle=True) == []
