"""What every implementation of `Verbs` must do: one suite that ControlPlane and Client both pass.

    class TestControlPlane(PlaneContract):
        @asynccontextmanager
        async def plane(self, folder): ...       # a plane with one agent of at least two CPUs, which may come up a moment later

Programs really run, so the suite also shows that output, exit codes and kills come through. Nothing here sleeps to be in time:
it waits for events and ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TypeVar

import pytest

from styx.compose import ControlPlane
from styx.core.offers import Spot
from styx.core.resources import Resources
from styx.core.spec import JobSpec, TaskSpec
from styx.errors import AmbiguousId, Conflict, NoFit, NotFound, SpecError, StoreError, UsageError, WaitTimeout
from styx.protocol.http import Event
from styx.protocol.places import OffersQuery
from styx.protocol.verbs import Verbs

__all__ = ["PlaneContract", "job", "sh"]

T = TypeVar("T")

LIMIT = 60.0  # seconds; a test that takes as long hangs


def sh(name: str, line: str, *needs: str, array: int = 0, retries: int = 0) -> TaskSpec:
    """A task that is a line for the shell."""
    return TaskSpec(name, (line,), shell=True, needs=needs, array=array, retries=retries)


def job(*tasks: TaskSpec, name: str = "job") -> JobSpec:
    return JobSpec(name, tasks)


async def until_started(plane: Verbs, job_id: str) -> None:
    """Until a program of the job runs."""
    async for event in plane.events(job=job_id, after=0):
        if event.type == "attempt.started":
            return


async def a_moment_later(plane: Verbs) -> None:
    """Until the plane's clock, which counts milliseconds, shows another time."""
    now = (await plane.health()).uptime
    while (await plane.health()).uptime <= now:  # noqa: ASYNC110 - a clock gives no event
        await asyncio.sleep(0)


class PlaneContract:
    on_disk = True  # whether it keeps its records in a database

    def plane(self, folder: Path) -> AbstractAsyncContextManager[Verbs]:
        raise NotImplementedError

    def _run(self, folder: Path, body: Callable[[Verbs], Awaitable[T]]) -> T:
        async def main() -> T:
            async with asyncio.timeout(LIMIT), self.plane(folder) as plane:
                return await body(plane)

        return asyncio.run(main())

    def test_a_dag_runs(self, tmp_path: Path) -> None:
        async def body(plane: Verbs) -> None:
            made = await plane.submit_spec(
                job(sh("a", "echo one; echo two >&2"), sh("b", "echo $STYX_ARRAY_INDEX", "a", array=3), name="dag")
            )
            assert (made.name, made.status, made.task_id, made.again) == ("dag", "RUNNING", "", False)
            result = await plane.wait(made.job_id)
            assert (result.job_id, result.status, result.exit_code, result.by) == (
                made.job_id,
                "SUCCEEDED",
                0,
                "program",
            )
            assert result.ok
            assert result.counts == {"SUCCEEDED": 4}
            view = await plane.job(made.job_id)
            assert (view.status, view.exit_code, view.tasks, view.elements) == ("SUCCEEDED", 0, 2, 4)
            assert [(task.name, task.status, task.array, task.needs) for task in view.graph] == [
                ("a", "SUCCEEDED", 0, []),
                ("b", "SUCCEEDED", 3, ["a"]),
            ]
            first = await plane.task(view.graph[0].task_id)
            assert (first.job_id, first.exit_code, first.attempts[0].outcome) == (made.job_id, 0, "EXITED")
            assert 0 < first.submitted_at <= first.started_at <= first.ended_at
            output: dict[tuple[str, int | None, str], bytes] = {}
            async for chunk in plane.logs(made.job_id):
                key = (chunk.task, chunk.index, chunk.stream)
                output[key] = output.get(key, b"") + chunk.data
            assert output.pop(("a", None, "stderr")) == b"two\n"
            assert output.pop(("a", None, "stdout")) == b"one\n"
            assert [output.pop(("b", index, "stdout")) for index in range(3)] == [b"0\n", b"1\n", b"2\n"]
            assert not any(output.values())
            elements, _ = await plane.elements(view.graph[1].task_id)
            assert [(one.index, one.status, one.exit_code) for one in elements] == [
                (n, "SUCCEEDED", 0) for n in range(3)
            ]

        self._run(tmp_path, body)

    def test_a_single_task_has_its_own_id(self, tmp_path: Path) -> None:
        async def body(plane: Verbs) -> None:
            made = await plane.submit_spec(JobSpec("one", (TaskSpec("one", ("echo", "hi there")),), single=True))
            assert made.task_id
            assert made.task_id != made.job_id
            chunks = [chunk async for chunk in plane.logs(made.task_id, follow=True)]
            assert b"".join(chunk.data for chunk in chunks) == b"hi there\n"
            assert (await plane.wait(made.task_id)).job_id == made.job_id
            task = await plane.task(made.task_id)
            assert (task.status, task.exit_code, task.index, task.array) == ("SUCCEEDED", 0, None, 0)
            assert (await plane.job(made.job_id)).single

        self._run(tmp_path, body)

    def test_a_failure_is_told_with_the_programs_code(self, tmp_path: Path) -> None:
        async def body(plane: Verbs) -> None:
            made = await plane.submit_spec(job(sh("a", "exit 7"), sh("b", "true", "a"), sh("c", "kill -9 $$")))
            result = await plane.wait(made.job_id)
            assert (result.status, result.by, result.ok) == ("FAILED", "program", False)
            assert result.exit_code in {7, 137}  # of the first that failed
            assert result.counts == {"FAILED": 2, "SKIPPED": 1}
            assert {task.name: task.exit_code for task in result.failed} == {"a": 7, "c": 137}

        self._run(tmp_path, body)

    def test_what_is_wrong_is_said_at_once_and_leaves_nothing(self, tmp_path: Path) -> None:
        async def body(plane: Verbs) -> None:
            cases = [
                job(sh("a", "true", "b"), sh("b", "true", "a")),
                job(sh("a", "true", "nobody"), sh("b", "true", "nothing")),
                job(sh("a", "true"), sh("a", "false")),
                job(),
            ]
            for spec in cases:
                for verb in (plane.submit_spec, plane.plan):
                    with pytest.raises(SpecError) as caught:
                        await verb(spec)
                    assert all(problem.message for problem in caught.value.problems)
            with pytest.raises(SpecError) as caught:
                await plane.submit_spec(cases[1])
            assert len(caught.value.problems) == 2
            assert await plane.jobs() == ([], "")

        self._run(tmp_path, body)

    def test_an_idempotency_key_makes_one_job(self, tmp_path: Path) -> None:
        async def body(plane: Verbs) -> None:
            spec = job(sh("a", "true"))
            first = await plane.submit_spec(spec, key="k")
            await plane.wait(first.job_id)
            again = await plane.submit_spec(spec, key="k")
            assert (again.job_id, again.again) == (first.job_id, True)
            with pytest.raises(Conflict):
                await plane.submit_spec(job(sh("a", "false")), key="k")
            other = await plane.submit_spec(spec)
            assert other.job_id != first.job_id
            assert len((await plane.jobs())[0]) == 2

        self._run(tmp_path, body)

    def test_cancelling(self, tmp_path: Path) -> None:
        async def body(plane: Verbs) -> None:
            made = await plane.submit_spec(job(sh("long", "sleep 1000"), sh("after", "true", "long")))
            await until_started(plane, made.job_id)
            why = await plane.why(f"{made.job_id}/after")
            assert (why.task, why.status, why.code) == ("after", "PENDING", "waiting-for-needs")
            assert (await plane.why(f"{made.job_id}/long")).code == "running"
            with pytest.raises(WaitTimeout):
                await plane.wait(made.job_id, timeout=0.01)
            assert await plane.cancel(made.job_id, reason="enough") is True
            result = await plane.wait(made.job_id)
            assert (result.status, result.by) == ("CANCELLED", "styx")
            assert result.exit_code != 0
            assert await plane.cancel(made.job_id) is False
            assert {task.name: task.status for task in (await plane.job(made.job_id)).graph} == {
                "long": "CANCELLED",
                "after": "CANCELLED",
            }

        self._run(tmp_path, body)

    def test_retrying_what_failed(self, tmp_path: Path) -> None:
        async def body(plane: Verbs) -> None:
            mark = tmp_path / "mark"
            made = await plane.submit_spec(job(sh("a", "true"), sh("b", f"test -e {mark}", "a"), sh("c", "true", "b")))
            assert not (await plane.wait(made.job_id)).ok
            mark.touch()
            assert await plane.retry(made.job_id, failed=True) == 2
            result = await plane.wait(made.job_id)
            assert result.counts == {"SUCCEEDED": 3}
            again = await plane.task(f"{made.job_id}/b")
            assert [(attempt.number, attempt.code) for attempt in again.attempts] == [(1, 1), (2, 0)]
            assert len((await plane.task(f"{made.job_id}/a")).attempts) == 1

        self._run(tmp_path, body)

    def test_events_tell_the_whole_story_and_resume(self, tmp_path: Path) -> None:
        async def body(plane: Verbs) -> None:
            made = await plane.submit_spec(job(sh("a", "exit 3")))
            events: list[Event] = [event async for event in plane.events(job=made.job_id, after=0)]
            kinds = [event.type for event in events]
            assert kinds[0] == "job.accepted"
            assert kinds[-1] == "job.ended"
            # attempt.started is left out when the end is reported along with the start
            told = [kind for kind in kinds if kind.startswith("attempt.") and kind != "attempt.started"]
            assert told == ["attempt.assigned", "attempt.ended"]
            assert [event.id for event in events] == sorted({event.id for event in events})
            ended = next(event for event in events if event.type == "attempt.ended")
            assert (ended.exit_code, ended.outcome, ended.task, ended.status) == (3, "EXITED", "a", "FAILED")
            middle = len(events) // 2
            rest = [event async for event in plane.events(job=made.job_id, after=events[middle].id)]
            assert rest == events[middle + 1 :]

        self._run(tmp_path, body)

    def test_references(self, tmp_path: Path) -> None:
        async def body(plane: Verbs) -> None:
            made = await plane.submit_spec(job(sh("a", "true"), sh("b", "true", array=2), name="first"))
            last = await plane.submit_spec(job(sh("z", "true"), name="second"))
            task = (await plane.task(f"{made.job_id}/b")).task_id
            assert (await plane.job("@latest")).name == "second"
            assert (await plane.job(made.job_id[-6:])).job_id == made.job_id
            assert (await plane.task(f"{made.job_id[-6:]}/b.1")).index == 1
            assert (await plane.task(f"{task}.0")).index == 0
            assert await plane.resolve(last.job_id) == {"kind": "job", "job_id": last.job_id, "task_id": ""}
            found = await plane.resolve(f"{made.job_id}/b.1")
            assert (found["kind"], found["job_id"], found["task_id"]) == ("element", made.job_id, f"{task}.1")
            with pytest.raises(AmbiguousId):
                await plane.job(made.job_id[:4])  # both were made in the same century
            nobody = "0198c0de-0000-7000-8000-00000000dead"
            for ref in (nobody, f"{made.job_id}/nobody", f"{task}.7", "dead0000dead"):
                for verb in (plane.resolve, plane.task, plane.cancel, plane.why, plane.wait):
                    with pytest.raises(NotFound):
                        await verb(ref)
                with pytest.raises(NotFound):
                    await anext(aiter(plane.logs(ref)))
            with pytest.raises(NotFound):
                await anext(aiter(plane.events(job=nobody)))

        self._run(tmp_path, body)

    def test_pages(self, tmp_path: Path) -> None:
        async def body(plane: Verbs) -> None:
            made = [await plane.submit_spec(job(sh("a", "true"), name=f"n{n}")) for n in range(5)]
            wide = await plane.submit_spec(job(sh("many", "true", array=7), name="wide"))
            await asyncio.gather(*(plane.wait(one.job_id) for one in [*made, wide]))
            seen, cursor = [], ""
            while True:
                items, cursor = await plane.jobs(limit=2, cursor=cursor)
                seen += [item.name for item in items]
                assert len(items) <= 2
                if not cursor:
                    break
            assert seen == ["wide", "n4", "n3", "n2", "n1", "n0"]
            assert [item.name for item in (await plane.jobs(name="n3"))[0]] == ["n3"]
            assert len((await plane.jobs(status="SUCCEEDED"))[0]) == 6
            assert await plane.jobs(status="FAILED") == ([], "")
            tasks, _ = await plane.tasks(limit=3)
            assert [task.job_name for task in tasks] == ["wide", "n4", "n3"]
            indices, cursor = [], ""
            while True:
                elements, cursor = await plane.elements(f"{wide.job_id}/many", limit=3, cursor=cursor)
                indices += [element.index for element in elements]
                if not cursor:
                    break
            assert indices == list(range(7))
            for call in (plane.jobs, plane.tasks):
                with pytest.raises(UsageError):
                    await call(cursor="!garbage")
            with pytest.raises(UsageError):
                await plane.elements(f"{wide.job_id}/many", cursor="!garbage")

        self._run(tmp_path, body)

    def test_plans_and_places(self, tmp_path: Path) -> None:
        async def body(plane: Verbs) -> None:
            await plane.wait((await plane.submit_spec(job(sh("a", "true")))).job_id)  # an agent is there
            agents = await plane.agents()
            assert [agent.state for agent in agents] == ["UP"]
            assert agents[0].capacity.cpus >= 2
            planned = await plane.plan(job(sh("a", "true"), sh("b", "true", "a", array=4), sh("c", "true", "b")))
            assert [(task.name, task.level, task.array) for task in planned.tasks] == [
                ("a", 0, 0),
                ("b", 1, 4),
                ("c", 2, 0),
            ]
            assert (planned.elements, planned.levels, planned.fits) == (6, 3, True)
            assert planned.tasks[0].places == [agents[0].name]
            huge = TaskSpec("huge", ("true",), resources=type(TaskSpec("", ()).resources)(cpus=100_000_000))
            with pytest.raises(NoFit) as caught:
                await plane.submit_spec(job(huge))
            assert "huge" in caught.value.problems[0].message
            assert len((await plane.jobs())[0]) == 1

        self._run(tmp_path, body)

    def test_tokens_and_figures(self, tmp_path: Path) -> None:
        async def body(plane: Verbs) -> None:
            assert (await plane.health()).status == "healthy"
            before = {token.token_id for token in await plane.tokens()}
            made = await plane.add_token("ci", role="viewer", ttl=3600)
            assert made.secret.startswith("styx_")
            assert made.expires_at > made.created_at > 0
            listed = [token for token in await plane.tokens() if token.token_id not in before]
            assert [(token.name, token.role, token.revoked, token.secret) for token in listed] == [
                ("ci", "viewer", False, "")
            ]
            assert await plane.revoke_token(made.token_id) is True
            assert await plane.revoke_token(made.token_id) is False
            with pytest.raises(NotFound):
                await plane.revoke_token(999_999)
            await plane.wait((await plane.submit_spec(job(sh("a", "true", array=3)))).job_id)
            stats = await plane.stats()
            assert (stats.submitted, stats.ended, stats.nodes) == (3, 3, 1)
            assert stats.commits > 0
            assert (await plane.gc(days=30))["jobs"] == 0
            await a_moment_later(plane)
            assert (await plane.gc(days=0))["jobs"] == 1
            assert await plane.jobs() == ([], "")

        self._run(tmp_path, body)

    def test_places_are_told_of_where_there_is_no_provider(self, tmp_path: Path) -> None:
        async def body(plane: Verbs) -> None:
            nodes = await plane.nodes()
            agents = await plane.agents()
            assert [(node.name, node.kind, node.state) for node in nodes] == [(agents[0].name, "agent", "UP")]
            assert await plane.instances() == await plane.instances(gone=True) == []
            assert await plane.down(everything=True, orphans=True) == 0
            with pytest.raises(NotFound):
                await plane.down(["7"])
            with pytest.raises(UsageError):
                await plane.down()
            assert all(not one.usable and one.problems for one in await plane.check())
            offers = await plane.offers(OffersQuery(cpus="4", limit=3))
            assert offers.usable == []
            assert offers.found >= len(offers.items) == 3
            assert [offer.price for offer in offers.items] == sorted(offer.price for offer in offers.items)
            assert all(offer.cpus >= 4 and offer.why for offer in offers.items)
            with pytest.raises(UsageError):
                await plane.offers(OffersQuery(memory="lots"))
            made = await plane.submit_spec(job(sh("a", "true")))
            cost = await plane.cost(made.job_id)
            assert (cost.cost, cost.machines, [one.job_id for one in cost.jobs]) == (0, [], [made.job_id])
            assert (await plane.cost()).cost == 0
            with pytest.raises(NotFound):
                await plane.cost("0190cafe")

        self._run(tmp_path, body)

    def test_a_plan_ranks_the_offers(self, tmp_path: Path) -> None:
        async def body(plane: Verbs) -> None:
            gpus = Resources(1_000, 0, 0, (("A100", 8),))
            spec = job(
                TaskSpec("gpu", ("true",), resources=gpus, labels=(("spot", "true"),), spot=Spot.PREFER),
                sh("here", "true"),
            )
            plan = await plane.plan(spec, offers=2)
            assert plan.fits
            assert [task.places for task in plan.tasks] == [[], [(await plane.agents())[0].name]]
            gpu, here = plan.rankings
            assert (gpu.tasks, gpu.free, here.tasks, here.free) == (["gpu"], False, ["here"], True)
            assert len(gpu.offers) == 2 <= gpu.fitting <= gpu.known == here.known
            assert gpu.fitting + sum(gpu.lost.values()) == gpu.known
            assert all(offer.spot and offer.why and not offer.chosen for offer in gpu.offers)
            assert (await plane.plan(spec, usable=True)).rankings == []
            none = TaskSpec("none", ("true",), resources=Resources(1_000, 0, 0, (("A100", 1_000),)))
            plan = await plane.plan(job(none))
            assert not plan.fits
            assert "no catalogued offer fits" in plan.tasks[0].reason

        self._run(tmp_path, body)

    def test_a_backup_is_a_whole_control_plane(self, tmp_path: Path) -> None:
        folder = tmp_path / "copies"
        folder.mkdir()

        async def body(plane: Verbs) -> tuple[str, str]:
            made = await plane.submit_spec(job(sh("a", "true"), name="kept"))
            await plane.wait(made.job_id)
            for bad in ("copy.db", "", str(tmp_path / "nowhere" / "copy.db"), str(tmp_path / "text"), "/a\0b"):
                (tmp_path / "text").write_text("something else")
                with pytest.raises((UsageError, SpecError)):
                    await plane.backup(bad)
            if not self.on_disk:
                with pytest.raises(StoreError):
                    await plane.backup(str(folder))
                return "", ""
            for _ in range(2):  # the second one takes the place of the first
                copy = await plane.backup(str(folder))
                assert copy.path == str(folder / "styx.db")
                assert copy.bytes == (folder / "styx.db").stat().st_size
                assert copy.taken_at > 0
            await plane.submit_spec(job(sh("a", "true"), name="later"))
            return made.job_id, await _incarnation(plane)

        job_id, incarnation = self._run(tmp_path, body)
        if not job_id:
            return

        async def restored() -> None:
            async with ControlPlane.open(folder, agent=False) as plane:
                jobs, _ = await plane.jobs()
                assert [(view.job_id, view.name, view.status) for view in jobs] == [(job_id, "kept", "SUCCEEDED")]
                assert await _incarnation(plane) not in {"", incarnation}

        asyncio.run(restored())


async def _incarnation(plane: Verbs) -> str:
    return (await plane.health()).incarnation
