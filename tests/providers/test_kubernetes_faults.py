"""Pods made and deleted under every fault, and the server killed at any moment: nothing is left behind, nothing runs twice.

Everything goes through the host, the provider and the real client over HTTP; only session, core and store are played (`kube_desk`).
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from pathlib import Path

import pytest
from kube_desk import Desk
from kube_fake import ApiError
from kube_faults import Faults
from kube_world import REAL, World, world

from styx.core.states import Outcome
from styx.runtime import runner_carrier

RUNS = 200
AT_ONCE = 6
LATE = 0.8  # seconds; more than what the faults delay

pytestmark = pytest.mark.skipif(bool(REAL), reason="a real cluster has its own faults")


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("styx.providers.kubernetes.runner.LATE", LATE)
    monkeypatch.setattr("styx.providers.kubernetes.calls.LATE", LATE)
    monkeypatch.setattr("styx.providers.kubernetes.strangers.ORPHAN", 0.3)
    monkeypatch.setattr("styx.providers.kubernetes.reader.PATIENCE", 1.0)
    monkeypatch.setattr("styx.providers.kubernetes.api.CALL", 2.0)
    monkeypatch.setattr(runner_carrier, "FIRST", 0.01)
    monkeypatch.setattr(runner_carrier, "LAST", 0.2)


@pytest.mark.parametrize("part", range(4))
def test_nothing_is_left_behind_and_nothing_runs_twice(part: int, tmp_path: Path) -> None:
    async def main() -> None:
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(seed: int) -> None:
            folder = tmp_path / str(seed)
            folder.mkdir()
            async with gate:
                try:
                    async with asyncio.timeout(60), world(folder) as it:
                        await play(it, random.Random(seed))
                except (TimeoutError, AssertionError) as error:
                    raise AssertionError(f"seed {seed}: {error}") from error

        async with asyncio.TaskGroup() as group:
            for seed in range(part * RUNS // 4, (part + 1) * RUNS // 4):
                group.create_task(one(seed))

    asyncio.run(main())


async def play(it: World, draw: random.Random) -> None:
    faults = Faults(it.api, draw, draw.choice((0.05, 0.15, 0.3)), most=40)
    desk = Desk(it, image_wait="1s", pods=draw.choice((1, 100)))
    try:
        await _play(it, desk, faults, draw)
    finally:
        await desk.kill()


async def _play(it: World, desk: Desk, faults: Faults, draw: random.Random) -> None:
    await desk.up()
    attempts = range(1, draw.randint(2, 5))
    kills = draw.choice((0, 1, 1, 2, 3))
    for attempt in attempts:
        secrets = {"WORD": "a-secret-word"} if draw.random() < 0.4 else {}
        command = draw.choice(("echo one; echo two", "echo one; sleep 0.1; echo two", "exit 3", "echo one; sleep 0.3"))
        await desk.start(it.order(attempt, command, secrets=secrets, grace=1_000))
        await asyncio.sleep(draw.uniform(0.0, 0.05))
        await disturb(it, desk, draw, attempt)
    for _ in range(kills):
        await asyncio.sleep(draw.uniform(0.0, 0.2))
        await desk.kill()
        await disturb(it, desk, draw, len(attempts), deletes=0.5)
        await asyncio.sleep(draw.choice((0.0, 0.1)))
        await desk.up()
    await desk.until(lambda: set(desk.ends) == set(attempts))
    await faults.settle()
    await it.until_clean()
    await asyncio.sleep(LATE)  # nothing comes after that
    assert await it.leftovers() == []
    runs = {name: count for name, count in it.node.runs.items() if count > 1}
    assert not runs, f"run twice: {runs}"
    for attempt, end in desk.ends.items():
        text, order = desk.text.get(attempt, b""), desk.orders[attempt]
        if end.outcome == Outcome.EXITED:
            assert end.code == (3 if "exit 3" in order.spec.command[0] else 0), end
            whole = b"".join(word + b"\n" for word in (b"one", b"two") if word.decode() in order.spec.command[0])
            assert text == whole or b"[styx: " in text, (end, text)
            assert len(text) == end.stdout
        elif end.outcome == Outcome.KILLED:
            assert attempt in desk.stopped


async def disturb(it: World, desk: Desk, draw: random.Random, attempt: int, *, deletes: float = 0.1) -> None:
    """Something else happens: somebody deletes or evicts the pod, the task is cancelled, the API forgets its history."""
    name = f"styx-{it.tag}-{draw.randint(1, attempt)}"
    chance = draw.random()
    with contextlib.suppress(ApiError):
        if draw.random() < deletes:
            it.api.delete("pods", "n", name, {"gracePeriodSeconds": draw.choice((0, 1))})
        elif chance < 0.1:
            await it.node.evict("n", name)
        elif chance < 0.25:
            await desk.stop(draw.randint(1, attempt))
        elif chance < 0.35:
            it.api.compact()
        elif chance < 0.4:
            it.api.quota = 1
            asyncio.get_running_loop().call_later(0.1, lambda: setattr(it.api, "quota", 0))
