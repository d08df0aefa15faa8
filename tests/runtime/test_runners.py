"""The host of Runners: a scripted runner behind a real hub, core and store."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

import styx
from styx.compose import ControlPlane
from styx.core.events import AttemptEnding
from styx.core.resources import Resources
from styx.core.states import Outcome
from styx.errors import NoFit
from styx.protocol.handles import spec_of
from styx.protocol.messages import Secret
from styx.providers.base import Found, Kind, Refused, RunOrder, Sink, Unsure
from styx.runtime import runner_carrier, runner_traffic
from styx.runtime.runner_attempt import Stream
from styx.runtime.runners import open_runners

ON_IMAGE = {"image": "python:3.12"}


class Scripted:
    """A place that does what the test says. `answers` are the errors of the next calls of `start`."""

    labels = (("provider", "scripted"), ("runs", "image"))

    def __init__(self, *, at_once: int = 0, cpus: int = 8_000, adopts: bool = True) -> None:
        self.capacity = Resources(cpus, 64 << 30)
        self.at_once = at_once
        self.adopts = adopts
        self.answers: list[Exception] = []
        self.orders: dict[int, RunOrder] = {}
        self.calls: list[tuple[Any, ...]] = []
        self.forgotten: list[int] = []
        self.here: list[Found] = []
        self.sink: Sink
        self.by_itself: Callable[[Scripted, int], None] | None = Scripted.succeed
        self.changed = asyncio.Condition()

    async def open(self, cluster: str, sink: Sink) -> list[Found]:
        self.sink = sink
        return self.here

    async def start(self, order: RunOrder) -> None:
        attempt = order.run.attempt
        await self._note("start", attempt)
        if self.answers:
            raise self.answers.pop(0)
        if attempt not in self.orders:
            self.orders[attempt] = order
            if self.by_itself is not None:
                self.by_itself(self, attempt)

    async def stop(self, attempt: int, grace: float) -> None:
        if attempt in self.orders:
            self.sink.ended(AttemptEnding(attempt, Outcome.KILLED, 143))
        await self._note("stop", attempt, grace)

    async def forget(self, attempt: int) -> None:
        self.forgotten.append(attempt)
        await self._note("forget", attempt)

    async def _note(self, *call: Any) -> None:
        async with self.changed:
            self.calls.append(call)
            self.changed.notify_all()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with self.changed:
            await self.changed.wait_for(condition)

    def succeed(self, attempt: int, output: bytes = b"") -> None:
        self.sink.started(attempt)
        if output:
            self.sink.output(attempt, 1, 0, output)
        self.sink.ended(AttemptEnding(attempt, Outcome.EXITED, 0, result=b"fine"))


class Provider:
    name = "scripted"

    def __init__(self, runner: Scripted) -> None:
        self.runners = {"here": runner}


@asynccontextmanager
async def plane_with(runner: Scripted, folder: Path | None = None, **options: Any) -> AsyncIterator[ControlPlane]:
    def put(plane: ControlPlane, vault: object) -> None:
        plane.shell.runners = open_runners(
            plane.shell,
            {"scripted": Provider(runner)},
            folder or Path("/nonexistent"),
            plane.archives,
            **options,  # type: ignore[dict-item]
        )

    async with ControlPlane.open(folder, agent=False, places=put) as plane:
        await plane.shell.hub.joined.wait()
        yield plane


def run(body: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(60):
            await body()

    asyncio.run(main())


async def task(plane: ControlPlane, job: Any) -> Any:
    """The only task of a job."""
    found, _ = await plane.tasks(job=job.id)
    return await plane.task(found[0].task_id)


async def text(job: Any) -> bytes:
    return b"".join([chunk.data async for chunk in job.logs()])


def test_a_job_runs_on_a_runner_with_output_and_result() -> None:
    async def body() -> None:
        runner = Scripted()
        runner.by_itself = lambda it, attempt: it.succeed(attempt, b"hello\n")
        async with plane_with(runner) as plane:
            job = await plane.submit(styx.Task("a", run="echo hello", image="python:3.12"))
            result = await job.wait()
            assert result.ok
            assert await text(job) == b"hello\n"
            order = runner.orders[1]
            assert (order.spec.image, order.cluster) == ("python:3.12", plane.shell.incarnation)
            node = next(iter(plane.shell.engine.world.nodes.values()))
            assert node.name == "scripted/here"
            await runner.until(lambda: runner.forgotten == [1])

    run(body)


def test_a_plain_task_does_not_go_there_and_one_that_names_the_provider_does() -> None:
    async def body() -> None:
        runner = Scripted()
        async with plane_with(runner) as plane:
            with pytest.raises(NoFit):
                await plane.submit(styx.Task("plain", run="true"))
            named = await plane.submit(styx.Task("named", run="true", provider="scripted"))
            assert (await named.wait()).ok
            assert len(runner.orders) == 1

    run(body)


def test_results_reach_the_tasks_that_need_them(tmp_path: Path) -> None:
    async def body() -> None:
        runner = Scripted()
        async with plane_with(runner, tmp_path) as plane:
            tasks = [
                styx.Task("one", run="true", **ON_IMAGE),
                styx.Task("two", run="true", needs=["one"], **ON_IMAGE),
            ]
            assert (await (await plane.submit(styx.Job("j", tasks))).wait()).ok
            assert [order.results for order in runner.orders.values()] == [(), (("one", b"fine"),)]

    run(body)


def test_secrets_are_struck_out_of_what_a_runner_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSWORD", "hunter2secret")

    async def body() -> None:
        runner = Scripted()

        def leak(it: Scripted, attempt: int) -> None:
            it.sink.started(attempt)
            it.sink.output(attempt, 1, 0, b"password: hunt")
            it.sink.output(attempt, 1, 14, b"er2secret!\n")
            it.sink.ended(AttemptEnding(attempt, Outcome.EXITED, 0))

        runner.by_itself = leak
        async with plane_with(runner, tmp_path) as plane:
            task = styx.Task("a", run="true", secrets=["PASSWORD"], **ON_IMAGE)
            job = await plane.submit(task)
            await job.wait()
            assert await text(job) == b"password: ***!\n"
            assert runner.orders[1].secrets == (Secret("PASSWORD", "hunter2secret"),)

    run(body)


def test_a_refusal_that_will_not_pass_gives_the_attempt_back() -> None:
    async def body() -> None:
        runner = Scripted()
        runner.answers = [Refused(Kind.INVALID, "no such namespace", hint="make it")]
        async with plane_with(runner) as plane:
            job = await plane.submit(styx.Task("a", run="true", **ON_IMAGE))
            assert (await job.wait()).ok
            outcomes = [(one.outcome, one.reason) for one in (await task(plane, job)).attempts]
            assert outcomes[0] == ("REJECTED", "no such namespace; make it")
            assert outcomes[1][0] == "EXITED"

    run(body)


@pytest.mark.parametrize(
    "error", [Refused(Kind.QUOTA, "the quota is used up"), Unsure("no answer came"), OSError("a bug")]
)
def test_what_may_pass_is_asked_again(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner_carrier, "FIRST", 0.001)

    async def body() -> None:
        runner = Scripted()
        runner.answers = [error, error]
        async with plane_with(runner) as plane:
            job = await plane.submit(styx.Task("a", run="true", **ON_IMAGE))
            assert (await job.wait()).ok
            assert [call for call in runner.calls if call[0] == "start"] == [("start", 1)] * 3

    run(body)


def test_a_refusal_that_does_not_pass_gives_the_attempt_back_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner_carrier, "FIRST", 0.001)
    monkeypatch.setattr(runner_carrier, "PATIENCE", 0)

    async def body() -> None:
        runner = Scripted()
        runner.answers = [Refused(Kind.QUOTA, "the quota is used up")] * 30
        async with plane_with(runner) as plane:
            job = await plane.submit(styx.Task("a", run="true", **ON_IMAGE))
            await runner.until(lambda: len(runner.calls) > 2)
            await plane.shell.loop.settled()
            assert (await task(plane, job)).attempts[0].outcome == "REJECTED"

    run(body)


def test_why_says_what_the_place_says() -> None:
    async def body() -> None:
        runner = Scripted(at_once=1)
        runner.by_itself = lambda it, attempt: it.sink.waiting(attempt, "0/3 nodes are available")
        async with plane_with(runner) as plane:
            job = await plane.submit(styx.Task("a", run="true", **ON_IMAGE))
            await runner.until(lambda: bool(runner.orders))
            assert "0/3 nodes are available" in (await job.why()).evidence
            other = await plane.submit(styx.Task("b", run="true", **ON_IMAGE))
            assert plane.shell.runners is not None
            while not plane.shell.runners.waiting_reason(2):  # noqa: ASYNC110 - until the order has come over the pipe
                await asyncio.sleep(0)
            assert "no more than 1 attempt runs there at once, by its settings" in (await other.why()).evidence
            runner.succeed(1)
            await runner.until(lambda: len(runner.orders) == 2)
            assert (await job.wait()).ok

    run(body)


def test_a_cancelled_attempt_is_stopped_there() -> None:
    async def body() -> None:
        runner = Scripted()
        runner.by_itself = lambda it, attempt: it.sink.started(attempt)
        async with plane_with(runner) as plane:
            job = await plane.submit(styx.Task("a", run="true", grace="3s", **ON_IMAGE))
            await runner.until(lambda: bool(runner.orders))
            await job.cancel()
            assert (await job.wait()).status == "CANCELLED"
            assert ("stop", 1, 3.0) in runner.calls

    run(body)


def test_what_is_stopped_while_nobody_knows_whether_it_is_there_is_brought_to_a_certain_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runner_carrier, "FIRST", 0.001)
    monkeypatch.setattr(runner_carrier, "LAST", 0.001)

    async def body() -> None:
        runner = Scripted()
        runner.by_itself = None
        runner.answers = [Unsure("no answer came")] * 10
        async with plane_with(runner) as plane:
            job = await plane.submit(styx.Task("a", run="true", **ON_IMAGE))
            await runner.until(lambda: len(runner.calls) == 2)
            await job.cancel()
            assert (await job.wait()).status == "CANCELLED"
            assert ("start", 1) in runner.calls[10:]  # it was asked until there was an answer
            assert runner.calls[-1][0] in {"stop", "forget"}

    run(body)


def test_a_server_that_starts_anew_takes_up_what_runs(tmp_path: Path) -> None:
    async def body() -> None:
        first = Scripted()
        first.by_itself = lambda it, attempt: it.sink.started(attempt)
        async with plane_with(first, tmp_path) as plane:
            job = await plane.submit(styx.Task("a", run="true", **ON_IMAGE))
            await first.until(lambda: bool(first.orders))
            first.sink.output(1, 1, 0, b"before ")
            while (await task(plane, job)).status != "RUNNING":  # noqa: ASYNC110 - told, and on disk
                await asyncio.sleep(0.001)
        second = Scripted()
        second.here = [Found(1, 1, 5_000, Resources(1_000))]
        async with plane_with(second, tmp_path) as plane:
            second.sink.output(1, 1, 0, b"before after")
            second.sink.ended(AttemptEnding(1, Outcome.EXITED, 0))
            result = await plane.wait(job.id)
            assert result.ok
            assert b"".join([chunk.data async for chunk in plane.logs(job.id)]) == b"before after"
            await second.until(lambda: second.forgotten == [1])
            assert not second.orders

    run(body)


class Hasty(Scripted):
    """It speaks of what it has in the moment in which it has said what that is."""

    async def open(self, cluster: str, sink: Sink) -> list[Found]:
        found = await super().open(cluster, sink)
        sink.output(1, 1, 0, b"all of it")
        sink.ended(AttemptEnding(1, Outcome.EXITED, 0))
        return found


def test_what_a_runner_says_before_it_is_taken_up_is_not_lost(tmp_path: Path) -> None:
    async def body() -> None:
        first = Scripted()
        first.by_itself = lambda it, attempt: it.sink.started(attempt)
        async with plane_with(first, tmp_path) as plane:
            job = await plane.submit(styx.Task("a", run="true", **ON_IMAGE))
            await first.until(lambda: bool(first.orders))
        second = Hasty()
        second.here = [Found(1, 1, 5_000, Resources(1_000))]
        async with plane_with(second, tmp_path) as plane:
            assert (await plane.wait(job.id)).ok
            assert b"".join([chunk.data async for chunk in plane.logs(job.id)]) == b"all of it"
            await second.until(lambda: second.forgotten == [1])

    run(body)


def test_output_whose_beginning_is_gone_follows_what_the_server_has(tmp_path: Path) -> None:
    async def body() -> None:
        first = Scripted()
        first.by_itself = lambda it, attempt: it.sink.started(attempt)
        async with plane_with(first, tmp_path) as plane:
            job = await plane.submit(styx.Task("a", run="true", **ON_IMAGE))
            await first.until(lambda: bool(first.orders))
            first.sink.output(1, 1, 0, b"before ")
            async for chunk in plane.logs(job.id, follow=True):
                assert chunk.data == b"before "  # it is on disk
                break
        second = Scripted()
        second.here = [Found(1, 1, 5_000, Resources(1_000))]
        async with plane_with(second, tmp_path) as plane:
            second.sink.cut(1, 1)
            second.sink.output(1, 1, 0, b"[cut] after")
            second.sink.ended(AttemptEnding(1, Outcome.EXITED, 0))
            assert (await plane.wait(job.id)).ok
            assert b"".join([chunk.data async for chunk in plane.logs(job.id)]) == b"before [cut] after"

    run(body)


def test_what_never_came_there_is_given_again_and_what_is_unknown_is_stopped(tmp_path: Path) -> None:
    async def body() -> None:
        first = Scripted()
        first.by_itself = None
        async with plane_with(first, tmp_path) as plane:
            job = await plane.submit(styx.Task("a", run="true", **ON_IMAGE))
            await first.until(lambda: bool(first.orders))
        second = Scripted()
        second.here = [Found(77, 1, 5_000)]
        second.orders[77] = first.orders[1]
        async with plane_with(second, tmp_path) as plane:
            assert (await plane.wait(job.id)).ok
            await second.until(lambda: ("stop", 77, 10.0) in second.calls)
            await second.until(lambda: 77 in second.forgotten)

    run(body)


def test_a_runner_that_finds_nothing_again_has_lost_what_it_had(tmp_path: Path) -> None:
    async def body() -> None:
        first = Scripted(adopts=False)
        first.by_itself = None
        async with plane_with(first, tmp_path) as plane:
            job = await plane.submit(styx.Task("a", run="true", **ON_IMAGE))
            await first.until(lambda: bool(first.orders))
        second = Scripted(adopts=False)
        async with plane_with(second, tmp_path) as plane:
            assert (await plane.wait(job.id)).ok
            assert [one.outcome for one in (await task(plane, job)).attempts] == ["LOST", "EXITED"]

    run(body)


def test_output_waits_for_room_and_comes_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner_traffic, "KEPT", 100_000)
    monkeypatch.setattr(runner_traffic, "STREAM_WINDOW", 50_000)

    async def body() -> None:
        runner = Scripted()
        writers: list[asyncio.Task[None]] = []
        line, lines = b"x" * 9_999 + b"\n", 300

        async def write(attempt: int) -> None:
            for number in range(lines):
                await runner.sink.room(attempt)
                runner.sink.output(attempt, 1, number * len(line), line)
            runner.sink.ended(AttemptEnding(attempt, Outcome.EXITED, 0))

        runner.by_itself = lambda it, attempt: writers.append(asyncio.create_task(write(attempt)))
        async with plane_with(runner, tmp_path) as plane:
            job = await plane.submit(styx.Task("a", run="true", **ON_IMAGE))
            assert (await job.wait()).ok
            assert await text(job) == line * lines

    run(body)


def test_a_folder_without_a_public_url_fails_and_says_so(tmp_path: Path) -> None:
    async def body() -> None:
        runner = Scripted()
        async with plane_with(runner, tmp_path) as plane:
            assert plane.archives is not None
            data = b"it is not looked at"
            sha256 = hashlib.sha256(data).hexdigest()

            async def blocks() -> AsyncIterator[bytes]:
                yield data

            await plane.archives.receive(sha256, len(data), blocks())
            spec = spec_of(styx.Task("a", run="true", **ON_IMAGE))
            spec = msgspec.structs.replace(spec, tasks=(msgspec.structs.replace(spec.tasks[0], archive=sha256),))
            created = await plane.submit_spec(spec)
            result = await plane.wait(created.job_id)
            assert not result.ok
            assert "public_url" in result.failed[0].reason
            assert not runner.orders

    run(body)


def test_streams_pass_over_what_they_know() -> None:
    stream = Stream(())
    assert stream.take(0, b"abc") == 3
    assert stream.take(0, b"abcde") == 2
    assert stream.take(1, b"bc") == 0
    assert stream.read(100) == b"abcde"
    assert stream.release(3) == (3, 3)
    assert stream.release(99) == (2, 2)
    assert (stream.owed, stream.total) == (0, 5)
