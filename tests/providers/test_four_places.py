"""One graph on four places at once: an agent that somebody started, an EC2 machine that is brought up for it, a pod, and a function, with
their results joined by a last task. The server is a real process; only the hypervisor is missing: the machine's user data, read back
from EC2, is run as a process of its own.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aws_proxy import Answer, AwsProxy
from aws_world import KEYS, AwsWorld, context
from boot_kit import BootedMachine
from kube_fake import KubeFake
from kube_node import Node
from ministack_kit import ministack_url, zipped
from moto_kit import moto_url

from styx.providers.aws import make
from styx.providers.aws.provider import Aws
from styx.testing.cluster import Cluster, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

REGION = "us-east-1"
FUNCTION = "def handler(event, context):\n    return {'from': 'a function', 'asked': event['asked']}\n"
GRAPH = """
name: four-places
tasks:
  here:   {run: 'echo an agent > $STYX_RESULT', resources: {labels: {pool: here}}}
  cloud:  {run: 'echo a machine > $STYX_RESULT', resources: {provider: aws, cpus: 1}}
  pod:    {run: 'echo a pod > $STYX_RESULT', image: 'python:3.12', resources: {cpus: 0.1}}
  lambda: {function: join, payload: {asked: nicely}, idempotent: true}
  all:
    needs: [here, cloud, pod, lambda]
    resources: {labels: {pool: here}}
    run: 'cat $STYX_RESULTS/here $STYX_RESULTS/cloud $STYX_RESULTS/pod $STYX_RESULTS/lambda'
"""


class Router(AwsProxy):
    """EC2 and what belongs to it go to moto, functions to ministack."""

    async def _forward(self, request: web.Request, body: bytes) -> Answer:
        usual, self.upstream = self.upstream, ministack_url() if "/functions" in request.path else self.upstream
        try:
            return await super()._forward(request, body)
        finally:
            self.upstream = usual


def settings(url: str, kubeconfig: Path, proxy: str) -> str:
    return f"""
[places]
public_url = "{url}"
idle_timeout = "2s"
[providers.aws]
regions = ["{REGION}"]
endpoint_url = "{proxy}"
functions = {{ concurrency = 2 }}
[providers.kubernetes]
kubeconfig = "{kubeconfig}"
contexts = [{{ context = "c", namespace = "n", image = "python:3.12" }}]
"""


async def machines(world: AwsWorld, count: int) -> set[str]:
    """Wait until EC2 has so many, and which."""
    for _ in range(600):
        alive = await world.alive()
        if len(alive) == count:
            return alive
        await asyncio.sleep(0.1)
    raise AssertionError(f"EC2 does not come to have {count} machines: {await world.machines()}")


async def boot(world: AwsWorld, folder: Path) -> BootedMachine:
    """The first machine that EC2 has, as soon as there is one."""
    (ref,) = await machines(world, 1)
    machine = BootedMachine(folder / "machine")
    machine.folder.mkdir()
    (machine.folder / "end").write_text(machine.end_command + "\n")
    await asyncio.to_thread(machine.boot, await world.user_data(ref))
    return machine


async def deploy(proxy: AwsProxy) -> None:
    provider = make({"regions": [REGION], "endpoint_url": proxy.url, "functions": {}}, context())
    assert isinstance(provider, Aws)
    await provider._clients.call(
        "lambda",
        REGION,
        "create_function",
        FunctionName="join",
        Runtime="python3.11",
        Role="arn:aws:iam::000000000000:role/any",
        Handler="code_of_it.handler",
        Code={"ZipFile": zipped(FUNCTION)},
    )
    await provider.close()


async def everything(tmp_path: Path) -> None:
    world, api = AwsWorld((REGION,)), KubeFake()
    node = Node(api, tmp_path / "node")
    async with world, api.serving(), Router(moto_url()) as proxy:
        await deploy(proxy)
        kubeconfig = api.kubeconfig(tmp_path)
        config = tmp_path / "styx.toml"
        with Cluster(tmp_path, env={"STYX_CONFIG": str(config), **KEYS}) as cluster:
            config.write_text(settings(cluster.url, kubeconfig, proxy.url))
            (tmp_path / "four.yaml").write_text(GRAPH)
            await asyncio.to_thread(cluster.start_server)
            cluster.start_agent("here", "--label", "pool=here")
            await asyncio.to_thread(eventually, "the agent and both runners are here", lambda: cluster.agents_up(3))
            booting = asyncio.create_task(boot(world, tmp_path))
            done = await asyncio.to_thread(cluster.styx, "run", "-y", "four.yaml", timeout=200)
            machine = await booting
            try:
                await judge(done, cluster, world)
            finally:
                machine.power_off()
    await node.close()


async def judge(done: Any, cluster: Cluster, world: AwsWorld) -> None:
    assert done.returncode == 0, done.stdout + done.stderr + cluster.log("server")
    for said in ("an agent", "a machine", "a pod", '"from": "a function"'):
        assert said in done.stdout, done.stdout
    job = json.loads((await asyncio.to_thread(cluster.styx, "status", "@latest", "-o", "json")).stdout)["job_id"]
    _, listed = await asyncio.to_thread(cluster.api, "GET", f"/api/v1/tasks?job={job}")
    nodes = {}
    for task in listed["items"]:
        _, view = await asyncio.to_thread(cluster.api, "GET", f"/api/v1/tasks/{task['task_id']}")
        nodes[task["name"]] = view["attempts"][-1]["node"]
    assert len({nodes[name] for name in ("here", "cloud", "pod", "lambda")}) == 4, nodes
    shown = await asyncio.to_thread(cluster.styx, "instances")
    assert "t4g" in shown.stdout or "t3" in shown.stdout or "t2" in shown.stdout, shown.stdout + shown.stderr
    await machines(world, 0)  # it is taken down again when it has nothing to do


def test_one_graph_on_four_places(tmp_path: Path) -> None:
    moto_url(), ministack_url()  # from the main thread: they end with it
    asyncio.run(everything(tmp_path))
