"""Lambda as a Runner: functions that really run, in ministack, behind the fault proxy."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest
from aws_proxy import AwsProxy, Dropped, Error, Fault, Gateway, Held, Lost
from aws_world import context
from ministack_kit import ministack_url, zipped

from styx.core.events import AttemptEnding
from styx.core.resources import Resources
from styx.core.states import Outcome
from styx.protocol.messages import Run, Secret, Spec
from styx.providers.aws import make
from styx.providers.aws.functions import CANNOT_RUN, NOT_FOUND, Functions
from styx.providers.aws.provider import Aws
from styx.providers.base import Refused, RunOrder

REGION = "us-east-1"
SOURCE = """
import json, os, time

def handler(event, context):
    print("hello from the function")
    for number in range(event.get("lines", 0)):
        print("line", number, "x" * 60)
    if "fail" in event:
        raise ValueError(event["fail"])
    if "begun" in event:
        open(event["begun"], "w").close()
    while "until" in event and not os.path.exists(event["until"]):
        time.sleep(0.01)
    if "size" in event:
        return "x" * event["size"]
    custom = context.client_context and (
        context.client_context["custom"] if isinstance(context.client_context, dict) else context.client_context.custom
    )
    return {"got": event, "custom": custom}
"""


class Recorder:
    """A sink that keeps what it is told; `until` waits for something to be true of it."""

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.written: dict[tuple[int, int], bytes] = {}
        self.ends: dict[int, AttemptEnding] = {}
        self.reasons: list[str] = []
        self.broken: list[str] = []  # of what a runner promises its sink
        self._told = asyncio.Condition()

    def started(self, attempt: int) -> None:
        self._check(attempt not in self.starts, "started twice")
        self.starts.append(attempt)
        self._tell()

    def output(self, attempt: int, stream: int, offset: int, data: bytes) -> None:
        so_far = self.written.get((attempt, stream), b"")
        self._check(attempt not in self.ends, "output after the end")
        self._check(offset == len(so_far), "an offset that leaves a gap")
        self.written[attempt, stream] = so_far + data

    async def room(self, attempt: int) -> None:
        return

    def ended(self, ending: AttemptEnding) -> None:
        self._check(ending.attempt not in self.ends, "ended twice")
        self.ends[ending.attempt] = ending
        for stream, told in ((1, ending.stdout), (2, ending.stderr)):
            self._check(told == len(self.written.get((ending.attempt, stream), b"")), "a wrong count of output")
        self._tell()

    def waiting(self, attempt: int, reason: str) -> None:
        self.reasons.append(reason)
        self._tell()

    def _check(self, kept: bool, promise: str) -> None:
        if not kept:
            self.broken.append(promise)

    def _tell(self) -> None:
        async def notify() -> None:
            async with self._told:
                self._told.notify_all()

        self._task = asyncio.ensure_future(notify())

    async def until(self, true: Callable[[], object]) -> None:
        async with self._told:
            await self._told.wait_for(lambda: bool(true()))

    async def end(self, attempt: int = 1) -> AttemptEnding:
        await self.until(lambda: attempt in self.ends)
        return self.ends[attempt]


def order(payload: object, attempt: int = 1, function: str = "work", **more: object) -> RunOrder:
    text = payload if isinstance(payload, str) else json.dumps(payload)
    spec = Spec(
        1, 0, "job", "task", "t", (text,), False, 0, Resources(), (("COLOUR", "red"),), "", 0, 1_000, function=function
    )
    spec = msgspec.structs.replace(spec, **more)
    return RunOrder("0" * 32, spec, Run(attempt, 0, 1))


Scenario = Callable[[Functions, Recorder, AwsProxy], Awaitable[None]]


def play(scenario: Scenario, *, concurrency: int = 10) -> None:
    async def no_wait(_seconds: float) -> None:
        await asyncio.sleep(0)

    async def whole() -> None:
        async with AwsProxy(ministack_url()) as proxy:
            settings = {"regions": [REGION], "endpoint_url": proxy.url, "functions": {"concurrency": concurrency}}
            provider = make(settings, msgspec.structs.replace(context(), sleep=no_wait))
            assert isinstance(provider, Aws)
            await deploy(provider)
            [functions] = provider.runners.values()
            assert isinstance(functions, Functions)
            sink = Recorder()
            assert await functions.open("0" * 32, sink) == []
            try:
                async with asyncio.timeout(60):
                    await scenario(functions, sink, proxy)
            finally:
                await provider.close()
            assert not [end for end in sink.ends.values() if "a fault of Styx" in end.reason]
            assert not sink.broken

    asyncio.run(whole())


async def deploy(provider: Aws) -> None:
    clients = provider._clients
    try:
        await clients.call("lambda", REGION, "get_function", FunctionName="work")
    except Refused:
        for name, limit in (("work", 60), ("brief", 1)):
            await clients.call(
                "lambda",
                REGION,
                "create_function",
                FunctionName=name,
                Runtime="python3.11",
                Role="arn:aws:iam::000000000000:role/any",
                Handler="code_of_it.handler",
                Code={"ZipFile": zipped(SOURCE)},
                Timeout=limit,
            )


def test_a_payload_goes_in_and_the_answer_is_result_and_output() -> None:
    async def scenario(functions: Functions, sink: Recorder, proxy: AwsProxy) -> None:
        await functions.start(order({"n": 1}))
        await functions.start(order({"n": 1}))
        ending = await sink.end()
        assert (ending.outcome, ending.code, ending.reason) == (Outcome.EXITED, 0, "")
        answer = json.loads(ending.result)
        assert answer["got"] == {"n": 1}
        assert json.loads(sink.written[1, 1]) == answer
        assert b"hello from the function" in sink.written[1, 2]
        if answer["custom"] is not None:  # as far as the emulator hands it on
            assert answer["custom"]["STYX_TASK_ID"] == "task"
            assert answer["custom"]["COLOUR"] == "red"
        assert sink.starts == [1]
        await functions.start(order({"n": 1}))
        assert sum(call.action == "Invoke" for call in proxy.calls) == 1
        await functions.forget(1)
        await functions.forget(1)

    play(scenario)


def test_a_large_answer_is_output_and_no_result() -> None:
    async def scenario(functions: Functions, sink: Recorder, _: AwsProxy) -> None:
        await functions.start(order({"size": 600_000}))
        ending = await sink.end()
        assert (ending.code, ending.result) == (0, b"")
        assert ending.stdout == 600_002
        assert json.loads(sink.written[1, 1]) == "x" * 600_000

    play(scenario)


def test_an_error_of_the_function_is_exit_code_1_in_its_own_words() -> None:
    async def scenario(functions: Functions, sink: Recorder, _: AwsProxy) -> None:
        await functions.start(order({"fail": "no such key"}))
        ending = await sink.end()
        assert (ending.outcome, ending.code, ending.result) == (Outcome.EXITED, 1, b"")
        assert ending.reason.endswith("Error: no such key")
        assert f"{ending.reason}\n".encode() in sink.written[1, 2]
        assert (1, 1) not in sink.written
        await functions.start(order({"until": "/nonexistent"}, 2, "brief"))
        ending = await sink.end(2)
        assert (ending.outcome, ending.code) == (Outcome.EXITED, 1)
        assert "imed out" in ending.reason

    play(scenario)


def test_a_log_that_is_longer_than_the_tail_is_marked_as_a_gap() -> None:
    tail = b"line 1 xxxx\n" * 400

    async def scenario(functions: Functions, sink: Recorder, _: AwsProxy) -> None:
        await functions.start(order({"lines": 200}))
        await sink.end()
        assert sink.written[1, 2].startswith(b"[styx: only the end")
        held = next(iter(functions._attempts.values()))
        sink.ends.clear()

        before = len(sink.written[1, 2])
        await functions._tail(held, base64.b64encode(tail[-4_096:]).decode())
        assert sink.written[1, 2][before:].startswith(b"[styx: only the end")
        before = len(sink.written[1, 2])
        await functions._tail(held, base64.b64encode(b"START RequestId: 1\nall of it\n").decode())
        assert sink.written[1, 2][before:] == b"START RequestId: 1\nall of it\n"

    play(scenario)


def test_what_is_throttled_waits_says_why_and_has_not_started() -> None:
    async def scenario(functions: Functions, sink: Recorder, proxy: AwsProxy) -> None:
        proxy.faults.next(
            "Invoke",
            Error("TooManyRequestsException", 429, "Rate Exceeded.", retry_after="3"),
            Error("EC2ThrottledException", 502),
        )
        await functions.start(order({}))
        ending = await sink.end()
        assert (ending.outcome, ending.code) == (Outcome.EXITED, 0)
        told = [reason for reason in sink.reasons if reason]
        assert len(told) == 2
        assert "Rate Exceeded" in told[0]
        assert sink.reasons[-1] == ""
        assert sum(call.action == "Invoke" for call in proxy.calls) == 3

    play(scenario)


@pytest.mark.parametrize(
    "fault",
    [Lost(), Dropped(), Gateway(502), Error("ServiceException", 500)],
    ids=["lost", "dropped", "gateway", "500"],
)
def test_where_nobody_knows_whether_it_ran_it_is_lost_and_not_invoked_again(fault: Fault) -> None:
    async def scenario(functions: Functions, sink: Recorder, proxy: AwsProxy) -> None:
        proxy.faults.next("Invoke", fault)
        await functions.start(order({}))
        ending = await sink.end()
        assert ending.outcome is Outcome.LOST
        assert "not known" in ending.reason
        assert sum(call.action == "Invoke" for call in proxy.calls) == 1

    play(scenario)


def test_what_can_never_run_ends_as_a_command_that_is_not_there() -> None:
    async def scenario(functions: Functions, sink: Recorder, proxy: AwsProxy) -> None:
        await functions.start(order({}, 1, "no-such-function"))
        assert (await sink.end(1)).code == NOT_FOUND
        assert "no-such-function" in sink.ends[1].reason or "no function" in sink.ends[1].reason
        proxy.faults.next(
            "Invoke", Error("AccessDeniedException", 403, "not authorized to perform: lambda:InvokeFunction")
        )
        await functions.start(order({}, 2))
        assert (await sink.end(2)).code == CANNOT_RUN
        assert "lambda:InvokeFunction" in sink.ends[2].reason
        await functions.start(msgspec.structs.replace(order({}, 3), secrets=(Secret("KEY", "hush"),)))
        assert (await sink.end(3)).code == CANNOT_RUN
        assert "hush" not in sink.ends[3].reason
        await functions.start(order({}, 4, env=(("BIG", "x" * 5_000),)))
        assert (await sink.end(4)).code == CANNOT_RUN
        with pytest.raises(Refused):
            await functions.start(order({}, 5, ""))
        for attempt in (1, 2, 3, 4):
            assert sink.ends[attempt].outcome is Outcome.EXITED
            assert sink.written[attempt, 2]
            assert attempt not in sink.starts

    play(scenario)


def test_as_many_may_run_at_once_as_the_settings_say() -> None:
    async def scenario(functions: Functions, sink: Recorder, proxy: AwsProxy) -> None:
        assert functions.at_once == 7
        assert not functions.adopts, "what it had in hand is lost with the server"
        assert ("runs", "function") in functions.labels

    play(scenario, concurrency=7)


def test_what_is_stopped_is_reported_when_the_function_has_returned_and_not_before(tmp_path: Path) -> None:
    async def scenario(functions: Functions, sink: Recorder, proxy: AwsProxy) -> None:
        go = tmp_path / "go"
        await functions.start(order({"until": str(go)}, 1))
        await sink.until(lambda: 1 in sink.starts)
        await functions.stop(1, 0.0)
        await functions.stop(1, 0.0)
        assert "cannot be stopped" in sink.reasons[-1]
        assert 1 not in sink.ends
        go.touch()
        ending = await sink.end(1)
        assert (ending.outcome, ending.code) == (Outcome.KILLED, 0)
        await functions.stop(1, 0.0)
        await functions.stop(99, 0.0)
        assert sum(call.action == "Invoke" for call in proxy.calls) == 1

    play(scenario)


def test_what_was_stopped_while_it_was_throttled_ends_then() -> None:
    async def scenario(functions: Functions, sink: Recorder, proxy: AwsProxy) -> None:
        proxy.faults.always("Invoke", Error("TooManyRequestsException", 429))
        await functions.start(order({}))
        await sink.until(lambda: len(sink.reasons) > 4)
        await functions.stop(1, 0.0)
        ending = await sink.end()
        assert ending.outcome is Outcome.KILLED
        assert sink.starts == []

    play(scenario)


def test_one_that_took_longer_than_its_timeout_is_timed_out(tmp_path: Path) -> None:
    async def scenario(functions: Functions, sink: Recorder, proxy: AwsProxy) -> None:
        go = tmp_path / "go"
        await functions.start(order({"until": str(go)}, timeout=1))
        await sink.until(lambda: 1 in sink.starts)
        await asyncio.sleep(0.01)  # longer than its timeout of a millisecond, however slow this machine is
        go.touch()
        assert (await sink.end()).outcome is Outcome.TIMED_OUT

    play(scenario)


def test_closing_leaves_nothing_running_here() -> None:
    async def scenario(functions: Functions, sink: Recorder, proxy: AwsProxy) -> None:
        held = Held()
        proxy.faults.next("Invoke", held)
        await functions.start(order({}))
        await held.reached.wait()
        await functions.close()
        assert sink.ends == {}, "what became of it nobody can say: it is for the host to call it lost"
        held.release()
        assert not [task for task in asyncio.all_tasks() if "function of" in task.get_name()]

    play(scenario)
