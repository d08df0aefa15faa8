"""Looking after machines every few seconds: whatever state one is in, what should happen next is seen from the state alone.

- REQUESTED, and the cloud was asked in vain: ask again.
- BOOTING for too long: end it, and leave that offer alone for a while.
- UP with nothing to do for its idle timeout: end it. UP, but its node is lost for long: end it.
- DRAINING and empty: end it.
- Any that costs: charge for it; stop a job that is about to use up its budget.
- And ask each provider for a listing now and then, sooner while something is in doubt.
"""

from __future__ import annotations

from styx.core.budget import near_budget
from styx.core.effects import LaunchInstance, ListMachines
from styx.core.on_job import cancel_job
from styx.core.records import InstanceRefused
from styx.core.release import charge, release
from styx.core.states import NodeState
from styx.core.timers import TEND
from styx.core.turn import Turn
from styx.core.wording import time_text
from styx.core.world import Node

__all__ = ["ask_later", "keep_tending", "tend"]

_LONGEST_WAIT = 60_000  # milliseconds between two calls for the same machine


def tend(turn: Turn) -> None:
    world, places = turn.world, turn.places
    places.tending = False
    for serial in list(world.by_token.values()):
        node = world.nodes[serial]
        if node.state != NodeState.GONE:
            _tend_node(turn, node)
    for job, reason in near_budget(world, turn.now, turn.settings):
        cancel_job(turn, job, reason)
    for serial, reason in list(
        places.unpaid.items()
    ):  # nothing of it runs or is coming, and nothing more can be paid for
        poor = world.jobs.get(serial)
        if poor is not None and not poor.usage and not poor.cancelling and not _coming_for(turn, serial):
            cancel_job(turn, poor, reason)
    _list(turn)
    keep_tending(turn)


def keep_tending(turn: Turn) -> None:
    """See to it that `tend` comes, as long as there is anything to look after."""
    places = turn.places
    if not places.tending and (places.usable or _instances(turn)):
        places.tending = True
        turn.timer(turn.now + turn.settings.tend_every, TEND)


def ask_later(turn: Turn, node: Node, wait: int) -> None:
    """The cloud is to be asked again for the machine of a node: after what it said itself, else after a wait that doubles."""
    places = turn.places
    own = places.waits.get(node.id, turn.settings.ask_again)
    places.waits[node.id] = min(2 * own, _LONGEST_WAIT)
    places.relaunch[node.id] = turn.now + (wait or own)
    keep_tending(turn)


def _tend_node(turn: Turn, node: Node) -> None:
    instance, settings, now = node.instance, turn.settings, turn.now
    assert instance is not None
    if node.state == NodeState.REQUESTED:
        due = turn.places.relaunch.get(node.id)
        if due is not None and due <= now:
            del turn.places.relaunch[node.id]
            turn.effect(LaunchInstance(node.id, instance.doubted))
        return
    if now - instance.charged_at >= settings.charge_every:
        charge(turn, node)
    if node.state == NodeState.BOOTING:
        if now - instance.bound_at >= settings.boot_limit:
            reason = f"its agent was not here {time_text(settings.boot_limit)} after it was brought up"
            until = now + settings.give_up
            turn.record(InstanceRefused(0, instance.job, instance.offer, "invalid", reason, until, now))
            release(turn, node, reason)
    elif node.lost and node.suspect_at and now - node.suspect_at >= settings.silent_limit:
        release(turn, node, f"nothing was heard of it for {time_text(now - node.suspect_at)}")
    elif node.state == NodeState.DRAINING:
        if not node.held:
            release(turn, node, instance.reason or "it was drained")
    elif node.state == NodeState.UP and node.connected and not node.held and instance.idle_since:
        idle = now - instance.idle_since
        if idle >= _idle_timeout(turn, node):
            release(turn, node, f"it had nothing to do for {time_text(idle)}")


def _coming_for(turn: Turn, job: int) -> bool:
    """Whether a machine that was ordered for the job may still take what it waits with."""
    return any(
        node.instance is not None
        and node.instance.job == job
        and node.state in {NodeState.REQUESTED, NodeState.BOOTING, NodeState.UP}
        for node in _instances(turn)
    )


def _idle_timeout(turn: Turn, node: Node) -> int:
    """How long a machine may be idle. One that a job with a budget pays for, or paid for, may be so for a moment only."""
    assert node.instance is not None
    job = turn.world.jobs.get(node.instance.job)
    if job is not None and job.spec.budget:
        return min(turn.settings.frugal_timeout, turn.settings.idle_timeout)
    return turn.settings.idle_timeout


def _list(turn: Turn) -> None:
    """Ask for the listings that are due."""
    settings, places = turn.settings, turn.places
    wanted = dict.fromkeys(sorted(places.catalog.usable), settings.list_idle)
    for node in _instances(turn):
        assert node.instance is not None
        doubtful = node.instance.doubted or node.state == NodeState.RELEASING
        every = settings.list_soon if doubtful else settings.list_every
        provider = node.instance.offer.provider
        wanted[provider] = min(every, wanted.get(provider, every))
    for provider, _ in places.strangers:
        wanted[provider] = min(settings.list_every, wanted.get(provider, settings.list_every))
    for provider, every in wanted.items():
        if turn.now - places.listed.get(provider, 0) >= every:
            places.listed[provider] = turn.now
            turn.effect(ListMachines(provider))


def _instances(turn: Turn) -> list[Node]:
    nodes = turn.world.nodes
    return [nodes[serial] for serial in turn.world.by_token.values() if nodes[serial].state != NodeState.GONE]
