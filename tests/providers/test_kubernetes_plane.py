"""A whole control plane with a cluster behind it: jobs run as pods, over restarts of the server, with folders, secrets and results."""

from __future__ import annotations

import asyncio
import io
import tarfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest
from kube_world import REAL, World, world

import styx
from styx.compose import ControlPlane
from styx.protocol.handles import spec_of
from styx.runtime.runners import open_runners
from styx.server.serve import serve

pytestmark = pytest.mark.skipif(bool(REAL), reason="pods of a real cluster do not find a server on loopback")


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("styx.providers.kubernetes.runner.LATE", 0.2)
    monkeypatch.setattr("styx.providers.kubernetes.calls.LATE", 0.2)


@asynccontextmanager
async def server(it: World, folder: Path, **settings: Any) -> AsyncIterator[ControlPlane]:
    """The plane with its store on disk, its API on loopback, and the cluster as its only place."""
    provider = it.provider(**settings)
    url: list[str] = []

    def put(plane: ControlPlane, vault: object) -> None:
        made = open_runners(plane.shell, {"kubernetes": provider}, folder, plane.archives, public_url="http://later")
        for host in made.hosts:
            host._tickets.of = _at(host._tickets, url)  # type: ignore[method-assign]
        plane.shell.runners = made

    async with ControlPlane.open(folder, agent=False, places=put) as plane:
        serving = await serve(plane, plane.shell.store.tokens, host="127.0.0.1", port=0, archives=plane.archives)
        url.append(serving.url)
        try:
            await plane.shell.hub.joined.wait()
            it.tag = plane.shell.incarnation
            yield plane
        finally:
            await serving.stop()
    await it.kill()


def _at(tickets: Any, url: list[str]) -> Callable[[str, int], Awaitable[tuple[str, str, str]]]:
    """The server's address is known only once it listens."""
    of = tickets.of

    async def made(digest: str, attempt: int) -> tuple[str, str, str]:
        where, token, ca = await of(digest, attempt)
        return where.replace("http://later", url[0]), token, ca

    return made


def run(folder: Path, body: Callable[[World], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(90), world(folder) as it:
            await body(it)

    asyncio.run(main())


async def logs(plane: ControlPlane, job: str) -> str:
    return b"".join([chunk.data async for chunk in plane.logs(job)]).decode()


def test_a_graph_of_pods(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORD", "secretword")

    async def body(it: World) -> None:
        async with server(it, tmp_path / "server") as plane:
            tasks = [
                styx.Task("split", run="printf 3 > $STYX_RESULT", image="busybox"),
                styx.Task(
                    "count", run="echo $STYX_ARRAY_INDEX > $STYX_RESULT", image="busybox", array=3, needs=["split"]
                ),
                styx.Task(
                    "join",
                    run="cat $STYX_RESULTS/split; ls $STYX_RESULTS | wc -l; cat $STYX_RESULTS/count.2; echo $WORD",
                    provider="kubernetes",
                    needs=["split", "count"],
                    secrets=["WORD"],
                ),
            ]
            job = await plane.submit(styx.Job("graph", tasks))
            result = await job.wait()
            assert result.ok, result
            assert "34\n2\n***\n" in await logs(plane, job.id)
            await it.until_clean()
            watches = [path for method, path in it.api.requests if path.endswith("/pods") and method == "GET"]
            assert len(watches) == 2, "one list and one watch, however many pods"

    run(tmp_path, body)


def test_a_server_that_starts_anew_goes_on_with_its_pods(tmp_path: Path) -> None:
    async def body(it: World) -> None:
        go = tmp_path / "go"
        async with server(it, tmp_path / "server") as plane:
            waits = f"echo up; while [ ! -e {go} ]; do sleep 0.02; done; echo over"
            job = await plane.submit(styx.Task("waits", run=waits, image="busybox", timeout="60s"))
            async for event in plane.events(job=job.id):
                if event.type == "attempt.started":
                    break
        go.touch()
        async with server(it, tmp_path / "server") as plane:
            result = await plane.wait(job.id)
            assert result.ok
            assert await logs(plane, job.id) == "up\nover\n"
            await it.until_clean()
        assert set(it.node.runs.values()) == {1}

    run(tmp_path, body)


def test_the_working_folder_comes_by_a_ticket(tmp_path: Path) -> None:
    async def body(it: World) -> None:
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as archive:
            member = tarfile.TarInfo("main.sh")
            content = b"#!/bin/sh\nls; echo done\n"
            member.size, member.mode = len(content), 0o755
            archive.addfile(member, io.BytesIO(content))
        data = packed.getvalue()
        digest = sha256(data).hexdigest()

        async def blocks() -> AsyncIterator[bytes]:
            yield data

        async with server(it, tmp_path / "server") as plane:
            assert plane.archives is not None
            await plane.archives.receive(digest, len(data), blocks())
            spec = spec_of(styx.Task("a", run="./main.sh", image="busybox"))
            spec = msgspec.structs.replace(
                spec, host="", tasks=(msgspec.structs.replace(spec.tasks[0], archive=digest),)
            )
            job = await plane.submit_spec(spec)
            assert (await plane.wait(job.job_id)).ok
            assert await logs(plane, job.job_id) == "main.sh\ndone\n"
            (tmp_path / "server" / "archives" / f"{digest}.tar.gz").rename(tmp_path / "gone")
            with pytest.raises(styx.SpecError):
                await plane.submit_spec(spec)
            (tmp_path / "gone").rename(tmp_path / "server" / "archives" / f"{digest}.tar.gz")
            it.node.unschedulable = "0/1 nodes are available"
            job = await plane.submit_spec(spec)
            while "0/1 nodes" not in " ".join((await plane.why(job.job_id)).evidence):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            (tmp_path / "server" / "archives" / f"{digest}.tar.gz").unlink()
            it.node.unschedulable = ""
            result = await plane.wait(job.job_id)
            assert result.failed[0].exit_code == 126
            assert "the server does not have it any more" in result.failed[0].reason

    run(tmp_path, body)


def test_why_and_cancel_of_what_no_node_can_take(tmp_path: Path) -> None:
    async def body(it: World) -> None:
        it.node.unschedulable = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
        async with server(it, tmp_path / "server", gpus={"A100": 8}) as plane:
            job = await plane.submit(styx.Task("big", run="true", image="busybox", accelerators="A100:2"))
            while not (evidence := (await job.why()).evidence) or "Unschedulable" not in evidence[-1]:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            said = "Unschedulable: 0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
            assert evidence[-1] == said
            assert (await job.why()).reason == f"the place that has it cannot start it yet: {said}"
            (pod,) = it.api.objects["pods"].values()
            assert pod["spec"]["containers"][0]["resources"]["limits"] == {"nvidia.com/gpu": "2"}
            await job.cancel()
            assert (await job.wait()).status == "CANCELLED"
            await it.until_clean()

    run(tmp_path, body)
