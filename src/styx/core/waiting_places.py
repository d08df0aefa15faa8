"""Why a READY element waits for a machine that is to be brought up: what is coming, what was refused, which limit holds, and which provider
cannot be used at this moment."""

from __future__ import annotations

from styx.core.awaiting import awaited
from styx.core.capacity import has_own_place
from styx.core.fit import mismatch
from styx.core.outages import Outage, hints_of, outage_text
from styx.core.places import Places
from styx.core.ranking import best
from styx.core.reasons import Reason
from styx.core.states import NodeState
from styx.core.wording import listed, offer_text, time_text
from styx.core.world import Node, Task, World

__all__ = ["why_no_machine"]

_SHOWN = 5


def why_no_machine(world: World, task: Task, now: int, places: Places) -> Reason | None:
    """Codes: coming, no-machine, provider-barred. None when it waits for no provider."""
    if task.shape is None or has_own_place(world, task.spec):
        return None
    out = awaited(world, places.outages, task.spec)
    if not places.usable and not out:
        return None
    evidence = (*_refusals(world, now), *(outage_text(one, now) for one in out))
    shape = world.queues.shape(task.shape.priority, task.shape.resources, task.shape.labels)
    told = places.told.get(shape.key) if places.usable else None
    offered = best(places.catalog, task.spec.choices, task.spec.ordered, 1, lambda offer: False) is not None
    if told and (offered or not out):
        return Reason(
            "no-machine", told, evidence, ("`styx offers` shows what could be had, `styx instances` what is up",)
        )
    coming = [node for node in world.nodes.values() if _comes_for(node, task)]
    if coming:
        first = coming[0]
        more = f", and {len(coming) - 1} more" if coming[1:] else ""
        far = tuple(_how_far(node, now) for node in coming[:_SHOWN])
        return Reason("coming", f"{_what(first)} is being brought up for it{more}", (*far, *evidence))
    return None if offered or not out else _barred(out, evidence)


def _barred(out: list[Outage], evidence: tuple[str, ...]) -> Reason:
    """All that could hold it cannot be used at this moment."""
    names = listed((one.provider for one in out), "or")
    change = hints_of(out)
    if any(not one.lasting for one in out):
        change = (*change, "`styx check` asks at once, and it goes on by itself when that can be used again")
    return Reason("provider-barred", f"{names} could hold it, and cannot be used now", evidence, change)


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
