"""For which tasks there would be a place if some outage were over. It is asked of the same predicates (`fit`, `ranking`) that would place
them then.
"""

from __future__ import annotations

import msgspec

from styx.core.fit import mismatch, taints
from styx.core.offers import Catalog
from styx.core.outages import Outage, Outages, Promised
from styx.core.ranking import best
from styx.core.spec import TaskSpec
from styx.core.states import NodeState
from styx.core.world import Node, World

__all__ = ["awaited", "outage_of", "promised"]


def promised(world: World, known: Outages) -> list[Node]:
    """The runners that are to come, as nodes. What has been here once is a node of the world, be it away."""
    if not known.runners:
        return []
    there = {node.name for node in world.nodes.values() if node.state != NodeState.GONE}
    return [_node(one) for one in known.runners if one.name not in there]


def _node(runner: Promised) -> Node:
    """A node like the one that it will be. It belongs to no world."""
    place = Node(0)
    place.name = runner.name
    place.capacity = runner.capacity
    place.labels = dict(runner.labels)
    place.taints = taints(place.labels, spot=False)
    place.lost = True
    return place


def awaited(world: World, known: Outages, spec: TaskSpec) -> list[Outage]:
    """The outages without which there would be a place for the task, those that last behind the others."""
    found = [one for one in known.outages if _offers(known.catalog, one.provider, spec)]
    away = [node for node in world.nodes.values() if node.instance is None and not node.connected]
    for node in (*promised(world, known), *away):
        if not any(mismatch(node, choice.resources, choice.labels) is None for choice in spec.choices):
            continue
        outage = outage_of(node, known)
        if outage is not None and outage not in found:
            found.append(outage)
    return sorted(found, key=lambda one: one.lasting)


def outage_of(node: Node, known: Outages) -> Outage | None:
    """What keeps a runner away; None for what is no runner of the settings."""
    if not any(one.name == node.name for one in known.runners):
        return None
    provider = node.name.partition("/")[0]
    for one in known.outages:
        if one.provider == provider:
            return one
    return Outage(provider, f"{node.name} has not been reached yet")


def _offers(catalog: Catalog, provider: str, spec: TaskSpec) -> bool:
    """Whether this provider's catalog has anything for the task."""
    if provider not in catalog.usable:
        return False
    only = ("provider", provider)
    choices = [msgspec.structs.replace(one, labels=(*one.labels, only)) for one in spec.choices]
    return best(catalog, choices, spec.ordered, 1, lambda offer: False) is not None
