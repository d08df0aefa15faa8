"""Work is run: what comes of a job, of what is wrong with one, of a cancel and of a retry."""

from __future__ import annotations

from pathlib import Path

import pytest

from styx.core.spec import JobSpec, TaskSpec
from styx.errors import Conflict, SpecError, WaitTimeout
from styx.protocol.verbs import Verbs
from styx.testing.contracts.plane.scenes import Scenes, job, sh, until_started

__all__ = ["Running"]


class Running(Scenes):
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
