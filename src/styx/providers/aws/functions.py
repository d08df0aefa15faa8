"""Lambda as a Runner: one attempt is one synchronous invocation of a function that is there by name.

What AWS gives decides what can be promised:
- The answer comes at the end, with at most the last 4 KiB of the log. So `started` is said when an invocation has gone unrefused
  for a second (what is throttled is refused at once, and has not run), and a log that began earlier is marked as a gap.
- An invocation cannot be stopped. One that was stopped, or whose timeout is over, is reported when it has returned and not before.
- Nobody can ask later what became of an invocation. When the connection breaks, or the server dies, it is LOST; whether it may be
  invoked again is for the task to say (`idempotent`), and for the core to heed. `open` therefore finds nothing.
The payload is the standard output, and the result if it is at most 4 KiB; an error of the function is exit code 1.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import Mapping

import msgspec

from styx.aiokit.backoff import Backoff
from styx.core.events import AttemptEnding
from styx.core.resources import Resources
from styx.core.states import Outcome
from styx.providers.aws.clients import Clients
from styx.providers.aws.errors import AwsRefused
from styx.providers.base import Context, Found, Kind, Refused, RunOrder, Sink, Unsure
from styx.telemetry.log import get

__all__ = ["CANNOT_RUN", "NOT_FOUND", "Functions"]

log = get("aws")

NOT_FOUND = 127  # as a shell says it of a command
CANNOT_RUN = 126
_MEMORY = 10_240 << 20  # bytes that a function may have at most, and its /tmp
_LIMIT = 930.0  # seconds; Lambda ends an invocation after 900
_SOON = 1.0  # seconds in which Lambda says that it does not take an invocation
_RESULT = 4_096  # bytes
_LOG_BEGINS = (b"START RequestId:", b'"platform.start"')  # in the log of one invocation, as text and as JSON
_CHUNK = 256 << 10
_CONTEXT = 3_583  # bytes of a client context, in base64
_AGAIN = {Kind.THROTTLED, Kind.CAPACITY, Kind.QUOTA, Kind.UNREACHABLE}


class _Attempt:
    """One that is not forgotten yet. `in_flight` from when it is sent until it is refused; `sent_at` 0: not known to have been taken."""

    __slots__ = ("ending", "in_flight", "order", "sent_at", "stopped", "task", "written")

    def __init__(self, order: RunOrder) -> None:
        self.order = order
        self.task: asyncio.Task[None] | None = None
        self.in_flight = False
        self.sent_at = 0
        self.stopped = False
        self.ending: AttemptEnding | None = None
        self.written = {1: 0, 2: 0}


class Functions:
    """The functions of one region; see `base.Runner`."""

    def __init__(self, clients: Clients, region: str, concurrency: int, context: Context) -> None:
        self._clients = clients
        self._region = region
        self._context = context
        self._concurrency = concurrency
        self._attempts: dict[int, _Attempt] = {}
        self._sink: Sink | None = None

    @property
    def capacity(self) -> Resources:
        """No more than `at_once` is what counts; what each invocation has is its function's own setting."""
        return Resources(self._concurrency * 1_000, self._concurrency * _MEMORY, self._concurrency * _MEMORY)

    @property
    def labels(self) -> tuple[tuple[str, str], ...]:
        return (("provider", "aws"), ("region", self._region), ("runs", "function"))

    @property
    def at_once(self) -> int:
        return self._concurrency

    @property
    def adopts(self) -> bool:
        return False

    async def open(self, cluster: str, sink: Sink) -> list[Found]:
        self._sink = sink
        return []

    async def start(self, order: RunOrder) -> None:
        attempt = order.run.attempt
        if attempt in self._attempts:
            return
        if not order.spec.function:
            raise AwsRefused(
                Kind.INVALID, f"task {order.spec.name!r} names no function", hint="give it `function: NAME`"
            )
        held = self._attempts[attempt] = _Attempt(order)
        held.task = asyncio.create_task(self._until_taken(held), name=f"function of attempt {attempt}")
        held.task.add_done_callback(lambda task: self._over(held, task))

    async def stop(self, attempt: int, grace: float) -> None:
        held = self._attempts.get(attempt)
        if held is None or held.ending is not None or held.stopped:
            return
        held.stopped = True
        if not held.in_flight and held.task is not None:
            held.task.cancel()
        elif self._sink is not None:
            self._sink.waiting(attempt, "an invocation cannot be stopped; it ends when the function returns")

    async def forget(self, attempt: int) -> None:
        held = self._attempts.get(attempt)
        if held is not None and held.ending is not None:
            del self._attempts[attempt]

    async def close(self) -> None:
        tasks = [held.task for held in self._attempts.values() if held.task is not None]
        self._sink = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _until_taken(self, held: _Attempt) -> None:
        """Invoke it, again as long as Lambda does not take it."""
        order, attempt = held.order, held.order.run.attempt
        context = _client_context(order)
        if context is None:
            await self._fail(
                held, CANNOT_RUN, f"its environment is too large: a function is given at most {_CONTEXT} bytes of it"
            )
            return
        if order.secrets:
            await self._fail(held, CANNOT_RUN, "a function is given no secrets by Styx: let it read them where it runs")
            return
        waits = Backoff(1.0, 30.0)
        while True:
            try:
                answer = await self._invoke(held, context)
            except Refused as error:
                if error.kind not in _AGAIN:
                    missing = isinstance(error, AwsRefused) and error.aws == "ResourceNotFoundException"
                    await self._fail(held, NOT_FOUND if missing else CANNOT_RUN, _words(error))
                    return
                held.in_flight = False
                pause = max(waits.next(), error.retry_after)
                self._wait(attempt, f"{error.message}; asking again in {pause:.0f} s")
            except Unsure as error:
                self._end(held, Outcome.LOST, 0, f"whether the function ran to its end is not known: {error.message}")
                return
            else:
                await self._returned(held, answer)
                return
            if held.stopped:
                self._never(held)
                return
            await self._context.sleep(pause)
            self._wait(attempt, "")

    async def _invoke(self, held: _Attempt, context: str) -> Mapping[str, object]:
        order = held.order
        held.in_flight = True
        payload = order.spec.command[0] if order.spec.command else "{}"
        call = asyncio.ensure_future(
            self._clients.call(
                "lambda",
                self._region,
                "invoke",
                limit=_LIMIT,
                stream="Payload",
                FunctionName=order.spec.function,
                InvocationType="RequestResponse",
                LogType="Tail",
                ClientContext=context,
                Payload=payload.encode(),
            )
        )
        try:
            await asyncio.wait([call], timeout=_SOON)
            if not call.done():
                self._started(held)
            return await call
        finally:
            call.cancel()
            with contextlib.suppress(asyncio.CancelledError, Refused, Unsure):
                await call

    async def _returned(self, held: _Attempt, answer: Mapping[str, object]) -> None:
        self._started(held)
        payload = answer.get("Payload")
        body = payload if isinstance(payload, bytes) else b""
        await self._tail(held, str(answer.get("LogResult") or ""))
        late = 0 < held.order.spec.timeout < self._context.now() - held.sent_at
        code, reason, result = 0, "", body if len(body) <= _RESULT else b""
        if answer.get("FunctionError"):
            code, reason, result = 1, _function_error(body), b""
            await self._write(held, 2, f"{reason}\n".encode())
        else:
            await self._write(held, 1, body)
        if held.stopped:
            self._end(held, Outcome.KILLED, code, "it was stopped; the function had run to its end by then", result)
        elif late:
            self._end(
                held,
                Outcome.TIMED_OUT,
                code,
                "it took longer than its timeout; a function cannot be stopped before",
                b"",
            )
        else:
            self._end(held, Outcome.EXITED, code, reason, result)

    async def _tail(self, held: _Attempt, encoded: str) -> None:
        try:
            log = base64.b64decode(encoded)
        except ValueError:
            return
        if not log:
            return
        if not any(mark in log for mark in _LOG_BEGINS):
            await self._write(
                held, 2, b"[styx: only the end of the function's log is shown; what came before it is missing]\n"
            )
        await self._write(held, 2, log if log.endswith(b"\n") else log + b"\n")

    def _started(self, held: _Attempt) -> None:
        if not held.sent_at:
            held.sent_at = self._context.now()
            if self._sink is not None:
                self._sink.started(held.order.run.attempt)

    async def _write(self, held: _Attempt, stream: int, data: bytes) -> None:
        if self._sink is None:
            return
        for at in range(0, len(data), _CHUNK):
            chunk = data[at : at + _CHUNK]
            await self._sink.room(held.order.run.attempt)
            self._sink.output(held.order.run.attempt, stream, held.written[stream], chunk)
            held.written[stream] += len(chunk)

    def _wait(self, attempt: int, reason: str) -> None:
        if self._sink is not None:
            self._sink.waiting(attempt, reason)

    async def _fail(self, held: _Attempt, code: int, reason: str) -> None:
        """It can never run: an end like that of a command that is not there, since to give it back would bring it here again."""
        await self._write(held, 2, f"{reason}\n".encode())
        self._end(held, Outcome.EXITED, code, reason)

    def _over(self, held: _Attempt, task: asyncio.Task[None]) -> None:
        """Neither a stop, at whatever moment, nor a fault of this program may leave an attempt without an end."""
        if task.cancelled():
            # It was stopped, perhaps before its first step, where nothing of its own could have caught that. Else it was closed.
            if held.stopped and held.ending is None:
                self._never(held)
            return
        error = task.exception()
        if error is None:
            return
        log.crash("an invocation failed", error)
        if held.ending is None:
            self._end(held, Outcome.LOST, 0, f"a fault of Styx: {type(error).__name__}: {error}")

    def _never(self, held: _Attempt) -> None:
        self._end(held, Outcome.KILLED, 128 + 15, "it was stopped before the function took it")

    def _end(self, held: _Attempt, outcome: Outcome, code: int, reason: str, result: bytes = b"") -> None:
        ran = self._context.now() - held.sent_at if held.sent_at else 0
        held.ending = AttemptEnding(
            held.order.run.attempt,
            outcome,
            code,
            max(0, ran),
            0,
            reason[:2_000],
            result,
            held.written[1],
            held.written[2],
        )
        if self._sink is not None:
            self._sink.ended(held.ending)


def _words(error: Refused) -> str:
    return f"{error.message}; {error.hint}" if error.hint else error.message


def _function_error(body: bytes) -> str:
    """What the function says of its error: `ValueError: no such key`."""
    try:
        said = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        said = None
    if not isinstance(said, dict):
        return body.decode(errors="replace")[:2_000] or "the function failed and did not say why"
    kind, message = str(said.get("errorType") or ""), str(said.get("errorMessage") or "")
    return ": ".join(part for part in (kind, message) if part)[:2_000] or "the function failed and did not say why"


def _client_context(order: RunOrder) -> str | None:
    """What a program would find in its environment, as `context.client_context.custom`; None when it is too much."""
    spec, run = order.spec, order.run
    custom = {
        **dict(spec.env),
        "STYX_JOB_ID": spec.job_id,
        "STYX_TASK_ID": spec.task_id,
        "STYX_TASK_NAME": spec.name,
        "STYX_ATTEMPT": str(run.number),
        **({"STYX_ARRAY_INDEX": str(run.index), "STYX_ARRAY_SIZE": str(spec.array)} if spec.array else {}),
    }
    encoded = base64.b64encode(json.dumps({"custom": custom}).encode()).decode()
    return encoded if len(encoded) <= _CONTEXT else None
