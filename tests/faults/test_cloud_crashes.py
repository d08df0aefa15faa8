"""kill -9 of a real server at each step of a machine's life: whatever was under way, nothing is brought up twice, nothing is left, and
nobody who is at work is ended.

One run takes two machines through their lives, one of them at work while the other comes to its end, and the server is killed

1. while one RunInstances is on its way, which comes to EC2 when the next server has asked again, and another has been carried out, its
   answer not there yet,
2. when both are bound and their agents have not dialled,
3. when both are at work,
4. while TerminateInstances is on its way and never comes to EC2,
5. when it has been carried out and its answer is not there yet,
6. while the listing that would confirm it is under way.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
from cloud_life import Clouded, clouded
from faults_kit import Books, ended, figure, scaled

from styx.core.states import Outcome
from styx.providers.base import TOKEN_TAG

sys.path.insert(0, str(Path(__file__).parents[1] / "providers"))

from aws_proxy import Asked, Held
from moto_kit import moto_url

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(scaled(240, 1_800))]

ROUNDS = scaled(1, 20)
KILLS = 6


async def through_a_life(it: Clouded, number: int) -> None:
    """Both machines of a round, from the first request to the last listing."""
    faults, before = it.world.faults, len(it.asked("RunInstances"))
    it.may_boot.clear()

    late, unanswered = Held(before=True), Held()
    faults.next("RunInstances", late, unanswered)
    jobs = [await it.submit(f"{name}-{number}") for name in "ab"]
    await it.until("one request is held", late.reached.is_set)
    await it.until("one answer is held", unanswered.reached.is_set)
    await it.kill()
    unanswered.release()
    await it.start()
    token = intent(it.asked("RunInstances")[before])

    def asked_again() -> bool:
        return [intent(call) for call in it.asked("RunInstances")].count(token) == 2

    await it.until("the next server asks again", asked_again)
    late.release()

    async def both_bound() -> bool:
        return await it.states() == ["BOOTING", "BOOTING"]

    await it.until("both machines are bound", both_bound)
    assert {len(refs) for refs in (await it.ever()).values()} == {1}, "two machines for one intent"
    await it.again()

    it.may_boot.set()
    await it.until("both are at work", lambda: len(it.at_work) == 2)
    await it.again()

    first, second = await it.until("both are back, and at work", lambda: it.at_work if len(it.at_work) == 2 else [])
    assert not ending(it, first.ref, second.ref), "a machine was ended while both were at work"
    never = Held(before=True)
    faults.next("TerminateInstances", never)
    await it.finish(first)
    await it.until("the request to end it is held", never.reached.is_set)
    await it.kill()

    unanswered = Held()
    faults.next("TerminateInstances", unanswered)
    await it.start()
    await it.until("it is asked for again, and the answer is held", unanswered.reached.is_set)
    await it.kill()
    unanswered.release()

    listing = Held()
    faults.next("DescribeInstances", listing)
    await it.start()
    await it.until("the listing is held", listing.reached.is_set)
    await it.until("the other is back, and at work", lambda: it.at_work == [second])
    assert not ending(it, second.ref), "a machine was ended while it was at work"
    await it.finish(second)
    await it.until("the other is ended too", lambda: ending(it, second.ref) and not it.machines)
    await it.kill()
    listing.release()
    await it.start()

    async def nothing_left() -> bool:
        return await it.states() == []

    await it.until("the server knows of no machine any more", nothing_left)
    for job in jobs:
        view = await asyncio.to_thread(ended, it.cluster, job)
        assert view is not None, "a job has not ended"
        assert view["status"] == "SUCCEEDED", view


def intent(call: Asked) -> str:
    """The token of the intent that a RunInstances is for."""
    key = next(key for key, value in call.fields.items() if value == TOKEN_TAG)
    return str(call.fields[key.removesuffix("Key") + "Value"])


def ending(it: Clouded, *refs: str) -> bool:
    """Whether anybody has asked to end one of these."""
    named = {str(value) for call in it.asked("TerminateInstances") for value in call.fields.values()}
    return any(ref.partition("/")[2] in named for ref in refs)


async def scenario(folder: Path) -> None:
    async with clouded(folder) as it:
        await it.start()
        for number in range(ROUNDS):
            await through_a_life(it, number)
        assert await it.world.alive() == set()
        ever = await it.ever()
        assert len(ever) == 2 * ROUNDS, f"there was not one machine for each intent: {ever}"
        assert {len(refs) for refs in ever.values()} == {1}, f"two machines for one intent: {ever}"
        assert await it.states(gone=True) == ["GONE"] * 2 * ROUNDS
        assert "Traceback" not in it.cluster.log("server")
        await it.kill()
        books = Books(it.cluster.home)
        assert (books.open, books.of(Outcome.EXITED), len(books.attempts)) == (0, 2 * ROUNDS, 2 * ROUNDS)
        figure(
            "kill -9 of a server with machines in EC2",
            kills=KILLS * ROUNDS,
            machines=len(ever),
            launches_asked_for=len(it.asked("RunInstances")),
            left=0,
            brought_up_twice=0,
            ended_at_work=0,
        )


def test_killed_at_each_step_of_a_machines_life(tmp_path: Path) -> None:
    moto_url()  # from the main thread: it ends with it
    asyncio.run(scenario(tmp_path))
