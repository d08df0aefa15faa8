"""The provider as the registry sees it: one client for each context, one Runner for each namespace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from styx.core.offers import Offer
from styx.providers.base import Check, Context, Promises, Runner
from styx.providers.kubernetes.api import Cluster
from styx.providers.kubernetes.check import check
from styx.providers.kubernetes.runner import Pods
from styx.providers.kubernetes.settings import Settings

__all__ = ["PROMISES", "Kubernetes"]

PROMISES = Promises(
    idempotent=True,  # by the names of pods
    settles=0.0,  # a list is of the moment
    output=False,  # a node turns logs over, and with the node they are gone
    exclusive=True,  # except for pods that others force away, or whose node is taken out of the cluster while it runs on
)
_CALLS = 64  # connections for calls, beside those for logs


class Kubernetes:
    """See `base.Provider`. Nothing is brought up here, so there is nothing to offer."""

    name = "kubernetes"
    promises = PROMISES
    provisioner = None

    def __init__(self, settings: Settings, context: Context) -> None:
        connections = {
            name: _CALLS + sum(place.logs + 2 for place in settings.places if place.context == name)
            for name in {place.context for place in settings.places}
        }
        self._clusters = {name: Cluster(name, settings.kubeconfig, count) for name, count in connections.items()}
        self._places = [(self._clusters[place.context], place) for place in settings.places]
        self._pods = {place.name: Pods(cluster, place, context) for cluster, place in self._places}

    @property
    def runners(self) -> Mapping[str, Runner]:
        return self._pods

    def catalog(self) -> tuple[Sequence[Offer], str]:
        return (), ""

    async def check(self) -> Check:
        return await check(self._places)

    async def close(self) -> None:
        for pods in self._pods.values():
            await pods.close()
        for cluster in self._clusters.values():
            await cluster.close()
