"""The client against a scripted server: errors come back as themselves, and broken connections are mended."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
from api_fakes import SECRETS, FakePlane, served
from hypothesis import given, settings
from hypothesis import strategies as st

from styx.api.sse import Stream
from styx.client.client import Client
from styx.client.credentials import is_local, token_for
from styx.client.document import document_of
from styx.client.failures import error_of
from styx.client.sse import Parser
from styx.core.resources import Resources
from styx.core.spec import Backoff, JobSpec, Priority, TaskSpec, When
from styx.errors import (
    Busy,
    Conflict,
    NoFit,
    NotAllowed,
    NotFound,
    Problem,
    SpecError,
    StoreFull,
    StyxError,
    Unreachable,
    UsageError,
    WaitTimeout,
)
from styx.protocol.document import read_job, read_task
from styx.protocol.http import LogChunk

SPEC = JobSpec("t", (TaskSpec("t", ("echo", "hi")),), single=True)
DAG = JobSpec("j", (TaskSpec("a", ("true",), shell=True), TaskSpec("b", ("true",), needs=("a",))))

names = st.text("abcdefghij_", min_size=1, max_size=8)
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
pairs = st.dictionaries(names, texts, max_size=3).map(lambda found: tuple(found.items()))
labels = st.dictionaries(names, names, max_size=3).map(lambda found: tuple(sorted(found.items())))
tasks = st.builds(
    TaskSpec,
    name=names,
    command=st.lists(texts.filter(str.strip), min_size=1, max_size=3).map(tuple),
    array=st.integers(0, 10_000),
    resources=st.builds(
        Resources,
        cpus=st.integers(1, 64_000),
        memory=st.integers(0, 1 << 40),
        disk=st.integers(0, 1 << 40),
        accelerators=st.dictionaries(st.sampled_from(["A100", "T4"]), st.integers(1, 8), max_size=2).map(
            lambda found: tuple(sorted(found.items()))
        ),
    ),
    labels=labels,
    env=pairs,
    workdir=st.sampled_from(["", "/tmp", "/a b/c"]),
    retries=st.integers(0, 1_000),
    backoff=st.builds(
        Backoff, initial=st.integers(0, 1_000), factor=st.floats(1, 100), limit=st.integers(1_000, 100_000)
    ),
    timeout=st.integers(0, 10**9),
    grace=st.integers(0, 10**6),
    max_lost=st.integers(0, 1_000),
    when=st.sampled_from(When),
    allow_failure=st.booleans(),
)


@given(
    found=st.lists(tasks, min_size=1, max_size=4, unique_by=lambda task: task.name),
    priority=st.sampled_from(Priority),
    deadline=st.integers(0, 10**9),
    marks=labels,
)
@settings(max_examples=150, deadline=None)
def test_a_document_gives_the_same_spec_again(
    found: list[TaskSpec], priority: Priority, deadline: int, marks: Any
) -> None:
    common: dict[str, Any] = {"priority": priority, "deadline": deadline, "host": "h", "cwd": "/x", "labels": marks}
    job = JobSpec("job", tuple(found), **common)
    assert read_job(document_of(job)) == job
    one = JobSpec(found[0].name, (found[0],), single=True, **common)
    assert read_task(document_of(one)) == one


def test_needs_and_shell_lines_survive() -> None:
    assert read_job(document_of(DAG)) == DAG


@given(st.lists(st.integers(1, 30), max_size=30))
def test_events_arrive_whole_in_whatever_pieces(cuts: list[int]) -> None:
    data = b': hi\n\nid: 1\nevent: a\ndata: {"x":1}\n\ndata: one\ndata: two\r\n\r\n: beat\n\nid: 7\nevent: end\ndata: {}\n\n'
    parser, events, at = Parser(), [], 0
    for cut in [*cuts, len(data)]:
        events += [(event.event, event.data, event.ident) for event in parser.feed(data[at : at + cut])]
        at += cut
    assert events == [("a", b'{"x":1}', "1"), ("message", b"one\ntwo", "1"), ("end", b"{}", "7")]


def test_every_error_comes_back_as_itself() -> None:
    problems = [Problem("$.tasks.a", "wrong", "do this", 3, 4)]
    errors: list[StyxError] = [
        SpecError(problems),
        NoFit(problems),
        NotFound("no such job"),
        Conflict("not now", hint="later"),
        Busy("full", retry_after=9),
        StoreFull("no room"),
        UsageError("what?"),
    ]

    async def main() -> None:
        async with served() as server, Client(server.url, SECRETS["admin"]) as client:
            for error in errors:
                server.plane.raises = error
                with pytest.raises(type(error)) as caught:
                    await client.submit_spec(DAG)
                assert type(caught.value) is type(error)
                assert caught.value.exit_code == error.exit_code
                assert caught.value.message == error.message
                assert caught.value.hint == error.hint
                if isinstance(error, SpecError | NoFit):
                    assert caught.value.problems == problems  # type: ignore[attr-defined]
                if isinstance(error, Busy):
                    assert caught.value.retry_after == 9  # type: ignore[attr-defined]
            server.plane.raises = ZeroDivisionError()
            with pytest.raises(StyxError) as caught:
                await client.submit_spec(DAG)
            assert caught.value.exit_code == 1

    asyncio.run(main())


def test_tokens_are_needed() -> None:
    async def main() -> None:
        async with served() as server:
            for token in ("", "wrong", SECRETS["agent"]):
                async with Client(server.url, token) as client:
                    with pytest.raises(NotAllowed) as caught:
                        await client.jobs()
                    assert caught.value.exit_code == 77
            async with Client(server.url, "") as client:
                assert (await client.health()).status == "healthy"
                server.plane.state = "full"
                assert (await client.health()).reason == "the disk is full"

    asyncio.run(main())


def test_nobody_there() -> None:
    async def main() -> None:
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
            async with Client(f"http://127.0.0.1:{bound.getsockname()[1]}", "x") as client:
                with pytest.raises(Unreachable) as caught:
                    await client.jobs()
                assert caught.value.exit_code == 69
                with pytest.raises(Unreachable):
                    await anext(client.events())

    asyncio.run(main())


@pytest.mark.parametrize("url", ["", "127.0.0.1:8080", "ftp://x", "http://", "http://x:99999", "http://x/?a=b"])
def test_addresses_are_checked(url: str) -> None:
    with pytest.raises(UsageError):
        Client(url, "x")


def test_something_else_on_the_port() -> None:
    assert isinstance(error_of(502, "text/html", b"<h1>Bad Gateway"), Unreachable)
    assert isinstance(error_of(404, "text/plain", b"nope"), Unreachable)
    assert isinstance(error_of(400, "application/problem+json", b"{"), Unreachable)


def test_the_local_token_goes_to_this_host_only(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STYX_TOKEN", raising=False)
    monkeypatch.setenv("STYX_HOME", str(tmp_path))
    assert token_for("http://127.0.0.1:1") == ""
    (tmp_path / "token").write_text("styx_secret\n")
    assert token_for("http://127.0.0.1:1") == "styx_secret"
    assert token_for("http://localhost:1") == "styx_secret"
    assert token_for("http://styx.example:1") == ""
    assert not is_local("http://127.0.0.1.example")
    monkeypatch.setenv("STYX_TOKEN", "styx_other")
    assert token_for("http://styx.example:1") == "styx_other"


class Dropping(FakePlane):
    """Accepts, and loses its answer the first time."""

    def __init__(self) -> None:
        super().__init__()
        self.drops = 1

    async def submit_spec(self, spec: JobSpec, *, key: str = "", secrets: Any = None) -> Any:
        answer = await super().submit_spec(spec, key=key, secrets=secrets)
        if self.drops:
            self.drops -= 1
            raise ConnectionResetError
        return answer


def test_a_lost_answer_does_not_double_a_job() -> None:
    async def main() -> None:
        async with served(Dropping()) as server, Client(server.url, SECRETS["user"]) as client:
            await client.jobs()  # it has met the server
            made = await client.submit_spec(SPEC)
            assert made.job_id == "job-0"
            assert not made.again
            assert len(server.plane.specs) == 1
            assert [call[0] for call in server.plane.calls if call[0] == "submit"] == ["submit", "submit"]

    asyncio.run(main())


def test_wait_survives_a_restart() -> None:
    async def main() -> None:
        plane = FakePlane()
        server = served(plane)
        first = await server.__aenter__()
        async with Client(first.url, SECRETS["user"]) as client:
            made = await client.submit_spec(SPEC)
            waiting = asyncio.create_task(client.wait(made.job_id))
            await plane.called("wait")
            await server.__aexit__(None, None, None)
            async with served(plane, port=first.port):
                plane.finish(made.job_id, code=3)
                result = await waiting
                assert (result.exit_code, result.ok) == (3, False)

    asyncio.run(main())


def test_wait_gives_up_in_time() -> None:
    async def main() -> None:
        async with served() as server, Client(server.url, SECRETS["user"]) as client:
            made = await client.submit_spec(SPEC)
            with pytest.raises(WaitTimeout):
                await client.wait(made.job_id, timeout=0.05)

    asyncio.run(main())


def test_events_go_on_behind_a_restart() -> None:
    async def main() -> None:
        plane = FakePlane()
        plane.emit("task.ready", job="j")
        server = served(plane)
        first = await server.__aenter__()
        async with Client(first.url, SECRETS["viewer"]) as client:
            events = client.events(after=0)
            seen = [(await anext(events)).id]
            await server.__aexit__(None, None, None)
            plane.emit("task.ready", job="k")  # while nobody could hear it
            async with served(plane, port=first.port):
                plane.emit("job.ended", job="j")
                seen += [(await anext(events)).id, (await anext(events)).id]
            assert seen == [1, 2, 3]
            await events.aclose()  # type: ignore[attr-defined]

    asyncio.run(main())


def test_a_restart_before_the_first_event_loses_none(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        begun, write = asyncio.Event(), Stream.write

        async def tell(self: Stream, data: bytes) -> None:
            await write(self, data)
            if data.startswith(b"id: "):
                begun.set()

        monkeypatch.setattr(Stream, "write", tell)
        plane = FakePlane()
        plane.emit("task.ready", job="old")
        here = {"position": lambda: len(plane.log)}
        server = served(plane, **here)
        first = await server.__aenter__()
        async with Client(first.url, SECRETS["viewer"]) as client:
            events = client.events()
            waiting = asyncio.ensure_future(anext(events))
            await begun.wait()
            await server.__aexit__(None, None, None)
            plane.emit("task.ready", job="new")  # while nobody could hear it
            async with served(plane, port=first.port, **here):
                assert (await waiting).job_id == "new"
            await events.aclose()  # type: ignore[attr-defined]

    asyncio.run(main())


class Torn(FakePlane):
    """Its logs break off after two chunks, once."""

    def __init__(self) -> None:
        super().__init__()
        self.breaks = 1

    async def logs(self, ref: str, *, follow: bool = False, tail: int = 0) -> Any:
        self.calls.append(("logs", ref, follow, tail))
        chunks = [b"one\n", b"two\n", b"three\n"]
        if self.breaks == 0:
            chunks = [b"one\ntw", b"o\nthree\n"]  # cut differently the second time
        offset = 0
        for number, data in enumerate(chunks):
            if self.breaks and number == 2:
                self.breaks = 0
                raise ZeroDivisionError
            yield LogChunk("t", ref, None, 1, "stdout", offset, data)
            offset += len(data)
        yield LogChunk("t", ref, None, 1, "stdout", offset, b"", end=True)


def test_logs_repeat_nothing_after_a_break() -> None:
    async def main() -> None:
        async with served(Torn()) as server, Client(server.url, SECRETS["viewer"]) as client:
            made = await server.plane.submit_spec(SPEC)
            chunks = [chunk async for chunk in client.logs(made.job_id, follow=True, tail=0)]
            assert b"".join(chunk.data for chunk in chunks) == b"one\ntwo\nthree\n"
            assert [chunk.offset for chunk in chunks] == [0, 4, 8, 14]
            assert [chunk.end for chunk in chunks] == [False, False, False, True]

    asyncio.run(main())
