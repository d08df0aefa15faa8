"""Budgets: a job that nears its budget is stopped while what stopping costs is still in it.

What a job has spent is what was charged, and what its machines owe by now. What it is still going to spend, whatever is decided, is
set aside: the grace of its programs and the time until a machine of its own is seen to be idle and ended, and what the cloud's
shortest bill has left of each machine that was brought up for it.
"""

from __future__ import annotations

from collections.abc import Iterator

from styx.core.instance import Instance
from styx.core.offers import MICROS, Offer
from styx.core.settings import CoreSettings
from styx.core.states import NodeState
from styx.core.world import Job, World

__all__ = ["affords", "lasts", "money", "near_budget", "spent"]

_HOUR = 3_600_000


def money(micros: int) -> str:
    """As people read it, to the cent, or to the digit that counts."""
    value = micros / MICROS
    return f"${value:,.2f}" if value >= 0.01 or not micros else f"${value:.6f}".rstrip("0")


def spent(world: World, job: Job, now: int) -> int:
    """Micros that a live job has cost up to now."""
    return job.cost + sum(instance.due(now).get(job.serial, 0) for instance in _costing(world))


def near_budget(world: World, now: int, settings: CoreSettings) -> list[tuple[Job, str]]:
    """Jobs that are to be stopped now, and why."""
    found = []
    paying = {serial for instance in _costing(world) for serial in (*instance.loads, instance.job)}
    for serial in sorted(paying):
        job = world.jobs.get(serial)
        if job is None or not job.spec.budget or job.cancelling:
            continue
        already, aside = spent(world, job, now), _reserve(world, job, now, settings)
        if already + aside >= job.spec.budget:
            reason = (
                f"its budget of {money(job.spec.budget)} is nearly used up: {money(already)} is spent, and stopping may "
                f"take {money(aside)}"
            )
            found.append((job, reason))
    return found


def affords(world: World, job: Job, offer: Offer, now: int, settings: CoreSettings) -> bool:
    """Whether a job's budget bears one more machine for at least as long as it would be billed in any case."""
    if not job.spec.budget:
        return True
    shortest = max(offer.minimum * 1_000, _stopping(job, settings)) + settings.boot_estimate
    coming = sum(
        _price_of(node.instance.offer, max(node.instance.offer.minimum * 1_000, settings.boot_estimate))
        for node in world.nodes.values()
        if node.instance is not None and node.instance.job == job.serial and node.state == NodeState.REQUESTED
    )
    ahead = spent(world, job, now) + _reserve(world, job, now, settings) + coming
    return ahead + _price_of(offer, shortest) <= job.spec.budget


def lasts(world: World, job: Job, offer: Offer, now: int) -> int:
    """Seconds for which the rest of the job's budget pays for such a machine; 0: it has none. A machine that hears from nobody ends
    itself by then."""
    if not job.spec.budget or not offer.price:
        return 0
    return max(60, (job.spec.budget - spent(world, job, now)) * 3_600 // offer.price)


def _reserve(world: World, job: Job, now: int, settings: CoreSettings) -> int:
    """Micros that the job is going to cost even if it is stopped now."""
    stopping = _stopping(job, settings)
    total = 0
    for instance in _costing(world):
        own = instance.job == job.serial
        if own:
            left = instance.offer.minimum * 1_000 - (now - instance.bound_at)
            total += _price_of(instance.offer, max(stopping + settings.frugal_timeout, left))
        elif job.serial in instance.loads:
            total += _price_of(instance.offer, stopping)
    return total


def _stopping(job: Job, settings: CoreSettings) -> int:
    """Milliseconds that stopping the job may take: the longest grace of its tasks, and two looks."""
    grace = max((task.spec.grace for task in job.tasks if task.live), default=0)
    return grace + 2 * settings.tend_every


def _price_of(offer: Offer, milliseconds: int) -> int:
    return -(-offer.price * milliseconds // _HOUR)


def _costing(world: World) -> Iterator[Instance]:
    for serial in world.by_token.values():
        node = world.nodes[serial]
        if node.instance is not None and node.instance.bound_at and node.state != NodeState.GONE:
            yield node.instance
