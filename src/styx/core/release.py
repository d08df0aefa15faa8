"""Ending a machine in an orderly way, and charging for it."""

from __future__ import annotations

from styx.core.effects import EndInstances, StopAttempts
from styx.core.records import InstanceCharged, NodeShifted
from styx.core.states import NodeState
from styx.core.turn import Turn
from styx.core.world import Node

__all__ = ["charge", "release"]


def release(turn: Turn, node: Node, reason: str, *, force: bool = False) -> None:
    """Have the machine of a node ended: at once when nothing is held there, after it has drained otherwise. With `force` what runs
    is stopped first (and, since nobody cancelled it, runs again elsewhere)."""
    instance = node.instance
    if instance is None or node.state in {NodeState.RELEASING, NodeState.GONE}:
        return
    if node.held and not node.lost:
        if node.state != NodeState.DRAINING:
            turn.record(NodeShifted(node.id, NodeState.DRAINING, turn.now, reason))
        if force:
            turn.effect(StopAttempts(node.id, tuple(node.held)))
        return
    charge(turn, node)
    turn.places.relaunch.pop(node.id, None)
    turn.record(NodeShifted(node.id, NodeState.RELEASING, turn.now, reason))
    if instance.ref:
        turn.effect(EndInstances(instance.offer.provider, (node.id,)))


def charge(turn: Turn, node: Node, *, last: bool = False) -> None:
    """Write down what the machine has cost since this was last done. With the last charge the cloud's shortest bill is reached in
    any case: what is lacking is paid by the job that the machine was brought up for."""
    instance = node.instance
    if instance is None or not instance.bound_at:
        return
    shares = {job: micros for job, micros in instance.due(turn.now).items() if micros}
    short = instance.offer.minimum * 1_000 - (turn.now - instance.bound_at)
    if last and short > 0:
        shares[instance.job] = shares.get(instance.job, 0) + instance.offer.price * short // 3_600_000
    if shares or turn.now > instance.charged_at:
        turn.record(InstanceCharged(node.id, tuple(sorted(shares.items())), turn.now))
