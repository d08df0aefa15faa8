"""A cluster to test against: the fake, or with STYX_TEST_KUBECONFIG a real one (its current context, the namespace of that or `default`).

async with world(tmp_path) as it:
    runner, sink = await it.open()
    await runner.start(it.order(1, "echo hello"))
    await sink.ended(1)
"""

from __future__ import annotations

import asyncio
import json
import os
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import yaml
from kube_fake import KubeFake
from kube_node import Node

from styx.core.resources import Resources
from styx.protocol.messages import Run, Secret, Spec
from styx.providers.base import Context, Found, RunOrder
from styx.providers.kubernetes import make
from styx.providers.kubernetes.provider import Kubernetes
from styx.providers.kubernetes.runner import Pods
from styx.testing.contracts.runner import Told

REAL = os.environ.get("STYX_TEST_KUBECONFIG", "")
SMALL = Resources(100)
IMAGE = "python:3.12-slim"


class World:
    def __init__(self, folder: Path, api: KubeFake | None, node: Node | None) -> None:
        self.folder = folder
        self._api = api
        self._node = node
        self.tag = uuid.uuid4().hex
        self.settings: dict[str, Any] = {"image": IMAGE, "init_image": IMAGE}
        self.place: dict[str, Any] = {}
        if api is not None:
            self.settings["kubeconfig"] = str(api.kubeconfig(folder))
            self.place |= {"context": "c", "namespace": "n"}
        else:
            self.settings["kubeconfig"] = REAL
            document = yaml.safe_load(Path(REAL).read_text())
            context = document["current-context"]
            found = next(one["context"] for one in document["contexts"] if one["name"] == context)
            self.place |= {"context": context, "namespace": found.get("namespace", "default")}
        self._made: list[Kubernetes] = []

    @property
    def api(self) -> KubeFake:
        """The fake; tests that need it are passed over with a real cluster."""
        assert self._api is not None
        return self._api

    @property
    def node(self) -> Node:
        assert self._node is not None
        return self._node

    def provider(self, **settings: Any) -> Kubernetes:
        context = Context(self.folder, os.environ, lambda: time.time_ns() // 1_000_000, asyncio.sleep)
        made = make({**self.settings, "contexts": [{**self.place, **settings}]}, context)
        assert isinstance(made, Kubernetes)
        self._made.append(made)
        return made

    async def open(self, **settings: Any) -> tuple[Pods, Told, list[Found]]:
        """A new provider, as after a restart of the server."""
        provider = self.provider(**settings)
        (runner,) = provider.runners.values()
        assert isinstance(runner, Pods)
        told = Told()
        return runner, told, await runner.open(self.tag, told)

    async def kill(self) -> None:
        """The server is gone, from one moment to the next."""
        for made in self._made:
            await made.close()
        self._made.clear()

    def order(
        self,
        attempt: int,
        run: str | tuple[str, ...] = "true",
        *,
        resources: Resources = SMALL,
        env: dict[str, str] | None = None,
        secrets: dict[str, str] | None = None,
        results: dict[str, bytes] | None = None,
        timeout: int = 0,
        grace: int = 5_000,
        exclusive: bool = False,
        image: str = IMAGE,
        array: int = 0,
        archive: tuple[str, str, str] = ("", "", ""),
    ) -> RunOrder:
        shell = isinstance(run, str)
        command = (run,) if isinstance(run, str) else run
        spec = Spec(
            1, 0, "job-1", "job-1.0", "task", command, shell, array, resources, tuple((env or {}).items()), "",
            timeout, grace, exclusive, archive[0], image=image,
        )  # fmt: skip
        return RunOrder(
            self.tag,
            spec,
            Run(attempt, 3, 1),
            tuple(Secret(name, value) for name, value in (secrets or {}).items()),
            tuple((results or {}).items()),
            *archive,
        )

    async def leftovers(self) -> list[str]:
        """Pods and secrets of this world that are still there."""
        if self._api is not None:
            return [
                f"{plural}/{name}"
                for plural, items in self._api.objects.items()
                for (_, name), item in items.items()
                if item["metadata"]["labels"].get("styx-cluster") == self.tag
            ]
        (cluster,) = self.provider()._clusters.values()
        found = []
        for plural in ("pods", "secrets"):
            path = f"/api/v1/namespaces/{self.place['namespace']}/{plural}"
            raw, _ = await cluster.pages(path, [("labelSelector", f"styx-cluster={self.tag}")])
            found += [f"{plural}/{json.loads(bytes(one))['metadata']['name']}" for one in raw]
        return found

    async def until_clean(self) -> None:
        """Until nothing of this world is left: the cluster collects garbage in its own time."""
        while await self.leftovers():  # noqa: ASYNC110
            await asyncio.sleep(0.5 if REAL else 0.02)

    async def sweep(self) -> None:
        """Leave nothing behind, whatever a test did."""
        runner, _, found = await self.open()
        for one in found:
            entry = runner._entries[one.attempt]
            assert entry.pod is not None
            await runner._calls.delete(entry.pod, 0)
            await runner._calls.remove(entry.pod)


@asynccontextmanager
async def world(folder: Path) -> AsyncIterator[World]:
    if REAL:
        made = World(folder, None, None)
        try:
            yield made
            await made.sweep()
        finally:
            await made.kill()
        return
    api = KubeFake()
    async with api.serving():
        (folder / "node").mkdir(exist_ok=True)
        node = Node(api, folder / "node")
        made = World(folder, api, node)
        try:
            yield made
        finally:
            await made.kill()
            await node.close()
