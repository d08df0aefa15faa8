"""Why a READY element waits for a machine that is to be brought up: what is coming, what was refused, and which limit holds."""

from __future__ import annotations

from styx.core.capacity import has_own_place
from styx.core.fit import mismatch
from styx.core.places import Places
from styx.core.reasons import Reason
from styx.core.states import NodeState
from styx.core.wording import offer_text, time_text
from styx.core.world import Node, Task, World

__all__ = ["why_no_machine"]

_SHOWN = 5


def why_no_machine(world: World, task: Task, now: int, places: Places) -> Reason | None:
    """Codes: coming, no-machine. None when it waits for no provider."""
    if not places.usable or task.shape is None or has_own_place(world, task.spec):
        return None
    refusals = _refusals(world, now)
    shape = world.queues.shape(task.shape.priority, task.shape.resources, task.shape.labels)
    told = places.told.get(shape.key)
    if told:
        return Reason(
            "no-machine", told, refusals, ("`styx offers` shows what could be had, `styx instances` what is up",)
        )
    coming = [node for node in world.nodes.values() if _comes_for(node, task)]
    if coming:
        first = coming[0]
        more = f", and {len(coming) - 1} more" if coming[1:] else ""
        evidence = (*(_how_far(node, now) for node in coming[:_SHOWN]), *refusals)
        return Reason("coming", f"{_what(first)} is being brought up for it{more}", evidence)
    return None


def _comes_for(node: Node, task: Task) -> bool:
    if node.instance is None or node.state not in {NodeState.REQUESTED, NodeState.BOOTING}:
        return False
    return any(mismatch(node, choice.resources, choice.labels) is None for choice in task.spec.choices)


def _what(node: Node) -> str:
    return offer_text(node.instance.offer) if node.instance is not None else node.name


def _how_far(node: Node, now: int) -> str:
    instance = node.instance
    assert instance is not None
    if instance.bound_at:
        return f"{instance.ref} boots since {time_text(now - instance.bound_at)}"
    doubt = "; whether the cloud has brought it up is not known yet" if instance.doubted else ""
    return f"{offer_text(instance.offer)} was asked for {time_text(now - instance.intended_at)} ago{doubt}"


def _refusals(world: World, now: int) -> tuple[str, ...]:
    """The last answers that are still believed, the newest first."""
    known = sorted(world.refusals.items(), key=lambda entry: (-entry[1].until, entry[0]))
    lines = [
        f"refused: {refusal.detail} ({refusal.kind}; not asked again for {time_text(refusal.until - now)})"
        for _, refusal in known
        if refusal.until > now
    ]
    return tuple(lines[:_SHOWN])
