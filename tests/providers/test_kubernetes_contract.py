"""Pods are held to the contract of all Runners."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from kube_faults import Faults
from kube_world import REAL, World, world

from styx.providers.base import Found, Runner, RunOrder
from styx.providers.kubernetes.pod import name_of
from styx.providers.kubernetes.provider import PROMISES
from styx.testing.contracts.runner import LINES, Fault, RunnerContract, Told, Work


class Place:
    """See `RunnerWorld`. Work that goes on looks for a file; on a real cluster that is one in the pod, made by nobody."""

    promises = PROMISES
    faults = () if REAL else tuple(Fault)
    prints = 1
    result = b"result"

    def __init__(self, it: World) -> None:
        self._it = it
        self._next: str | None = None
        if not REAL:
            self._faulty = Faults(it.api, random.Random(1), 0.0)
            it.api.intercept = self._intercept

    async def begin(self, sink: Told) -> tuple[Runner, list[Found]]:
        await self._it.kill()
        (runner,) = self._it.provider().runners.values()
        return runner, await runner.open(self._it.tag, sink)

    def work(self, attempt: int, kind: Work) -> RunOrder:
        command = {
            Work.SUCCEEDS: "echo hello; printf result > $STYX_RESULT",
            Work.FAILS: "exit 3",
            Work.WRITES: f"n=0; while [ $n -lt {LINES} ]; do echo line $n of a long output; n=$((n+1)); done",
            Work.GOES_ON: f"echo up; while [ ! -e {self._it.folder}/go-{attempt} ]; do sleep 0.02; done",
        }
        return self._it.order(attempt, command[kind], grace=1_000)

    async def let_go(self, attempt: int) -> None:
        if REAL:
            pytest.skip("nobody can let a program in a real pod go on")
        (self._it.folder / f"go-{attempt}").touch()

    def fault(self, kind: Fault) -> None:
        self._next = kind

    async def runs(self, attempt: int) -> int:
        return 1 if REAL else self._it.node.runs.get(name_of(self._it.tag, attempt), 0)

    async def until_clean(self) -> None:
        await self._it.until_clean()

    async def _intercept(self, request, act):  # type: ignore[no-untyped-def]
        if request.method != "POST" or self._next is None:
            return await act()
        kind, self._next = self._next, None
        if kind == Fault.BROKEN:
            await act()
        return await getattr(self._faulty, f"_{kind}")(request, act)


class TestPods(RunnerContract):
    @pytest.fixture(autouse=True)
    def _hurried(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("styx.providers.kubernetes.runner.LATE", 0.2)
        monkeypatch.setattr("styx.providers.kubernetes.calls.LATE", 0.2)

    @asynccontextmanager
    async def world(self, folder: Path) -> AsyncIterator[Place]:
        async with world(folder) as it:
            yield Place(it)
