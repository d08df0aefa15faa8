"""What type checkers see of the public names; test_public runs mypy over this file, it is never run."""

from __future__ import annotations

from pathlib import Path
from typing import assert_type

import styx
from styx.protocol.http import AgentView
from styx.protocol.verbs import Verbs


async def embedded() -> None:
    task = styx.Task("a", run="echo hi", needs=["b"], cpus=2, memory="512MB", env={"A": 1})
    async with styx.ControlPlane.open() as plane:
        assert_type(plane, styx.ControlPlane)
        verbs: Verbs = plane
        job = await plane.submit(styx.Job("hello", [task], priority="high"))
        assert_type(job, styx.JobHandle)
        assert_type(job.id, str)
        async for event in job.events():
            assert_type(event, styx.Event)
        async for chunk in job.logs("a", follow=True):
            assert_type(chunk.data, bytes)
        result = await job.wait(timeout=1.0)
        assert_type(result, styx.JobResult)
        assert_type(result.ok, bool)
        assert_type(await job.status(), styx.JobView)
        assert_type(await verbs.agents(), list[AgentView])
    async with styx.ControlPlane.open(Path("folder"), agent=False) as other:
        await other.submit("wordcount.yaml", key="once")


async def served() -> None:
    async with styx.Client("http://127.0.0.1:8080", token="styx_x") as client:
        verbs: Verbs = client
        job = await client.submit({"run": "echo hi"})
        assert_type(job, styx.JobHandle)
        assert_type(await verbs.cancel(job.id), bool)
        assert_type(await client.tasks(job=job.id), tuple[list[styx.TaskView], str])
    try:
        await client.submit(Path("nothing.yaml"))
    except styx.SpecError as error:
        assert_type(error.problems, list[styx.Problem])


assert_type(styx.__version__, str)
