"""Tokens: what is kept of them, which agent they stand for, and that nothing outlives them."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

import aiohttp
import pytest
from security_kit import Site, dialled, found_in, hello, refusal, run, site

from styx.api.openings import OPENINGS
from styx.errors import UsageError
from styx.protocol.document import read_job
from styx.protocol.joining import JOIN
from styx.protocol.messages import Heartbeat, Welcome
from styx.testing.agents import Act, FakeAgent

KEY = "k" * 64


# --- at rest -------------------------------------------------------------------------------------------------------------


def test_only_the_digest_of_a_secret_is_kept(tmp_path: Path) -> None:
    async def main() -> None:
        async with site(tmp_path) as here:
            made = await here.token("user")
            join = await here.token("join", single_use=True)
            assert made.secret.startswith("styx_")
            assert join.secret.startswith(JOIN)
            assert len(made.secret.removeprefix("styx_")) == len(join.secret.removeprefix(JOIN)) == 43  # 256 bits
            rows = {row.token: row for row in await here.plane.shell.store.tokens()}
            assert rows[made.token_id].digest == hashlib.sha256(made.secret.encode()).digest()
            assert [view.secret for view in await here.plane.tokens()] == ["", ""]
            for secret in (made.secret, join.secret):
                assert found_in(tmp_path, secret.removeprefix("styx_")) == []

    run(main())


@pytest.mark.parametrize(
    ("role", "options", "wrong"),
    [
        ("join", {}, "one agent or for a pool"),
        ("join", {"pool": "a b"}, "name of a pool"),
        ("user", {"pool": "p"}, "has no pool"),
        ("agent", {"single_use": True}, "no single-use"),
    ],
)
def test_what_makes_no_sense_is_refused(role: str, options: dict[str, object], wrong: str) -> None:
    async def main() -> None:
        async with site() as here:
            with pytest.raises(UsageError, match=wrong):
                await here.token(role, **options)

    run(main())


# --- what is open ends with its token ------------------------------------------------------------------------------------


async def opened(here: Site, secret: str) -> list[asyncio.Task[object]]:
    """Everything that can stay open, opened: each task ends when its connection does."""
    job = (await here.plane.submit_spec(read_job({"run": "hold"}))).job_id
    before = len(here.serving.app[OPENINGS])

    async def reading(path: str, **headers: str) -> object:
        try:
            async with here.request("GET", path, secret, headers=headers) as answer:
                if answer.status == 401:
                    return None  # it was cut off before the answer began, and aiohttp asked again by itself
                return await answer.read()
        except (aiohttp.ClientPayloadError, aiohttp.ClientConnectionError):
            return None  # cut off

    tasks = [
        asyncio.create_task(reading("/events")),
        asyncio.create_task(reading(f"/jobs/{job}/events")),
        asyncio.create_task(reading(f"/jobs/{job}/logs?follow=1", Accept="text/plain")),
        asyncio.create_task(reading(f"/jobs/{job}/logs?follow=1", Accept="text/event-stream")),
        asyncio.create_task(reading(f"/jobs/{job}/wait?timeout=300")),
    ]
    while len(here.serving.app[OPENINGS]) < before + len(tasks):  # noqa: ASYNC110 - the server is in this loop
        await asyncio.sleep(0)
    return tasks


def test_a_revoked_token_closes_what_is_open(tmp_path: Path) -> None:
    async def main() -> None:
        async with site() as here:
            holder = FakeAgent(here.plane.shell.hub, script=lambda spec, run: Act(hold=True))
            await holder.connect()
            admin, mine, theirs = await here.token("admin"), await here.token("viewer"), await here.token("viewer")
            closed = await opened(here, mine.secret)
            stays = await opened(here, theirs.secret)
            await here.revoke(admin.secret, mine.token_id)
            async with asyncio.timeout(5):
                await asyncio.wait(closed)
            assert [task.result() for task in closed] == [None] * len(closed)
            assert not [task for task in stays if task.done()]
            # and by whatever else can write into the store
            assert await here.plane.revoke_token(theirs.token_id)
            async with asyncio.timeout(5):
                await asyncio.wait(stays)
            await holder.disconnect()

    run(main())


def test_an_expired_token_closes_what_is_open() -> None:
    async def main() -> None:
        async with site() as here:
            holder = FakeAgent(here.plane.shell.hub, script=lambda spec, run: Act(hold=True))
            await holder.connect()
            mine = await here.token("viewer", ttl=1.0)
            await asyncio.wait(await opened(here, mine.secret))
            async with here.request("GET", "/jobs", mine.secret) as answer:
                assert answer.status == 401
            await holder.disconnect()

    run(main())


def test_an_agent_is_told_and_cut_off() -> None:
    async def main() -> None:
        async with site() as here:
            admin, mine, other = await here.token("admin"), await here.token("agent"), await here.token("agent")
            async with dialled(here, mine.secret) as agent, dialled(here, other.secret) as stays:
                for one, name in ((agent, "a"), (stays, "b")):
                    await one.say(hello(name))
                    assert isinstance(await one.answer(), Welcome)
                await here.revoke(admin.secret, mine.token_id)
                async with asyncio.timeout(5):
                    assert await agent.closed() == 1008
                await stays.say(Heartbeat(1))
                assert await stays.hear()
            with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                async with dialled(here, mine.secret):
                    pass
            assert caught.value.status == 401

    run(main())


def test_an_agent_that_does_not_answer_the_close_is_cut_off_all_the_same() -> None:
    async def main() -> None:
        async with site() as here:
            admin, mine = await here.token("admin"), await here.token("agent")
            port = here.serving.port
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(
                f"GET /api/v1/agents/connect HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {mine.secret}\r\n"
                "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
            )
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
            await here.revoke(admin.secret, mine.token_id)
            async with asyncio.timeout(5):
                await reader.read()  # until the end, which comes without our help
            writer.close()

    run(main())


# --- which agent a token stands for --------------------------------------------------------------------------------------


def test_an_agents_token_is_for_the_agent_that_used_it_first(tmp_path: Path) -> None:
    async def main() -> None:
        async with site(tmp_path) as here:
            one, two, admin = await here.token("agent"), await here.token("agent"), await here.token("admin")
            assert await refusal(here, one.secret, hello("a")) == ""
            assert await refusal(here, one.secret, hello("a")) == ""
            assert "belongs to agent a" in await refusal(here, one.secret, hello("b"))
            assert "known here" in await refusal(here, two.secret, hello("a"))  # nor can an id be taken over
            assert await refusal(here, two.secret, hello("b")) == ""
            for name in ("a", "b", "c"):
                assert await refusal(here, admin.secret, hello(name)) == ""
            assert {view.agent for view in await here.plane.tokens()} == {"a", "b", ""}
            async with here.request("GET", "/jobs", one.secret) as answer:
                assert answer.status == 403

    run(main())


def test_agents_of_a_pool_carry_its_label_and_nobody_else_does() -> None:
    async def main() -> None:
        async with site() as here:
            join, plain = await here.token("join", pool="gpu"), await here.token("agent")
            for name in ("a", "b"):
                status, made = await here.enrol(join.secret, name, KEY + name)
                assert status == 201
                assert await refusal(here, made["secret"], hello(name, pool="mine", zone="z")) == ""
            assert await refusal(here, plain.secret, hello("c", pool="gpu", zone="z")) == ""
            labels = {agent.agent_id: agent.labels for agent in await here.plane.agents()}
            assert labels == {"a": {"pool": "gpu", "zone": "z"}, "b": {"pool": "gpu", "zone": "z"}, "c": {"zone": "z"}}

    run(main())


def test_a_single_use_token_lets_in_one_agent_however_often_it_asks(tmp_path: Path) -> None:
    async def main() -> None:
        async with site(tmp_path) as here:
            join = await here.token("join", single_use=True)
            first = await here.enrol(join.secret, "a", KEY)
            again = await here.enrol(join.secret, "a", KEY)  # its answer was lost
            assert (first[0], again[0]) == (201, 201)
            assert 0 < first[1]["ttl"] <= 86_400
            for agent, key in (("b", KEY), ("a", "x" * 64)):
                status, problem = await here.enrol(join.secret, agent, key)
                assert (status, problem["code"]) == (403, "not-allowed")
                assert KEY not in str(problem)
            for secret in (first[1]["secret"], again[1]["secret"]):
                assert await refusal(here, secret, hello("a")) == ""
                assert "belongs to agent a" in await refusal(here, secret, hello("b"))
            # a join token opens nothing else
            async with here.request("GET", "/agents/connect", join.secret) as answer:
                assert answer.status == 403
            # and a credential makes no credentials
            assert (await here.enrol(first[1]["secret"], "a", KEY))[0] == 403

    run(main())


def test_an_id_cannot_be_enrolled_over_somebody() -> None:
    async def main() -> None:
        async with site() as here:
            admin, own, join = await here.token("admin"), await here.token("agent"), await here.token("join", pool="p")
            assert await refusal(here, admin.secret, hello("local")) == ""
            assert await refusal(here, own.secret, hello("own")) == ""
            assert (await here.enrol(join.secret, "joined", KEY))[0] == 201
            for agent, why in (("local", "never joined"), ("own", "token of its own"), ("joined", "another key")):
                status, problem = await here.enrol(join.secret, agent, "z" * 64)
                assert (status, why in problem["detail"]) == (403, True), problem
            for agent, key in (("a/b", KEY), ("", KEY), ("fine", "short")):
                assert (await here.enrol(join.secret, agent, key))[0] == 400

    run(main())


def test_two_agents_that_race_for_a_single_use_token(tmp_path: Path) -> None:
    async def main() -> None:
        async with site(tmp_path) as here:
            join = await here.token("join", single_use=True)
            answers = await asyncio.gather(*(here.enrol(join.secret, f"agent-{n}", KEY + str(n)) for n in range(8)))
            assert sorted(status for status, _ in answers) == [201] + [403] * 7

    run(main())


def test_a_credential_is_renewed_over_its_link() -> None:
    async def main() -> None:
        async with site(credential=3_000) as here:
            join = await here.token("join", single_use=True)
            _, made = await here.enrol(join.secret, "a", KEY)
            async with dialled(here, made["secret"]) as agent:
                await agent.say(hello("a"))
                while len(agent.credentials) < 3:  # after one and a half lives the link is still there
                    assert await agent.hear() is not None
            with pytest.raises(aiohttp.WSServerHandshakeError):
                async with dialled(here, made["secret"]):
                    pass
            assert "***" in repr(agent.credentials[0])
            assert await refusal(here, agent.credentials[-1].secret, hello("a")) == ""
            assert len(await here.plane.tokens()) < 6  # the old ones are gone

    run(main())


def test_a_revoked_agent_stays_out_until_a_new_token_lets_it_in() -> None:
    async def main() -> None:
        async with site() as here:
            admin, join = await here.token("admin"), await here.token("join", pool="p")
            _, old = await here.enrol(join.secret, "a", KEY)
            _, made = await here.enrol(join.secret, "a", KEY)
            credential = next(view for view in await here.plane.tokens() if view.joined_by == join.token_id)
            async with dialled(here, made["secret"]) as agent:
                await agent.say(hello("a"))
                assert isinstance(await agent.answer(), Welcome)
                await here.revoke(admin.secret, credential.token_id)
                async with asyncio.timeout(5):
                    assert await agent.closed() == 1008
            for secret in (old["secret"], made["secret"]):
                with pytest.raises(aiohttp.WSServerHandshakeError):
                    async with dialled(here, secret):
                        pass
            status, problem = await here.enrol(join.secret, "a", KEY)
            assert (status, "was revoked" in problem["detail"]) == (403, True)
            assert (await here.enrol(join.secret, "b", KEY))[0] == 201  # others are not concerned
            fresh = await here.token("join", pool="p")
            status, made = await here.enrol(fresh.secret, "a", "n" * 64)  # its folder may be gone
            assert status == 201
            assert await refusal(here, made["secret"], hello("a")) == ""
            await here.revoke(admin.secret, fresh.token_id)
            assert (await here.enrol(fresh.secret, "c", KEY))[0] == 401

    run(main())
