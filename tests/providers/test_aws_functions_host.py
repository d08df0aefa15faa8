"""Functions behind a whole control plane: from a task to its result, and what is left of one when the server goes down."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aws_proxy import AwsProxy, Error
from aws_world import context
from ministack_kit import ministack_url
from test_aws_functions import REGION, deploy

import styx
from styx.compose import ControlPlane
from styx.providers.aws import make
from styx.providers.aws.provider import Aws
from styx.runtime.runners import open_runners


@asynccontextmanager
async def plane_with_functions(proxy: AwsProxy, folder: Path) -> AsyncIterator[ControlPlane]:
    settings = {"regions": [REGION], "endpoint_url": proxy.url, "functions": {"concurrency": 2}}
    provider = make(settings, context())
    assert isinstance(provider, Aws)
    await deploy(provider)

    def put(plane: ControlPlane, vault: object) -> None:
        plane.shell.runners = open_runners(plane.shell, {"aws": provider}, folder, plane.archives)

    async with ControlPlane.open(folder, agent=False, places=put) as plane:
        await plane.shell.hub.joined.wait()
        try:
            yield plane
        finally:
            await provider.close()


def run(scenario: object) -> None:
    import asyncio

    async def limited() -> None:
        async with asyncio.timeout(60), AwsProxy(ministack_url()) as proxy:
            await scenario(proxy)  # type: ignore[operator]

    asyncio.run(limited())


def test_a_task_becomes_an_invocation_and_its_answer_the_result(tmp_path: Path) -> None:
    async def scenario(proxy: AwsProxy) -> None:
        async with plane_with_functions(proxy, tmp_path) as plane:
            fine = styx.Task("fine", function="work", payload={"n": 3})
            broken = styx.Task("broken", function="work", payload={"fail": "no such key"})
            job = await plane.submit(
                styx.Job("j", [fine, broken, styx.Task("many", function="brief", payload={}, array=5)])
            )
            assert not (await job.wait()).ok
            tasks = {task.name: task for task in (await plane.tasks(job=job.id))[0]}
            codes = [(await plane.task(tasks[name].task_id)).exit_code for name in ("fine", "broken")]
            assert codes == [0, 1]
            assert tasks["many"].status == "SUCCEEDED"
            chunks = [chunk async for chunk in plane.logs(tasks["fine"].task_id)]
            said = b"".join(chunk.data for chunk in chunks if chunk.stream == "stdout")
            assert json.loads(said)["got"] == {"n": 3}
            assert sum(call.action == "Invoke" for call in proxy.calls) == 7

    run(scenario)


def test_what_was_in_flight_when_the_server_went_down_is_invoked_again_only_if_that_does_no_harm(
    tmp_path: Path,
) -> None:
    async def scenario(proxy: AwsProxy) -> None:
        home, go = tmp_path / "home", tmp_path / "go"
        async with plane_with_functions(proxy, home) as plane:
            both = [
                styx.Task("once", function="work", payload={"begun": str(tmp_path / "once"), "until": str(go)}),
                styx.Task("again", function="work", payload={"until": str(go)}, idempotent=True),
            ]
            job = await plane.submit(styx.Job("j", both))
            started: set[str] = set()
            async for event in job.events():
                started |= {event.task} if event.type == "attempt.started" else set()
                if started == {"once", "again"}:
                    break
        go.touch()
        async with plane_with_functions(proxy, home) as plane:
            assert not (await plane.wait(job.id)).ok
            tasks = {task.name: task for task in (await plane.tasks(job=job.id))[0]}
            assert {name: task.status for name, task in tasks.items()} == {"once": "FAILED", "again": "SUCCEEDED"}
            assert "idempotent" in (await plane.task(tasks["once"].task_id)).attempts[-1].reason
            assert sum(call.action == "Invoke" for call in proxy.calls) == 3

    run(scenario)


def test_why_it_waits_is_said_in_the_words_of_the_place(tmp_path: Path) -> None:
    async def scenario(proxy: AwsProxy) -> None:
        async with plane_with_functions(proxy, tmp_path) as plane:
            proxy.faults.next("Invoke", Error("TooManyRequestsException", 429, "Rate Exceeded."))
            job = await plane.submit(styx.Job("j", [styx.Task("a", function="work", payload={})]))
            assert (await job.wait()).ok
            assert sum(call.action == "Invoke" for call in proxy.calls) == 2

    run(scenario)
