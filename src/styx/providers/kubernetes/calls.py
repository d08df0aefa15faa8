"""The calls that change something: a pod and its Secret made, deleted, and let go of for good.

The name of a pod comes of its attempt alone, so a creation repeated meets the first. What remains is a creation whose answer was lost and that is
carried out late, after all is over: for as long as that can be, the pod is not let go of, which keeps the name taken.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from styx.providers.base import CLUSTER_TAG, Kind, Refused, RunOrder, Unsure
from styx.providers.kubernetes.api import Cluster
from styx.providers.kubernetes.entry import Entry
from styx.providers.kubernetes.objects import Pod, Secret
from styx.providers.kubernetes.pod import ATTEMPT, FINALIZER, secret_of

__all__ = ["LATE", "Calls"]

LATE = 70.0  # seconds within which a creation whose answer was lost may still be carried out; the API's own limit is 60
_TRIES = 5  # at a change that others make at the same moment


class Calls:
    """Errors of every method: Refused, Unsure."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self._cluster = cluster
        self.pods = f"/api/v1/namespaces/{namespace}/pods"
        self._secrets = f"/api/v1/namespaces/{namespace}/secrets"

    async def create(self, entry: Entry, manifest: dict[str, Any]) -> Pod:
        """The pod, made now or before. Refused means that there is none and none will come."""
        loop = asyncio.get_running_loop()
        try:
            answer = await self._cluster.call("POST", self.pods, body=manifest, allow=(409,))
        except (Unsure, asyncio.CancelledError):
            entry.unsure_at = loop.time()
            entry.keep_until = entry.unsure_at + LATE
            raise
        except Refused as error:
            if not entry.unsure_at:
                raise
            # What was asked before may have come about all the same, or may yet: a quota speaks before a name that is taken.
            try:
                pod = await self.find(entry, manifest)
            except Refused:
                pod = None
            if pod is not None:
                return pod
            if loop.time() < entry.keep_until:
                raise Unsure(error.message) from None
            raise
        if answer.status != 409:
            return answer.read(Pod)
        pod = await self.find(entry, manifest)
        if pod is None:
            raise Unsure(f"the pod {entry.name} was there, and is gone")
        return pod

    async def find(self, entry: Entry, manifest: dict[str, Any]) -> Pod | None:
        """The pod of this name. Refused when it is somebody else's."""
        answer = await self._cluster.call("GET", f"{self.pods}/{entry.name}", allow=(404,))
        if answer.status == 404:
            return None
        pod = answer.read(Pod)
        wanted, labels = manifest["metadata"]["labels"], pod.metadata.labels or {}
        if any(labels.get(name) != wanted[name] for name in (CLUSTER_TAG, ATTEMPT)):
            raise Refused(Kind.INVALID, f"there is another pod of the name {entry.name}")
        return pod

    async def create_secret(self, entry: Entry, order: RunOrder, pod: Pod) -> None:
        """Refused means that the pod that waits for it is let go of again."""
        manifest = secret_of(order, pod.metadata.uid)
        if manifest is None:
            return
        try:
            answer = await self._cluster.call("POST", self._secrets, body=manifest, allow=(409,))
        except Refused as error:
            if error.kind not in {Kind.DENIED, Kind.INVALID}:
                raise Unsure(error.message) from None  # it passes: the pod waits
            await self.remove(pod)
            raise
        if answer.status == 409:
            named = [("fieldSelector", f"metadata.name={entry.name}")]
            if pod.metadata.uid not in await self._owned(named):
                raise Unsure(f"the Secret {entry.name} is that of a pod before, and about to go")

    async def secrets(self, selector: str) -> dict[str, Secret]:
        """By the uid of the pod that owns each."""
        return await self._owned([("labelSelector", selector)])

    async def _owned(self, query: list[tuple[str, str]]) -> dict[str, Secret]:
        raw, _ = await self._cluster.pages(self._secrets, query)
        secrets = [msgspec.json.decode(one, type=Secret) for one in raw]
        return {owner.uid: one for one in secrets for owner in one.metadata.owner_references or ()}

    async def tagged(self, tag: str) -> list[Pod]:
        raw, _ = await self._cluster.pages(self.pods, [("labelSelector", f"{CLUSTER_TAG}={tag}")])
        return [msgspec.json.decode(one, type=Pod) for one in raw]

    async def delete(self, pod: Pod, grace: float) -> bool:
        """Ask for its end, SIGTERM first; False when there is no such pod any more."""
        body = {
            "gracePeriodSeconds": max(0, -int(-grace // 1)),
            "preconditions": {"uid": pod.metadata.uid},
            "propagationPolicy": "Background",
        }
        path = f"{self.pods}/{pod.metadata.name}"
        return (await self._cluster.call("DELETE", path, body=body, allow=(404, 409))).status < 300

    async def remove(self, pod: Pod) -> None:
        """Let it go for good: our finalizer comes off, and it is deleted. Its Secret goes with it."""
        name, uid = pod.metadata.name, pod.metadata.uid
        path = f"{self.pods}/{name}"
        for _ in range(_TRIES):
            others = [one for one in pod.metadata.finalizers or () if one != FINALIZER]
            metadata: dict[str, Any] = {"uid": uid, "finalizers": others or None}
            if others:
                metadata["resourceVersion"] = pod.metadata.resource_version  # somebody else may change them too
            answer = await self._cluster.call("PATCH", path, body={"metadata": metadata}, patch=True, allow=(404, 409))
            if answer.status == 404:
                return
            if answer.status != 409:
                body = {"preconditions": {"uid": uid}, "propagationPolicy": "Background"}
                await self._cluster.call("DELETE", path, body=body, allow=(404, 409))
                return
            answer = await self._cluster.call("GET", path, allow=(404,))
            if answer.status == 404 or answer.read(Pod).metadata.uid != uid:
                return
            pod = answer.read(Pod)
        raise Unsure(f"others change the pod {name} all the time")
