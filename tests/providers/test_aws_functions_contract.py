"""Functions are held to the contract of all Runners, as far as Lambda can promise it: they really run, in ministack, behind the proxy
that makes faults.

What a function prints is the tail of its log, so it is standard error here; its answer is JSON.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
from aws_proxy import AwsProxy, Dropped, Error, Gateway, Lost
from aws_proxy import Fault as Broken
from aws_world import context
from ministack_kit import ministack_url, zipped

from styx.core.resources import Resources
from styx.protocol.messages import Run, Spec
from styx.providers.aws import make
from styx.providers.aws.provider import PROMISES, Aws
from styx.providers.base import Found, Refused, Runner, RunOrder
from styx.testing.contracts.runner import LINES, Fault, RunnerContract, Told, Work

REGION = "us-east-1"
FUNCTION = "contract"
SOURCE = """
import os, time

def handler(event, context):
    with open(event["runs"], "a") as file:
        file.write("x")
    if event["kind"] == "fails":
        raise ValueError("told to")
    if event["kind"] == "writes":
        for number in range(event["lines"]):
            print("line", number, "of a long output")
        return None
    if event["kind"] == "goes on":
        print("up")
        while not os.path.exists(event["go"]):
            time.sleep(0.01)
        return None
    print("hello")
    return "result"
"""
FAULTS: dict[Fault, Broken] = {
    Fault.BUSY: Error("TooManyRequestsException", 429, "Rate Exceeded."),
    Fault.DROPPED: Dropped(),
    Fault.LOST: Lost(),
    Fault.BROKEN: Gateway(502, done=True),
}


class Place:
    """See `RunnerWorld`. Work that goes on looks for a file, and each run leaves a letter in another."""

    promises = PROMISES
    faults = tuple(Fault)
    prints = 2
    result = b'"result"'

    def __init__(self, proxy: AwsProxy, folder: Path) -> None:
        self._proxy = proxy
        self._folder = folder
        self._provider: Aws | None = None

    async def begin(self, sink: Told) -> tuple[Runner, list[Found]]:
        await self.kill()
        settings = {"regions": [REGION], "endpoint_url": self._proxy.url, "functions": {"concurrency": 10}}
        made = make(settings, msgspec.structs.replace(context(), sleep=_no_wait))
        assert isinstance(made, Aws)
        self._provider = made
        await _deploy(made)
        (runner,) = made.runners.values()
        return runner, await runner.open("0" * 32, sink)

    async def kill(self) -> None:
        if self._provider is not None:
            await self._provider.close()

    def work(self, attempt: int, kind: Work) -> RunOrder:
        event = {"kind": kind, "runs": self._runs(attempt), "go": self._go(attempt), "lines": LINES}
        payload = json.dumps(event, default=str)
        spec = Spec(
            1, 0, "job-1", "job-1.0", "t", (payload,), False, 0, Resources(), (), "", 0, 1_000, function=FUNCTION
        )
        return RunOrder("0" * 32, spec, Run(attempt, 0, 1))

    async def let_go(self, attempt: int) -> None:
        await asyncio.to_thread(Path(self._go(attempt)).touch)

    def fault(self, kind: Fault) -> None:
        self._proxy.faults.next("Invoke", FAULTS[kind])

    async def runs(self, attempt: int) -> int:
        return await asyncio.to_thread(_length, Path(self._runs(attempt)))

    async def until_clean(self) -> None:
        """Nothing is made for an invocation, so nothing is left of it."""

    def _runs(self, attempt: int) -> str:
        return str(self._folder / f"runs-{attempt}")

    def _go(self, attempt: int) -> str:
        return str(self._folder / f"go-{attempt}")


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


async def _no_wait(_seconds: float) -> None:
    await asyncio.sleep(0)


async def _deploy(provider: Aws) -> None:
    clients = provider._clients
    try:
        await clients.call("lambda", REGION, "get_function", FunctionName=FUNCTION)
    except Refused:
        await clients.call(
            "lambda",
            REGION,
            "create_function",
            FunctionName=FUNCTION,
            Runtime="python3.11",
            Role="arn:aws:iam::000000000000:role/any",
            Handler="code_of_it.handler",
            Code={"ZipFile": zipped(SOURCE)},
            Timeout=60,
        )


class TestFunctions(RunnerContract):
    @asynccontextmanager
    async def world(self, folder: Path) -> AsyncIterator[Place]:
        async with AwsProxy(ministack_url()) as proxy:
            place = Place(proxy, folder)
            try:
                yield place
            finally:
                await place.kill()
