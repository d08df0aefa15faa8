"""What records about nodes, and the machines behind some of them, write into the World. A part of `apply`; see there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from styx.core.admission import Admission
from styx.core.fit import taints
from styx.core.instance import Instance, Refusal
from styx.core.records import (
    InstanceBound,
    InstanceCharged,
    InstanceDoubted,
    InstanceIntended,
    InstanceRefused,
    NodeLinked,
    NodeLost,
    NodeReserved,
    NodeShifted,
    NodeSuspected,
)
from styx.core.refusals import scope
from styx.core.states import NodeState
from styx.core.world import Node, World

__all__ = ["APPLY_NODE"]


def _node_linked(world: World, record: NodeLinked) -> None:
    node = world.nodes.get(record.node)
    if node is None:
        node = world.nodes[record.node] = Node(record.node)
        world.last_node = max(world.last_node, record.node)
        node.admission = Admission(record.capacity)
    else:
        node.admission.resize(node.capacity, record.capacity)
        world.by_agent.pop(node.agent, None)
    world.by_agent[record.agent] = record.node
    node.agent = record.agent
    node.name = record.name
    node.host = record.host
    node.boot = record.boot
    node.version = record.version
    node.capacity = record.capacity
    node.labels = dict(record.labels)
    instance = node.instance
    if instance is not None:
        node.labels |= instance.offer.labels
        if not node.held and not instance.idle_since:
            instance.idle_since = record.at
    node.taints = _taints(node)
    if instance is None or node.state not in {NodeState.RELEASING, NodeState.GONE}:
        node.state = NodeState.UP
    node.connected = True
    node.lost = False
    node.suspect_at = 0
    node.seen_at = record.at
    world.queues.node_changed(node.id)


def _taints(node: Node) -> frozenset[tuple[str, str]]:
    return taints(node.labels, spot=node.instance is not None and node.instance.offer.spot)


def _node_suspected(world: World, record: NodeSuspected) -> None:
    node = world.nodes[record.node]
    node.connected = False
    node.suspect_at = record.at


def _node_lost(world: World, record: NodeLost) -> None:
    node = world.nodes[record.node]
    node.connected = False
    node.lost = True


def _node_shifted(world: World, record: NodeShifted) -> None:
    node = world.nodes[record.node]
    node.state = record.state
    if record.state == NodeState.GONE:
        node.connected = False
    instance = node.instance
    if instance is not None:
        instance.reason = record.reason or instance.reason
        if record.state == NodeState.RELEASING:
            instance.released_at = record.at
    world.queues.node_changed(node.id)


def _node_reserved(world: World, record: NodeReserved) -> None:
    world.nodes[record.node].reserved = record.shape
    world.queues.node_changed(record.node)


def _instance_intended(world: World, record: InstanceIntended) -> None:
    node = world.nodes[record.node] = Node(record.node)
    world.last_node = max(world.last_node, record.node)
    world.by_token[record.token] = record.node
    node.state = NodeState.REQUESTED
    node.name = record.token
    node.capacity = record.offer.resources
    node.admission = Admission(node.capacity)
    node.labels = record.offer.labels
    node.instance = Instance(record.token, record.offer, record.job, record.at, record.lifetime)
    node.taints = _taints(node)


def _instance_bound(world: World, record: InstanceBound) -> None:
    node = world.nodes[record.node]
    instance = node.instance
    if instance is None:
        return
    instance.ref = record.ref
    instance.bound_at = instance.used_at = instance.charged_at = record.at
    instance.doubted = False
    if node.state == NodeState.REQUESTED:
        node.state = NodeState.BOOTING


def _instance_doubted(world: World, record: InstanceDoubted) -> None:
    instance = world.nodes[record.node].instance
    if instance is not None:
        instance.doubted = True


def _instance_refused(world: World, record: InstanceRefused) -> None:
    size = record.offer.resources
    world.refusals[scope(record.kind, record.offer)] = Refusal(record.kind, record.detail, record.until, size)
    node = world.nodes.get(record.node)
    if node is not None and node.instance is not None:
        node.state = NodeState.GONE
        node.instance.reason = record.detail


def _instance_charged(world: World, record: InstanceCharged) -> None:
    for serial, micros in record.shares:
        job = world.jobs.get(serial)
        if job is not None:
            job.cost += micros
    node = world.nodes.get(record.node)
    if node is not None and node.instance is not None:
        instance = node.instance
        instance.cost += sum(micros for _, micros in record.shares)
        instance.owed.clear()
        instance.charged_at = instance.used_at = record.at


APPLY_NODE: dict[type, Callable[[World, Any], None]] = {
    NodeLinked: _node_linked,
    NodeSuspected: _node_suspected,
    NodeLost: _node_lost,
    NodeShifted: _node_shifted,
    NodeReserved: _node_reserved,
    InstanceIntended: _instance_intended,
    InstanceBound: _instance_bound,
    InstanceDoubted: _instance_doubted,
    InstanceRefused: _instance_refused,
    InstanceCharged: _instance_charged,
}
