"""Whatever goes wrong, and however often: a refusal means that there is nothing, an answer means that there is one, and never two.

The caller here is the simplest that keeps the contract: it asks again after Unsure and after being throttled, looks once more when a
refusal comes after a doubt, and ends what it got until listings that are whole do not show it any more.
"""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest
from gcp_faults import Cut, Dropped, Error, Fails, Fault, Gateway, Lost, Partial, Slow, Stale
from gcp_world import GcpWorld

from styx.core.offers import Offer
from styx.core.resources import Resources
from styx.providers.base import Kind, Order, Provisioner, Refused, Unsure

CLUSTER = "feed" * 4
RUNS = 200
INSERT: tuple[Fault | None, ...] = (
    *(
        None,
        None,
        None,
        Lost(),
        Dropped(),
        Cut(),
        Gateway(502),
        Gateway(504, done=True),
        Slow(3),
        Slow(3, granted=True),
    ),
    *(
        Error(500, "internalError"),
        Error(503, "backendError"),
        Error(403, "rateLimitExceeded"),
        Error(401, "authError"),
    ),
    *(Error(403, "quotaExceeded"), Fails("QUOTA_EXCEEDED", 403), Fails("ZONE_RESOURCE_POOL_EXHAUSTED", waits=3)),
    *(Fails("RESOURCE_OPERATION_RATE_EXCEEDED", 403), Fails("INTERNAL_ERROR", 500, waits=2), Fails("NEW", 0)),
)
WAIT: tuple[Fault | None, ...] = (
    None,
    None,
    Dropped(),
    Gateway(502),
    Error(503, "backendError"),
    Error(429, "rateLimitExceeded"),
)
DELETE: tuple[Fault | None, ...] = (
    *(None, None, Lost(), Dropped(), Gateway(502), Gateway(504, done=True), Error(503, "backendError")),
    *(Error(403, "rateLimitExceeded"), Fails("INTERNAL_ERROR", 500), Fails("RESOURCE_NOT_READY", 400)),
)
LIST: tuple[Fault | None, ...] = (
    *(None, None, Gateway(502), Error(503, "backendError"), Cut()),
    *(Partial("us-central1-a"), Partial("europe-west4-a", warning=True)),
)


async def brought_up(processes: list[Provisioner], order: Order, draw: random.Random) -> str:
    """The ref of the order's machine; "" if it was refused for good. Each call may be from another process: a server that is started
    again knows nothing of what was answered before."""
    doubted = False
    while True:
        try:
            return (await draw.choice(processes).launch(order)).ref
        except Refused as error:
            if error.kind not in {Kind.THROTTLED, Kind.DENIED, Kind.UNREACHABLE}:
                break  # nothing was made by this call
        except Unsure:
            doubted = True
    while doubted:
        try:
            found = await processes[0].find(order)
        except (Refused, Unsure):
            continue
        return found.ref if found is not None else ""
    return ""


async def ended(provisioner: Provisioner, refs: list[str]) -> None:
    """Until two whole listings in a row show none of them."""
    absent = 0
    while absent < 2:
        try:
            if absent == 0:
                await provisioner.terminate(refs)
            listing = await provisioner.listing(CLUSTER)
        except (Refused, Unsure):
            continue
        if listing.complete:
            shown = {machine.ref for machine in listing.machines} & set(refs)
            absent = 0 if shown else absent + 1


@pytest.mark.parametrize("part", range(4))
def test_no_order_makes_two_machines_and_none_is_left(tmp_path: Path, part: int) -> None:
    async def scenario() -> None:
        async with GcpWorld(tmp_path) as world:
            processes: list[Provisioner] = [world.provider().provisioner for _ in range(3)]
            for run in range(part * RUNS // 4, (part + 1) * RUNS // 4):
                draw = random.Random(run)
                orders = []
                for at in range(2):
                    zone = draw.choice(world.zones)
                    offer = Offer("gcp", zone[:-2], zone, "n2-standard-8", draw.random() < 0.5, 1, Resources())
                    orders.append(Order(f"styx-{CLUSTER}-{run}-{at}", CLUSTER, offer, "#!/bin/sh\n"))
                for method, faults in (
                    ("instances.insert", INSERT),
                    ("zoneOperations.wait", WAIT),
                    ("instances.get", WAIT),
                    ("instances.delete", DELETE),
                    ("instances.aggregatedList", LIST),
                ):
                    world.faults.next(method, *(draw.choice(faults) for _ in range(6)))
                # One listing may be old; that no two in a row are, a caller has to see to by waiting (Promises.settles).
                world.faults.next("instances.aggregatedList", *draw.choice([[], [Stale()], [Stale(empty=True)]]))
                refs = await asyncio.gather(*(brought_up(processes, order, draw) for order in orders))
                world.fake.engine.settle()
                alive = await world.alive()
                for order, ref in zip(orders, refs, strict=True):
                    own = {one for one in alive if one.endswith(f"/{order.token}")}
                    assert own == ({ref} if ref else set()), (run, order.token, ref, own)
                assert world.double() == set(), run
                if any(refs):
                    await ended(processes[1], [ref for ref in refs if ref])
                world.faults.clear()
                assert await world.alive() == set(), run
            assert world.faults.hit["instances.insert"] > RUNS // 4

    asyncio.run(scenario())
