"""Job and Task say in Python what a task file says, with the same messages; `submit` takes all forms."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

import styx
from styx.core.resources import Resources
from styx.core.spec import JobSpec, TaskSpec, When
from styx.protocol.document import read_job
from styx.protocol.handles import Submits, spec_of
from styx.protocol.http import Created


def test_python_says_what_a_file_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    split = styx.Task("split", run="./split.sh", cpus=0.5, memory="1GiB", labels={"zone": "b"})
    count = styx.Task("count", command=["./count", 3], needs=[split], array=8, retries=2, timeout="10m", env={"A": 1})
    report = styx.Task("report", run="./merge.sh", needs="count", when="always", workdir=Path("sub"))
    spec = spec_of(styx.Job("words", [split, count, report], priority="high", env={"LANG": "C"}))
    assert spec.name == "words"
    assert spec.cwd == str(tmp_path)
    assert spec.tasks[0].resources == Resources(500, 1 << 30)
    assert spec.tasks[0].labels == (("zone", "b"),)
    assert spec.tasks[1] == TaskSpec(
        "count", ("./count", "3"), False, ("split",), 8, retries=2, timeout=600_000, env=(("LANG", "C"), ("A", "1"))
    )
    assert (spec.tasks[2].needs, spec.tasks[2].when) == (("count",), When.ALWAYS)
    assert spec.tasks[2].workdir == str(tmp_path / "sub")


def test_what_is_wrong_is_said_as_of_a_file() -> None:
    job = styx.Job("j", [styx.Task("a", run="x", retries=-1), styx.Task("b", needs=["c"])])
    with pytest.raises(styx.SpecError) as caught:
        spec_of(job)
    assert {problem.path for problem in caught.value.problems} == {
        "$.tasks[0].retries", "$.tasks[1]", "$.tasks[1].needs[0]",
    }  # fmt: skip


class Plane(Submits):
    def __init__(self) -> None:
        self.specs: list[JobSpec] = []

    async def submit_spec(self, spec: JobSpec, *, key: str = "", secrets: Any = None) -> Created:
        self.specs.append(spec)
        return Created("id", spec.name, "RUNNING", "task" if spec.single else "", key == "again")

    async def cancel(self, ref: str, *, reason: str = "") -> bool:
        return ref == "id"

    def logs(self, ref: str, **options: Any) -> str:
        return ref


def test_everything_that_describes_a_job_can_be_submitted(tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_text("run: x")
    forms: list[Any] = [
        styx.Job("file", [styx.Task("a", run="x")]), styx.Task("file", run="x"), {"name": "file", "run": "x"}, path, str(path),
        read_job({"name": "file", "run": "x"}),
    ]  # fmt: skip

    async def submit_all() -> None:
        plane = Plane()
        for form in forms:
            handle = await plane.submit(form)  # type: ignore[misc]
            assert (handle.id, handle.name) == ("id", "file")
        assert (await plane.submit(forms[1])).task_id == "task"  # type: ignore[misc]
        assert (await plane.submit(forms[0], key="again")).again  # type: ignore[misc]
        assert await handle.cancel()
        assert handle.logs("a.1") == "id/a.1"
        with pytest.raises(styx.UsageError, match="cannot be submitted"):
            await plane.submit(3)  # type: ignore

    asyncio.run(submit_all())
