"""Many runs with each real adapter: whatever fails, and whenever the server is cut off, no machine is left behind.

STYX_PLACES_RUNS sets how many; CI asks for 200 of each (`make places`).
"""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path

import aws_proxy
import gcp_faults
import pytest
from aws_world import AwsWorld
from gcp_world import GcpWorld
from places_run import PlacesRun

from styx.providers.base import CLUSTER_TAG, TOKEN_TAG

RUNS = int(os.environ.get("STYX_PLACES_RUNS", "10"))
TOGETHER = 5  # runs beside each other in a world, and then a new world: moto tells of every machine that ever was
PARTS = RUNS // TOGETHER

AWS = {
    "RunInstances": [
        aws_proxy.Error("InsufficientInstanceCapacity", 500),
        aws_proxy.Error("VcpuLimitExceeded"),
        aws_proxy.Error("RequestLimitExceeded", 503),
        aws_proxy.Error("InternalError", 500),
        aws_proxy.Lost(),
        aws_proxy.Dropped(),
        aws_proxy.Gateway(504, done=True),
    ],
    "TerminateInstances": [aws_proxy.Lost(), aws_proxy.Dropped(), aws_proxy.Error("RequestLimitExceeded", 503)],
    "DescribeInstances": [aws_proxy.Error("InternalError", 500), aws_proxy.Dropped(), aws_proxy.Cut()],
}
GCP = {
    "instances.insert": [
        gcp_faults.Fails("ZONE_RESOURCE_POOL_EXHAUSTED"),
        gcp_faults.Error(403, "quotaExceeded"),
        gcp_faults.Error(403, "rateLimitExceeded"),
        gcp_faults.Error(503, "backendError"),
        gcp_faults.Lost(),
        gcp_faults.Dropped(),
        gcp_faults.Slow(),
    ],
    "instances.delete": [gcp_faults.Lost(), gcp_faults.Dropped(), gcp_faults.Error(403, "rateLimitExceeded")],
    "instances.aggregatedList": [gcp_faults.Error(503, "backendError"), gcp_faults.Dropped()],
}


async def together(runs: list[PlacesRun]) -> None:
    async def one(run: PlacesRun) -> None:
        try:
            async with asyncio.timeout(400):
                await run.run()
        except TimeoutError:
            raise AssertionError(f"the run of seed {run.seed} came to no end") from None

    await asyncio.gather(*map(one, runs))


@pytest.mark.timeout(900)
@pytest.mark.parametrize("part", range(PARTS))
def test_ec2(part: int) -> None:
    async def scenario() -> None:
        async with AwsWorld(("us-east-1",)) as world:

            async def alive() -> dict[str, dict[str, str]]:
                dead = {"terminated", "shutting-down"}
                return {ref: tags for ref, (state, tags) in (await world.machines()).items() if state not in dead}

            def trouble(dice: random.Random) -> None:
                call = dice.choice(sorted(AWS))
                world.faults.next(call, dice.choice(AWS[call]))

            seeds = range(part, RUNS, PARTS)
            runs = [PlacesRun(s, "aws", world.provider, alive, trouble) for s in seeds]
            await together(runs)
            assert await world.alive() == set()

    asyncio.run(scenario())


@pytest.mark.timeout(900)
@pytest.mark.parametrize("part", range(PARTS))
def test_compute_engine(part: int, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with GcpWorld(tmp_path) as world:

            async def alive() -> dict[str, dict[str, str]]:
                found = {}
                for (zone, name), machine in world.fake.engine.instances.items():
                    labels = machine.get("labels", {})
                    tags = {CLUSTER_TAG: labels.get(CLUSTER_TAG, ""), TOKEN_TAG: labels.get(TOKEN_TAG, "")}
                    found[f"{zone}/{name}"] = tags
                return found

            def trouble(dice: random.Random) -> None:
                call = dice.choice(sorted(GCP))
                world.faults.next(call, dice.choice(GCP[call]))

            seeds = range(part, RUNS, PARTS)
            runs = [PlacesRun(s, "gcp", world.provider, alive, trouble) for s in seeds]
            await together(runs)
            assert await world.alive() == set()

    asyncio.run(scenario())
