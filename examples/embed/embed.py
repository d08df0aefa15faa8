"""Styx inside a program's own asyncio loop: no server, no other process but the tasks."""

import asyncio

import styx


async def main() -> None:
    double = styx.Task("double", run="echo $((STYX_ARRAY_INDEX * 2)) > $STYX_RESULT", array=4)
    total = styx.Task("sum", run="cat $STYX_RESULTS/double.* | paste -sd+ -", needs=["double"])
    async with styx.ControlPlane.open() as plane:
        job = await plane.submit(styx.Job("embedded", [double, total]))
        result = await job.wait()
        print(f"{result.name}: {result.status}, {result.counts}")


asyncio.run(main())
