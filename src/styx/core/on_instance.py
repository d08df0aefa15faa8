"""What is decided about machines: when the cloud answers, when it lists, and when a person wants them down.

The life of a machine. Its node is REQUESTED once the intent is on disk, BOOTING once the cloud has named it, UP while its agent is
here, RELEASING when it is to end, and GONE only when the cloud has said so: by a refusal before anything was created, or by a
complete listing.

    intent on disk -> call -> named -> agent -> idle, or unwanted -> call to end it -> a listing without it -> gone

Whatever is lost on the way (an answer, this process, the network) leaves a node in one of these states, and each state knows what
to do next: `tending` asks again, and `on_listed` holds what should be there against what is.
"""

from __future__ import annotations

from styx.core.effects import Answer, EndInstances, EndMachines, ListMachines
from styx.core.events import (
    CatalogKnown,
    DownRequested,
    InstanceLaunched,
    InstanceRefusedByCloud,
    InstanceUnsure,
    MachineSeen,
    MachinesListed,
)
from styx.core.on_attempt import lose
from styx.core.placement import admit
from styx.core.records import InstanceBound, InstanceDoubted, InstanceRefused, NodeShifted
from styx.core.refusals import AFTER
from styx.core.release import charge, release
from styx.core.states import NodeState
from styx.core.tending import ask_later, keep_tending
from styx.core.turn import Turn
from styx.core.world import Node

__all__ = ["gone", "on_catalog", "on_down", "on_launched", "on_listed", "on_refused", "on_unsure"]

_PASSING = {"throttled", "unreachable"}  # answers that say nothing about the offer
_SEEN = 2  # complete listings that must agree before anything is believed of what they do not show, or ended


def on_catalog(turn: Turn, event: CatalogKnown) -> Answer:
    """What may be brought up. Each provider is asked at once what it has of ours: a start begins with a look."""
    turn.places.catalog = event.catalog
    turn.places.outages = event.outages
    for provider in sorted(event.catalog.usable):
        if provider not in turn.places.listed:
            turn.places.listed[provider] = turn.now
            turn.effect(ListMachines(provider))
    keep_tending(turn)
    return None


def on_launched(turn: Turn, event: InstanceLaunched) -> Answer:
    node = turn.world.nodes.get(event.node)
    if node is None or node.instance is None:
        return None
    instance = node.instance
    turn.places.relaunch.pop(node.id, None)
    if node.state == NodeState.GONE or instance.ref not in {"", event.ref}:
        # Given up before its name was known, or a second machine for the same intent.
        turn.effect(EndMachines(instance.offer.provider, (event.ref,)))
        return None
    if not instance.ref:
        turn.record(InstanceBound(node.id, event.ref, turn.now))
    if node.state == NodeState.RELEASING:
        turn.effect(EndInstances(instance.offer.provider, (node.id,)))
    keep_tending(turn)
    return None


def on_refused(turn: Turn, event: InstanceRefusedByCloud) -> Answer:
    """Nothing was created by this call. If an earlier one is in doubt, only listings can say that there is nothing."""
    node = turn.world.nodes.get(event.node)
    if node is None or node.instance is None or node.instance.ref or node.state == NodeState.GONE:
        return None
    instance = node.instance
    turn.places.relaunch.pop(node.id, None)
    wanted = node.state == NodeState.REQUESTED
    if wanted and event.kind in _PASSING and turn.now - instance.intended_at < turn.settings.give_up:
        ask_later(turn, node, event.retry_after)
        return None
    until = turn.now + max(AFTER.get(event.kind, AFTER["capacity"]), event.retry_after)
    about = 0 if instance.doubted else node.id
    turn.record(InstanceRefused(about, instance.job, instance.offer, event.kind, event.detail, until, turn.now))
    if instance.doubted and wanted:
        release(turn, node, event.detail)
    return None


def on_unsure(turn: Turn, event: InstanceUnsure) -> Answer:
    node = turn.world.nodes.get(event.node)
    if node is None or node.instance is None or node.instance.ref or node.state == NodeState.GONE:
        return None
    turn.record(InstanceDoubted(node.id, turn.now, event.detail))
    if node.state == NodeState.REQUESTED:
        age = turn.now - node.instance.intended_at
        if event.spent and age >= turn.settings.settle:
            # Its machine would be shown by now. The intent is lost: listings see to whatever still carries its token, and another
            # intent, with a token of its own, takes its place.
            release(turn, node, event.detail)
        elif age < turn.settings.give_up:
            ask_later(turn, node, 0)
        else:
            release(turn, node, f"nobody could say whether it was brought up: {event.detail}")
    return None


def on_down(turn: Turn, event: DownRequested) -> Answer:
    """Answers with how many machines are on their way out by this."""
    count = 0
    for serial in event.nodes:
        node = turn.world.nodes.get(serial)
        if node is None or node.instance is None or node.state in {NodeState.RELEASING, NodeState.GONE}:
            continue
        release(turn, node, event.reason or "a person asked for it", force=event.force)
        count += 1
    keep_tending(turn)
    return count


def on_listed(turn: Turn, event: MachinesListed) -> Answer:
    """Hold what should be there against what is."""
    known: set[str] = set()
    by_ref = {machine.ref: machine for machine in event.machines}
    by_token: dict[str, MachineSeen] = {}
    for machine in event.machines:  # of two with one token, the one that lives
        if machine.token and (machine.token not in by_token or by_token[machine.token].ended):
            by_token[machine.token] = machine
    for serial in list(turn.world.by_token.values()):
        node = turn.world.nodes[serial]
        instance = node.instance
        if instance is None or instance.offer.provider != event.provider or node.state == NodeState.GONE:
            continue
        seen = by_ref.get(instance.ref) if instance.ref else by_token.get(instance.token)
        if seen is not None:
            known.add(seen.ref)
            turn.places.absent.pop(serial, None)
            _compare(turn, node, seen)
        elif event.complete:
            _missing(turn, node, event.asked_at)
    if event.complete:
        _strangers(turn, event, known)
    return None


def _compare(turn: Turn, node: Node, seen: MachineSeen) -> None:
    """The machine of a node is in the listing."""
    instance = node.instance
    assert instance is not None
    if seen.ended:
        if not node.connected:
            gone(turn, node, seen.detail or "the cloud has ended it")
        return
    if not instance.ref:
        turn.record(InstanceBound(node.id, seen.ref, turn.now))
        turn.places.relaunch.pop(node.id, None)
    if seen.stopped and not node.connected and node.state != NodeState.RELEASING:
        reason = seen.detail or "it was stopped, or ended itself"
        for attempt in list(node.held.values()):
            lose(turn, attempt, f"its machine does not run any more: {reason}")
        release(turn, node, reason)
    elif node.state == NodeState.RELEASING:
        turn.effect(EndInstances(instance.offer.provider, (node.id,)))


def _missing(turn: Turn, node: Node, asked_at: int) -> None:
    """A complete listing does not show the machine of a node. It proves something once it was asked for long enough after
    the last call that may have changed it."""
    instance = node.instance
    assert instance is not None
    if node.connected or node.state == NodeState.REQUESTED:
        return
    if asked_at - max(instance.bound_at, instance.intended_at) < turn.settings.settle:
        return
    if not instance.ref and asked_at - instance.released_at < turn.settings.settle:
        return
    absent = turn.places.absent[node.id] = turn.places.absent.get(node.id, 0) + 1
    if absent >= _SEEN:
        gone(turn, node, instance.reason or "the cloud no longer knows of it")


def _strangers(turn: Turn, event: MachinesListed, known: set[str]) -> None:
    """Machines that carry our mark and that no node stands for: ended when a second complete listing shows them, once they are old
    enough not to be somebody's call under way. One whose agent is here is left to the handler of its node."""
    world, places = turn.world, turn.places
    connected = {node.instance.ref for node in world.nodes.values() if node.instance is not None and node.connected}
    before = {at: seen for at, seen in places.strangers.items() if at[0] == event.provider}
    doomed: list[str] = []
    for machine in event.machines:
        key = (event.provider, machine.ref)
        if machine.ended or not machine.ours or machine.ref in known or machine.ref in connected:
            continue
        twin = world.nodes.get(world.by_token.get(machine.token, 0))
        if twin is not None and twin.connected and twin.state not in {NodeState.RELEASING, NodeState.GONE}:
            continue  # two for one intent, and the agent that is here may be on this one: both go when it is released
        first, count = before.pop(key, (turn.now, 0))
        places.strangers[key] = (first, count + 1)
        age = turn.now - min(machine.launched_at or first, first)
        if count + 1 >= _SEEN and age >= turn.settings.orphan_age:
            doomed.append(machine.ref)
    for key in before:
        del places.strangers[key]
    if doomed:
        turn.effect(EndMachines(event.provider, tuple(sorted(doomed))))


def gone(turn: Turn, node: Node, reason: str) -> None:
    """The cloud says that the machine is no more: what it held can run elsewhere at once, exclusive or not."""
    charge(turn, node, last=True)
    for attempt in list(node.held.values()):
        lose(turn, attempt, f"its machine is gone: {reason}")
    admit(turn, node)
    places = turn.places
    for memory in (places.absent, places.relaunch, places.waits):
        memory.pop(node.id, None)
    turn.record(NodeShifted(node.id, NodeState.GONE, turn.now, reason))
