"""Work is found again: events and where they resume, ways to name a thing, lists page by page."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from styx.errors import AmbiguousId, NotFound, UsageError
from styx.protocol.http import Event
from styx.protocol.verbs import Verbs
from styx.testing.contracts.plane.scenes import Scenes, job, sh

__all__ = ["Finding"]


class Finding(Scenes):
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
