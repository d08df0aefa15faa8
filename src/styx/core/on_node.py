"""What is decided when an agent connects, is suspect, is lost or leaves.

Level, not edge: at each hello the agent says all that it holds, and the difference to what the world says is put right.
"""

from __future__ import annotations

from styx.core.effects import Answer, EndInstances, ForgetAttempts, StartAttempts, StopAttempts
from styx.core.events import AgentConnected, AgentDrained, AgentLost, AgentSuspected, Held
from styx.core.on_attempt import lose
from styx.core.placement import admit
from styx.core.records import AttemptStarted, InstanceRefused, NodeLinked, NodeLost, NodeShifted, NodeSuspected
from styx.core.refusals import AFTER
from styx.core.states import NodeState
from styx.core.timers import MASS_LOSS
from styx.core.turn import Turn
from styx.core.wording import resources_text
from styx.core.world import Node, World

__all__ = ["lose_node", "on_connected", "on_drained", "on_lost", "on_suspected"]

QUEUED, RUNNING, ENDED = 0, 1, 2

POOL = "pool"
"""The label that only the server sets (`runtime.peers`); of a machine's own token it is the token of its instance."""

_NO_SIGN = {NodeState.GONE, NodeState.RELEASING}  # nodes whose silence says nothing about the network


def on_connected(turn: Turn, event: AgentConnected) -> Answer:
    """Answers with the node's serial."""
    world = turn.world
    serial = _instance_of(world, event) or world.by_agent.get(event.agent, world.last_node + 1)
    node = world.nodes.get(serial)
    rebooted = node is not None and bool(node.boot) and node.boot != event.boot
    turn.record(
        NodeLinked(
            serial,
            event.agent,
            event.name,
            event.host,
            event.boot,
            event.version,
            event.capacity,
            event.labels,
            turn.now,
        )
    )
    node = world.nodes[serial]
    if rebooted:
        for attempt in list(node.held.values()):
            lose(turn, attempt, "the machine or the process that held it has restarted")
    _reconcile(turn, node, event.held)
    admit(turn, node)
    if node.instance is not None:
        _arrived(turn, node)
    return serial


def _instance_of(world: World, event: AgentConnected) -> int:
    """The node whose machine this agent runs on, by the pool of the token that was made for it; 0: no provider's."""
    for name, value in event.labels:
        if name == POOL:
            return world.by_token.get(value, 0)
    return 0


def _arrived(turn: Turn, node: Node) -> None:
    """The agent of a machine that a provider brought up is here."""
    instance = node.instance
    assert instance is not None
    if node.state == NodeState.GONE:  # it was thought gone, and costs
        turn.record(NodeShifted(node.id, NodeState.RELEASING, turn.now, "it came back after it was thought gone"))
        if instance.ref:
            turn.effect(EndInstances(instance.offer.provider, (node.id,)))
    elif not instance.offer.resources.fits(node.capacity):
        detail = f"it came up with less than it is said to have: {resources_text(node.capacity)}"
        until = turn.now + AFTER["invalid"]
        turn.record(InstanceRefused(0, instance.job, instance.offer, "invalid", detail, until, turn.now))


def _reconcile(turn: Turn, node: Node, held: tuple[Held, ...]) -> None:
    """Put right what differs between what the node holds and what it should hold."""
    there = {entry.attempt: entry.state for entry in held}
    resend: list[int] = []
    stop: list[int] = []
    forget = [serial for serial, state in there.items() if serial not in node.held and state == ENDED]
    stop += [serial for serial, state in there.items() if serial not in node.held and state != ENDED]
    for serial, attempt in list(node.held.items()):
        state = there.get(serial)
        if state is None:
            if attempt.started_at:
                lose(turn, attempt, "its node no longer knows of it")
            elif attempt.cancelling:
                lose(turn, attempt, "it was stopped before it reached its node")
            else:
                resend.append(serial)
            continue
        if state == RUNNING and not attempt.started_at:
            turn.record(AttemptStarted(serial, turn.now))
        if attempt.cancelling and state != ENDED:
            stop.append(serial)
    if forget:
        turn.effect(ForgetAttempts(node.id, tuple(forget)))
    if stop:
        turn.effect(StopAttempts(node.id, tuple(stop)))
    if resend:
        turn.effect(StartAttempts(node.id, tuple(resend)))


def on_suspected(turn: Turn, event: AgentSuspected) -> Answer:
    node = turn.world.nodes.get(event.node)
    if node is not None and node.connected:
        turn.record(NodeSuspected(node.id, turn.now))
    return None


def on_lost(turn: Turn, event: AgentLost) -> Answer:
    node = turn.world.nodes.get(event.node)
    if node is None or node.lost or not node.agent or node.state == NodeState.GONE:
        return None
    if node.connected or not node.suspect_at:
        turn.record(NodeSuspected(node.id, turn.now))
    if braked(turn, node):
        turn.timer(turn.now + turn.settings.mass_loss_hold, MASS_LOSS, index=node.id)
    else:
        lose_node(turn, node)
    return None


def braked(turn: Turn, node: Node) -> bool:
    """Whether this node vanished together with so many that the network is the likelier cause (DESIGN 6.3)."""
    settings = turn.settings
    known = [other for other in turn.world.nodes.values() if other.agent and other.state not in _NO_SIGN]
    together = [
        other
        for other in known
        if other.suspect_at and abs(other.suspect_at - node.suspect_at) <= settings.mass_loss_window
    ]
    return len(together) >= settings.mass_loss_count and len(together) >= settings.mass_loss_share * len(known)


def lose_node(turn: Turn, node: Node) -> None:
    """Its lease is over: what it held goes back to the queue, a step's worth at a time."""
    if not node.lost:
        turn.record(NodeLost(node.id, turn.now))
    held = list(node.held.values())
    for attempt in held[: turn.settings.step_limit]:
        lose(turn, attempt, f"nothing was heard of node {node.name!r} for longer than its lease", silent=True)
    admit(turn, node)
    if len(held) > turn.settings.step_limit:
        turn.later("lose", node.id)


def on_drained(turn: Turn, event: AgentDrained) -> Answer:
    node = turn.world.nodes.get(event.node)
    if node is None:
        return None
    if event.gone and not node.held:
        turn.record(NodeShifted(node.id, NodeState.GONE, turn.now))
    elif node.state == NodeState.UP:
        turn.record(NodeShifted(node.id, NodeState.DRAINING, turn.now))
    return None
