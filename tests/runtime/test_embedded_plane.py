"""`ControlPlane.open`: a whole plane in the caller's loop, with real programs."""

from __future__ import annotations

import asyncio
import os
from contextlib import aclosing
from pathlib import Path

import psutil
from runtime_kit import run

import styx
from styx.core.resources import Resources


async def read(chunks: object) -> bytes:
    return b"".join([chunk.data async for chunk in chunks])  # type: ignore[attr-defined]


def test_a_dag_runs_in_the_callers_own_loop() -> None:
    async def main() -> None:
        async with styx.ControlPlane.open(resources=Resources(2_000, 1 << 30)) as plane:
            job = await plane.submit(
                styx.Job(
                    "embedded",
                    [
                        styx.Task("double", run="echo $((STYX_ARRAY_INDEX * 2)) > $STYX_RESULT", array=4),
                        styx.Task("sum", run="cat $STYX_RESULTS/double.* | sort -n | paste -sd+ -", needs=["double"]),
                    ],
                )
            )
            result = await job.wait(timeout=50)
            assert result.ok, result
            assert result.by == "program"
            assert await read(job.logs("sum")) == b"0+2+4+6\n"
            types = [event.type async for event in job.events()]
            assert types[0] == "job.accepted"
            assert types[-1] == "job.ended"
            failing = await plane.submit(styx.Task("seven", run="exit 7"))
            failed = await failing.wait(timeout=50)
            assert (failed.status, failed.exit_code, failed.by) == ("FAILED", 7, "program")

    run(main(), 60)


def programs_of(job_id: str) -> list[str]:
    """The command lines of processes that carry the mark of this job in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("STYX_JOB_ID") == job_id:
                found.append(" ".join(process.cmdline()))
        except (psutil.AccessDenied, psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    return found


def test_closing_ends_programs_and_leaves_nothing() -> None:
    async def main() -> str:
        async with styx.ControlPlane.open() as plane:
            job = await plane.submit(styx.Task("sleeper", run="echo up; sleep 600; true"))
            async with aclosing(job.logs(follow=True)) as chunks:  # type: ignore[type-var]
                async for chunk in chunks:
                    if chunk.data:
                        assert chunk.data == b"up\n"
                        break
            assert programs_of(job.id)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        assert not others, others
        return job.id

    assert programs_of(run(main(), 60)) == []


def test_several_planes_in_one_process(tmp_path: Path) -> None:
    async def main() -> None:
        async with styx.ControlPlane.open(tmp_path / "a") as one, styx.ControlPlane.open() as two:
            jobs = [
                await plane.submit(styx.Task("t", command=["echo", name])) for plane, name in ((one, "1"), (two, "2"))
            ]
            assert [(await job.wait(timeout=50)).status for job in jobs] == ["SUCCEEDED"] * 2
            assert [await read(job.logs()) for job in jobs] == [b"1\n", b"2\n"]

    run(main(), 60)


def test_a_folder_keeps_jobs_and_output(tmp_path: Path) -> None:
    async def main() -> None:
        async with styx.ControlPlane.open(tmp_path) as plane:
            job = await plane.submit(styx.Task("kept", command=["echo", "still here"]))
            await job.wait(timeout=50)
        async with styx.ControlPlane.open(tmp_path, agent=False) as plane:
            (view,), _ = await plane.jobs()
            assert (view.job_id, view.status, view.exit_code) == (job.id, "SUCCEEDED", 0)
            assert await read(plane.logs(job.id)) == b"still here\n"
        assert os.stat(tmp_path).st_mode & 0o077 == 0

    run(main(), 60)
