"""The verbs in this process, over a fake agent: references, pages, wishes, reasons, logs and events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest
from runtime_kit import job, run, task

from styx.compose import ControlPlane
from styx.core import ids
from styx.core.settings import CoreSettings
from styx.core.spec import Backoff, JobSpec
from styx.errors import AmbiguousId, Busy, Conflict, NoFit, NotFound, SpecError, UsageError, WaitTimeout
from styx.protocol.http import LogChunk
from styx.runtime.clock import VirtualClock
from styx.runtime.shell import ShellSettings
from styx.testing.agents import Act, FakeAgent

HOLD = Act(hold=True)


def by_name(**acts: Act) -> Any:
    return lambda spec, run: acts.get(spec.name, Act())


@asynccontextmanager
async def plane(**options: Any) -> AsyncIterator[ControlPlane]:
    async with ControlPlane.open(agent=False, **options) as opened:
        yield opened


@asynccontextmanager
async def plane_and_agent(
    cpus: float = 4, script: Any = None, **options: Any
) -> AsyncIterator[tuple[ControlPlane, FakeAgent]]:
    async with plane(**options) as opened:
        agent = FakeAgent(opened.shell.hub, cpus=cpus, script=script)
        await agent.connect()
        try:
            yield opened, agent
        finally:
            await agent.disconnect()


async def turns_until(reached: Callable[[], object]) -> None:
    """Give the event loop turns until this is so."""
    while not reached():  # noqa: ASYNC110 - the world has no events to wait for
        await asyncio.sleep(0)


async def all_chunks(chunks: AsyncIterator[LogChunk]) -> dict[tuple[str, int | None, int, str], bytes]:
    """The streams by (task, index, attempt, stream); each must have its terminal marker."""
    found: dict[tuple[str, int | None, int, str], bytes] = {}
    open_streams = set()
    async for chunk in chunks:
        key = (chunk.task, chunk.index, chunk.attempt, chunk.stream)
        assert chunk.offset == len(found.get(key, b"")) + chunk.gap
        found[key] = found.get(key, b"") + chunk.data
        open_streams.add(key)
        if chunk.end:
            open_streams.remove(key)
    assert not open_streams
    return found


def test_every_way_to_name_a_thing() -> None:
    async def main() -> None:
        async with plane_and_agent() as (p, _):
            old = await p.submit_spec(job("old", task("a")))
            await p.wait(old.job_id)
            made = await p.submit_spec(job("new", task("one", cpus=0.1), task("many", array=3, needs=["one"])))
            await p.wait(made.job_id)
            one = ids.text(ids.join(ids.JobId(ids.parse(made.job_id)), 0))
            many = ids.text(ids.join(ids.JobId(ids.parse(made.job_id)), 1))
            as_job = {"kind": "job", "job_id": made.job_id, "task_id": ""}
            for ref in (made.job_id, made.job_id.replace("-", ""), made.job_id[-6:], "@latest", made.job_id.upper()):
                assert await p.resolve(ref) == as_job, ref
            for ref in (one, one[-6:], f"{made.job_id}/one", "@latest/one", one[:30]):
                assert (await p.resolve(ref))["task_id"] == one, ref
            for ref in (f"{many}.2", f"{made.job_id}/many.2", f"{many[-7:]}.2"):
                assert await p.resolve(ref) == {"kind": "element", "job_id": made.job_id, "task_id": f"{many}.2"}, ref
            assert (await p.resolve(f"{made.job_id}/many"))["kind"] == "task"
            assert (await p.resolve(old.job_id))["job_id"] == old.job_id

    run(main())


@pytest.mark.parametrize(
    ("ref", "error"),
    [
        ("", UsageError),
        ("zzzz", UsageError),
        ("abc", UsageError),
        ("0" * 32, NotFound),
        ("dead-beef-dead", NotFound),
        ("@latest/nope", NotFound),
        ("@latest/a.0", NotFound),
        ("@latest/many.3", NotFound),
        ("@latest.1", UsageError),
        ("../etc/passwd", UsageError),
        ("@latest/a/b", NotFound),
        ("\x00" * 8, UsageError),
        ("١٢٣٤", UsageError),
    ],
)
def test_what_names_nothing_is_said_so(ref: str, error: type[Exception]) -> None:
    async def main() -> None:
        async with plane() as p:
            await p.submit_spec(job("j", task("a"), task("many", array=3)))
            with pytest.raises(error):
                await p.resolve(ref)

    run(main())


def test_an_empty_plane_has_no_latest() -> None:
    async def main() -> None:
        async with plane() as p:
            with pytest.raises(NotFound, match="no job"):
                await p.resolve("@latest")

    run(main())


def test_an_abbreviation_of_two_is_ambiguous() -> None:
    async def main() -> None:
        async with plane(clock=VirtualClock()) as p:
            made = [await p.submit_spec(job(f"j{n}", task("a"))) for n in range(2)]
            with pytest.raises(AmbiguousId):
                await p.resolve(made[0].job_id[:12])  # the same millisecond

    run(main())


def test_a_misspelt_task_is_suggested() -> None:
    async def main() -> None:
        async with plane() as p:
            await p.submit_spec(job("j", task("count"), task("report")))
            with pytest.raises(NotFound) as caught:
                await p.resolve("@latest/cuont")
            assert "'count'" in caught.value.hint

    run(main())


def test_a_key_gives_the_first_answer_again_even_when_the_job_has_ended() -> None:
    async def main() -> None:
        async with plane_and_agent() as (p, agent):
            spec = job("j", task("a"), single=True)
            twice = await asyncio.gather(*(p.submit_spec(spec, key="k") for _ in range(5)))
            assert len({made.job_id for made in twice}) == 1
            assert [made.again for made in twice].count(False) == 1
            await p.wait(twice[0].job_id)
            later = await p.submit_spec(spec, key="k")
            assert (later.job_id, later.again, later.task_id) == (twice[0].job_id, True, twice[0].task_id)
            with pytest.raises(Conflict):
                await p.submit_spec(job("other", task("a")), key="k")
            other = await p.submit_spec(spec, key="k2")
            assert other.job_id != later.job_id
            assert len(agent.started) in {1, 2}

    run(main())


def test_a_wrong_spec_is_refused_whole_with_everything_that_is_wrong() -> None:
    async def main() -> None:
        async with plane_and_agent() as (p, _):
            wrong = job("j", task("a", needs=["b"]), task("b", needs=["a"]), task("c", needs=["nope"]), task("c"))
            with pytest.raises(SpecError) as caught:
                await p.submit_spec(wrong)
            assert len(caught.value.problems) == 3
            with pytest.raises(NoFit) as too_large:
                await p.submit_spec(job("j", task("small"), task("huge", cpus=64)))
            assert "huge" in str(too_large.value)
            with pytest.raises(SpecError, match="characters"):
                await p.submit_spec(job("j", task("long", command=("x" * 3_000_000,))))
            assert await p.jobs() == ([], "")
            assert not p.shell.engine.world.staged
            plan = await p.plan(job("j", task("small"), task("huge", cpus=100_000, needs=["small"])))
            assert (plan.fits, plan.levels, plan.tasks[0].places, plan.tasks[1].places) == (False, 2, ["fake"], [])
            assert plan.tasks[1].reason

    run(main())


def test_too_much_is_answered_and_leaves_nothing() -> None:
    async def main() -> None:
        settings = ShellSettings(core=CoreSettings(max_live=2_500))
        async with plane(settings=settings) as p:
            await p.submit_spec(job("first", task("a", array=1_000)))
            with pytest.raises(Busy) as caught:
                await p.submit_spec(job("wide", *(task(f"t{n}") for n in range(3_000))))
            assert caught.value.status == 429
            await p.shell.loop.settled()
            assert not p.shell.engine.world.staged
            await p.submit_spec(job("second", task("a", array=1_500)))

    run(main())


def test_a_job_of_many_tasks_is_staged_in_chunks() -> None:
    async def main() -> None:
        async with plane_and_agent(cpus=100) as (p, agent):
            tasks = [task(f"t{n}", cpus=0.1, needs=[f"t{n // 2}"] if n else []) for n in range(2_500)]
            made = await p.submit_spec(JobSpec("wide", tuple(tasks)))
            result = await p.wait(made.job_id)
            assert (result.status, result.counts) == ("SUCCEEDED", {"SUCCEEDED": 2_500})
            assert len(agent.started) == 2_500
            view = await p.job(made.job_id)
            assert [item.name for item in view.graph] == [spec.name for spec in tasks]

    run(main())


def test_a_submitter_that_leaves_midway_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with plane() as p:
            submitting = asyncio.ensure_future(p.submit_spec(job("wide", *(task(f"t{n}") for n in range(5_000)))))
            await turns_until(lambda: p.shell.engine.world.staged)
            submitting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await submitting
            await turns_until(lambda: not p.shell.engine.world.staged)
            assert await p.jobs() == ([], "")

    run(main())


def test_pages_hold_everything_once() -> None:
    async def main() -> None:
        async with plane_and_agent() as (p, _):
            made = [await p.submit_spec(job(f"j{number % 2}", task("a"), task("b"))) for number in range(7)]
            for each in made[:4]:
                await p.wait(each.job_id)
            seen, cursor = [], ""
            while True:
                items, cursor = await p.jobs(limit=3, cursor=cursor)
                seen += [item.job_id for item in items]
                if not cursor:
                    break
            assert seen == [each.job_id for each in reversed(made)]
            named, _ = await p.jobs(name="j1")
            assert len(named) == 3
            tasks, cursor = [], ""
            while True:
                some, cursor = await p.tasks(limit=4, cursor=cursor)
                tasks += [(item.job_id, item.name) for item in some]
                if not cursor:
                    break
            assert len(tasks) == len(set(tasks)) == 14
            one, _ = await p.tasks(job=made[0].job_id)
            assert [item.name for item in one] == ["a", "b"]
            for bad in ("x", "-1", "1.2.3", "9" * 30):
                with pytest.raises(UsageError, match="cursor"):
                    await p.jobs(cursor=bad)
            with pytest.raises(UsageError, match="status"):
                await p.jobs(status="nonsense")
            with pytest.raises(UsageError, match="page"):
                await p.tasks(limit=0)

    run(main())


def test_elements_that_never_started_are_listed_too() -> None:
    async def main() -> None:
        async with plane_and_agent(cpus=2, script=by_name(a=HOLD)) as (p, agent):
            made = await p.submit_spec(job("j", task("a", array=5)))
            await agent.until(lambda: len(agent.running) == 2)
            await agent.finish(agent.running[0], 3)
            await agent.until(lambda: len(agent.running) == 2)
            first, cursor = await p.elements(f"{made.job_id}/a", limit=2)
            rest, end = await p.elements(f"{made.job_id}/a", limit=10, cursor=cursor)
            assert end == ""
            assert [item.index for item in (*first, *rest)] == [0, 1, 2, 3, 4]
            assert (first[0].status, first[0].exit_code, first[0].attempts[0].node) == ("FAILED", 3, "fake")
            assert rest[-1].status in {"READY", "ASSIGNED"}  # the latter if it was sent ahead
            whole = await p.task(f"{made.job_id}/a")
            assert (whole.array, sum(whole.counts.values()), whole.counts["FAILED"]) == (5, 5, 1)
            element = await p.task(f"{made.job_id}/a.4")
            assert (element.index, element.status, element.started_at) == (4, rest[-1].status, 0.0)

    run(main())


def test_cancel_and_the_end_it_leads_to() -> None:
    async def main() -> None:
        async with plane_and_agent(script=by_name(a=HOLD)) as (p, agent):
            made = await p.submit_spec(job("j", task("a"), task("b", needs=["a"])))
            await agent.until(lambda: agent.running)
            with pytest.raises(WaitTimeout):
                await p.wait(made.job_id, timeout=0)
            assert await p.cancel(made.job_id, reason="enough") is True
            result = await p.wait(made.job_id)
            assert (result.status, result.exit_code, result.by, result.reason) == ("CANCELLED", 130, "styx", "enough")
            assert await p.cancel(made.job_id) is False
            view = await p.task(f"{made.job_id}/a")
            assert (view.status, view.attempts[0].outcome) == ("CANCELLED", "KILLED")
            with pytest.raises(UsageError, match="reason"):
                await p.cancel(made.job_id, reason="x" * 2_000)

    run(main())


def test_retry_of_a_job_that_has_left_memory() -> None:
    async def main() -> None:
        tries: dict[str, int] = {}

        def script(spec: Any, run: Any) -> Act:
            tries[spec.name] = tries.get(spec.name, 0) + 1
            good = Act(result=b"from " + spec.name.encode())
            return Act(code=9) if spec.name == "b" and tries["b"] == 1 else good

        async with plane_and_agent(script=script) as (p, agent):
            made = await p.submit_spec(job("j", task("a"), task("b", needs=["a"]), task("c", needs=["b", "a"])))
            result = await p.wait(made.job_id)
            assert (result.status, result.exit_code, [view.name for view in result.failed]) == ("FAILED", 9, ["b"])
            assert result.counts == {"SUCCEEDED": 1, "FAILED": 1, "SKIPPED": 1}
            assert not p.shell.engine.world.jobs
            assert await p.retry(made.job_id, failed=True) == 2
            assert (await p.wait(made.job_id)).status == "SUCCEEDED"
            assert tries == {"a": 1, "b": 2, "c": 1}
            c = next(files for (_, ordinal), files in agent.files.items() if ordinal == 2)
            assert c == {"a": b"from a", "b": b"from b"}  # those of the first run too
            assert await p.retry(made.job_id, failed=True) == 0
            assert await p.retry(made.job_id, start="b") == 2
            assert (await p.wait(made.job_id)).ok
            assert tries == {"a": 1, "b": 3, "c": 2}
            assert [a.number for a in (await p.task(f"{made.job_id}/b")).attempts] == [1, 2, 3]
            with pytest.raises(NotFound):
                await p.retry(made.job_id, start="nope")

    run(main())


def test_why_says_what_stands_in_the_way() -> None:
    async def main() -> None:
        async with plane() as p:
            made = await p.submit_spec(job("j", task("a"), task("b", needs=["a"])))
            assert ((await p.why(made.job_id)).code, (await p.why(made.job_id)).task) == ("no-node", "a")
            assert (await p.why(f"{made.job_id}/b")).code == "waiting-for-needs"
            agent = FakeAgent(p.shell.hub, script=by_name(a=HOLD))
            await agent.connect()
            await agent.until(lambda: agent.running)
            await anext(event async for event in p.events(after=0) if event.type == "attempt.started")
            assert (await p.why(f"{made.job_id}/a")).code == "running"
            await agent.finish(agent.running[0], 3)
            await p.wait(made.job_id)
            ended = await p.why(f"{made.job_id}/a")
            assert (ended.code, ended.status) == ("ended", "FAILED")
            assert "exit code 3" in ended.reason
            assert (await p.why(made.job_id)).task == "a"
            await agent.disconnect()

    run(main())


def test_logs_of_everything_that_has_ended() -> None:
    async def main() -> None:
        def script(spec: Any, run: Any) -> Act:
            if spec.name == "flaky":
                return Act(code=1 if run.number == 1 else 0, stdout=b"try %d\n" % run.number)
            return Act(stdout=b"out %d\n" % run.index, stderr=b"err\n")

        clock = VirtualClock()
        async with plane_and_agent(script=script, clock=clock) as (p, _):
            made = await p.submit_spec(job("j", task("many", array=3), task("flaky", retries=2, backoff=Backoff(10))))
            waiting = asyncio.ensure_future(p.wait(made.job_id))
            while not waiting.done():
                clock.advance(10)
                await asyncio.sleep(0)
            assert await all_chunks(p.logs(made.job_id)) == {
                **{("many", n, 1, "stdout"): b"out %d\n" % n for n in range(3)},
                **{("many", n, 1, "stderr"): b"err\n" for n in range(3)},
                ("flaky", None, 1, "stdout"): b"try 1\n",
                ("flaky", None, 1, "stderr"): b"",
                ("flaky", None, 2, "stdout"): b"try 2\n",
                ("flaky", None, 2, "stderr"): b"",
            }
            one = await all_chunks(p.logs(f"{made.job_id}/many.1"))
            assert one == {("many", 1, 1, "stdout"): b"out 1\n", ("many", 1, 1, "stderr"): b"err\n"}
            tail = [chunk async for chunk in p.logs(f"{made.job_id}/many.1", tail=2) if chunk.stream == "stdout"]
            assert b"".join(chunk.data for chunk in tail) == b"1\n"
            with pytest.raises(UsageError):
                await anext(aiter(p.logs(made.job_id, tail=-1)))

    run(main())


def test_following_begins_before_the_start_and_ends_with_the_job() -> None:
    async def main() -> None:
        async with plane(clock=VirtualClock()) as p:
            spec = job("j", task("a"), task("b", array=3, needs=["a"]), task("skipped", needs=["c"]), task("c"))
            made = await p.submit_spec(spec)
            following = [asyncio.ensure_future(all_chunks(p.logs(made.job_id, follow=True))) for _ in range(2)]
            skipped = asyncio.ensure_future(all_chunks(p.logs(f"{made.job_id}/skipped", follow=True)))
            await asyncio.sleep(0)

            def script(spec: Any, run: Any) -> Act:
                return Act(code=int(spec.name == "c"), stdout=f"{spec.name} {run.index}\n".encode() * 10)

            agent = FakeAgent(p.shell.hub, cpus=2, script=script)
            await agent.connect()
            for found in await asyncio.gather(*following):
                assert {key[:2] for key in found} == {("a", None), ("b", 0), ("b", 1), ("b", 2), ("c", None)}
                assert found["b", 2, 1, "stdout"] == b"b 2\n" * 10
            assert await skipped == {}
            await agent.disconnect()

    run(main())


def test_output_is_followed_while_it_is_written() -> None:
    async def main() -> None:
        async with plane_and_agent(script=by_name(a=Act(hold=True, stdout=b"early "))) as (p, agent):
            made = await p.submit_spec(job("j", task("a")))
            got = bytearray()
            async with aclosing(p.logs(made.job_id, follow=True)) as chunks:  # type: ignore[type-var]
                async for chunk in chunks:
                    got += chunk.data
                    if chunk.data == b"early ":
                        await agent.finish(agent.running[0], act=Act(stdout=b"late"))
            assert bytes(got) == b"early late"

    run(main())


def test_output_that_was_lost_with_its_machine_is_a_gap() -> None:
    async def main() -> None:
        async with plane_and_agent(script=by_name(a=Act(hold=True, stdout=b"written"))) as (p, agent):
            made = await p.submit_spec(job("j", task("a", max_lost=0)))
            await agent.until(lambda: agent.running)
            await agent.until(lambda: not any(agent.output.values()))
            await agent.reboot()
            result = await p.wait(made.job_id)
            assert (result.status, result.by) == ("FAILED", "styx")
            assert (await all_chunks(p.logs(made.job_id)))["a", None, 1, "stdout"] == b"written"

    run(main())


def test_events_of_a_job_from_any_point_to_its_end() -> None:
    async def main() -> None:
        async with plane_and_agent() as (p, _):
            before = await p.submit_spec(job("before", task("x")))
            await p.wait(before.job_id)
            made = await p.submit_spec(job("j", task("a"), task("b", needs=["a"])))
            await p.wait(made.job_id)
            events = [event async for event in p.events(job=made.job_id, after=0)]
            assert {event.job_id for event in events} == {made.job_id}
            assert (events[0].type, events[-1].type) == ("job.accepted", "job.ended")
            resumed = [event async for event in p.events(job=made.job_id, after=events[3].id)]
            assert resumed == events[4:]
            assert [event async for event in p.events(job=made.job_id)] == []  # from now on: it has ended
            assert [event async for event in p.events(job=made.job_id, after=events[-1].id)] == []
            async with aclosing(p.events(after=0)) as everything:  # type: ignore[type-var]
                assert (await anext(everything)).type == "node.linked"

    run(main())


def test_live_events_arrive_as_they_happen() -> None:
    async def main() -> None:
        async with plane() as p:
            made = await p.submit_spec(job("j", task("a")))
            watching = asyncio.ensure_future(_types(p.events(job=made.job_id)))
            await asyncio.sleep(0.01)
            agent = FakeAgent(p.shell.hub)
            await agent.connect()
            assert (await watching)[-1] == "job.ended"
            await agent.disconnect()

    run(main())


async def _types(events: Any) -> list[str]:
    return [event.type async for event in events]


def test_agents_stats_health_tokens_and_gc() -> None:
    async def main() -> None:
        clock = VirtualClock()
        async with plane_and_agent(clock=clock) as (p, agent):
            made = await p.submit_spec(job("j", task("a", array=10)))
            await p.wait(made.job_id)
            await agent.beat()
            (view,) = await p.agents()
            assert (view.name, view.state, view.capacity.cpus, view.seen) == ("fake", "UP", 4.0, 0.0)
            stats = await p.stats()
            assert (stats.submitted, stats.ended, stats.jobs_live, stats.nodes) == (10, 10, 0, 1)
            assert stats.commits > 0
            assert (await p.health()).status == "healthy"
            token = await p.add_token("me", role="viewer", ttl=60)
            assert token.secret.startswith("styx_")
            (listed,) = await p.tokens()
            assert (listed.name, listed.role, listed.secret) == ("me", "viewer", "")
            assert await p.revoke_token(token.token_id) is True
            assert await p.revoke_token(token.token_id) is False
            with pytest.raises(NotFound):
                await p.revoke_token(99)
            for wrong in ({"name": ""}, {"name": "x", "role": "root"}, {"name": "x", "ttl": -1}):
                with pytest.raises(UsageError):
                    await p.add_token(**wrong)  # type: ignore[arg-type]
            assert (await p.gc())["jobs"] == 0
            clock.jump(31 * 86_400_000)
            assert (await p.gc())["jobs"] == 1
            assert await p.jobs() == ([], "")
            with pytest.raises(NotFound):
                await p.wait(made.job_id)
            with pytest.raises(UsageError):
                await p.gc(days=-1)
            p.drain()
            assert (await p.health()).status == "draining"

    run(main())
