"""What stands between the adapter and moto, and behaves as AWS does where moto does not: client tokens make RunInstances idempotent,
zones run out, quotas end, requests are throttled, answers are lost after success, listings lag behind.

    async with AwsProxy(moto_url()) as proxy:
        proxy.faults.next("RunInstances", Error("InsufficientInstanceCapacity", 500))
        proxy.faults.always("RunInstances", Error("VcpuLimitExceeded", 400), region="us-west-2")
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode

import aiohttp
from aiohttp import web

X86_IMAGE = "ami-076f415166b04f5fe"
ARM_IMAGE = "ami-0e9271c829888680e"
Answer = tuple[int, bytes, str, dict[str, str]]  # status, body, media type, AWS's own headers
_SCOPE = re.compile(r"Credential=([^/]*)/\d*/([^/]*)/([^/]*)/")
_PUBLIC = ("/aws/service/debian/", "/aws/service/deeplearning/", "/aws/service/neuron/")


@dataclass(frozen=True)
class Error:
    """An answer of AWS; nothing is done."""

    code: str
    status: int = 400
    message: str = "made up by the test"
    retry_after: str = ""


@dataclass(frozen=True)
class Lost:
    """It is done, and the connection breaks before the answer."""


@dataclass(frozen=True)
class Dropped:
    """The connection breaks, and nothing is done."""


@dataclass(frozen=True)
class Gateway:
    """Something in between answers, in its own words. `done`: what was asked for has been done all the same."""

    status: int = 502
    done: bool = False


@dataclass(frozen=True)
class Stale:
    """The answer that the same question got the last time; an empty one if it was not asked before, or if it is to be `empty`."""

    empty: bool = False


@dataclass(frozen=True)
class Cut:
    """The body breaks off half-way."""


class Held:
    """It is done, and the answer waits until `release`; with `before` it is the request that waits, and is done then, however late that
    is. `reached` is set when there is one that waits."""

    def __init__(self, *, before: bool = False) -> None:
        self.before = before
        self.reached = asyncio.Event()
        self._go = asyncio.Event()

    def release(self) -> None:
        self._go.set()

    async def wait(self) -> None:
        self.reached.set()
        await self._go.wait()


Fault = Error | Lost | Dropped | Gateway | Stale | Cut | Held


@dataclass(frozen=True)
class Asked:
    """One request, as far as the faults care. `fields` are a form's, or a JSON body's own."""

    service: str
    region: str
    action: str
    fields: dict[str, Any]

    @property
    def zone(self) -> str:
        return str(self.fields.get("Placement.AvailabilityZone", ""))

    @property
    def instance_type(self) -> str:
        return str(self.fields.get("InstanceType", ""))


class Faults:
    """`next` for the next request of an action (several queue up), `always` until `clear`; all may be narrowed."""

    def __init__(self) -> None:
        self._queued: defaultdict[str, deque[tuple[Fault, Callable[[Asked], bool]]]] = defaultdict(deque)
        self._standing: list[tuple[str, Fault, Callable[[Asked], bool]]] = []
        self.hit: Counter[str] = Counter()

    def next(self, action: str, *faults: Fault, when: Callable[[Asked], bool] = lambda asked: True) -> None:
        self._queued[action] += [(fault, when) for fault in faults]

    def always(
        self,
        action: str,
        fault: Fault,
        *,
        region: str = "",
        zone: str = "",
        instance_type: str = "",
        service: str = "",
        when: Callable[[Asked], bool] = lambda asked: True,
    ) -> None:
        """An empty `action` means all."""

        def narrowed(asked: Asked) -> bool:
            return (
                region in {"", asked.region}
                and zone in {"", asked.zone}
                and instance_type in {"", asked.instance_type}
                and service in {"", asked.service}
                and when(asked)
            )

        self._standing.append((action, fault, narrowed))

    def clear(self) -> None:
        self._queued.clear()
        self._standing.clear()

    def take(self, asked: Asked) -> Fault | None:
        queue = self._queued[asked.action]
        if queue and queue[0][1](asked):
            self.hit[asked.action] += 1
            return queue.popleft()[0]
        for action, fault, when in self._standing:
            if action in {"", asked.action} and when(asked):
                self.hit[asked.action] += 1
                return fault
        return None


@dataclass
class _Kept:
    """The answer of a launch, for whoever repeats its token."""

    digest: str
    body: bytes
    instance: str = ""


@dataclass
class AwsProxy:
    upstream: str
    faults: Faults = field(default_factory=Faults)
    calls: list[Asked] = field(default_factory=list)
    launched: dict[tuple[str, str], _Kept] = field(default_factory=dict)
    url: str = ""

    async def __aenter__(self) -> AwsProxy:
        self._client = aiohttp.ClientSession(auto_decompress=False)
        self._last: dict[tuple[str, str, str], bytes] = {}
        self._launching: defaultdict[tuple[str, str], asyncio.Lock] = defaultdict(asyncio.Lock)
        app = web.Application(client_max_size=16 << 20)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)  # 0 would be for ever
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()
        await self._client.close()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        asked = _asked(request, body)
        self.calls.append(asked)
        fault = self.faults.take(asked)
        if isinstance(fault, Error):
            return _error(asked, fault)
        if isinstance(fault, Dropped):
            return _broken(request)
        if isinstance(fault, Gateway) and not fault.done:
            return _gateway(fault)
        if isinstance(fault, Held) and fault.before:
            await fault.wait()
        key = (asked.region, asked.action, body.decode(errors="replace"))
        if isinstance(fault, Stale):
            return _xml(_EMPTY if fault.empty else self._last.get(key, _EMPTY))
        status, answer, kind, headers = await self._really(request, asked, body)
        self._last[key] = answer
        if isinstance(fault, Lost):
            return _broken(request)
        if isinstance(fault, Gateway):
            return _gateway(fault)
        if isinstance(fault, Held) and not fault.before:
            await fault.wait()
        if isinstance(fault, Cut):
            return await _cut(request, answer)
        return web.Response(status=status, body=answer, content_type=kind, headers=headers)

    async def _really(self, request: web.Request, asked: Asked, body: bytes) -> Answer:
        if asked.action == "GetParameter" and str(asked.fields.get("Name", "")).startswith(_PUBLIC):
            image = ARM_IMAGE if "arm64" in asked.fields["Name"] else X86_IMAGE
            return (
                200,
                _json({"Parameter": {"Name": asked.fields["Name"], "Value": image, "Type": "String"}}),
                "application/json",
                {},
            )
        token = asked.fields.get("ClientToken")
        if asked.action == "RunInstances" and token:
            async with self._launching[asked.region, str(token)]:
                return await self._launch(request, asked, body, str(token))
        if asked.action == "DescribeInstances":
            body = self._by_token(asked, body)
        return await self._forward(request, body)

    async def _launch(self, request: web.Request, asked: Asked, body: bytes, token: str) -> Answer:
        digest = urlencode(sorted(asked.fields.items()))
        kept = self.launched.get((asked.region, token))
        if kept is not None:
            if kept.digest != digest:
                error = _error(asked, Error("IdempotentParameterMismatch", 400, "the token came with other parameters"))
                return error.status, bytes(error.body), "text/xml", {}  # type: ignore[arg-type]
            return 200, kept.body, "text/xml", {}
        status, answer, kind, headers = await self._forward(request, body)
        if status == 200:
            found = re.search(rb"<instanceId>(i-[0-9a-f]+)</instanceId>", answer)
            assert found is not None
            self.launched[asked.region, token] = _Kept(digest, answer, found[1].decode())
        return status, answer, kind, headers

    def _by_token(self, asked: Asked, body: bytes) -> bytes:
        """moto does not know the filter `client-token`: name the machine instead."""
        fields = dict(parse_qsl(body.decode(), keep_blank_values=True))
        for key, value in list(fields.items()):
            if key.startswith("Filter.") and key.endswith(".Name") and value == "client-token":
                number = key.split(".")[1]
                kept = self.launched.get((asked.region, fields[f"Filter.{number}.Value.1"]))
                fields[key] = "instance-id"
                fields[f"Filter.{number}.Value.1"] = kept.instance if kept else "i-00000000000000000"
        return urlencode(fields).encode()

    async def _forward(self, request: web.Request, body: bytes) -> Answer:
        headers = {k: v for k, v in request.headers.items() if k.lower() not in {"host", "content-length", "expect"}}
        url = f"{self.upstream}{request.rel_url}"
        async with self._client.request(request.method, url, data=body, headers=headers) as answer:
            own = {name: value for name, value in answer.headers.items() if name.lower().startswith("x-amz")}
            return answer.status, await answer.read(), answer.content_type, own


def _asked(request: web.Request, body: bytes) -> Asked:
    scope = _SCOPE.search(request.headers.get("Authorization", ""))
    region, service = (scope[2], scope[3]) if scope else ("", "")
    target = request.headers.get("X-Amz-Target", "")
    if target:
        import json

        return Asked(service, region, target.rpartition(".")[2], json.loads(body or b"{}"))
    if request.content_type == "application/x-www-form-urlencoded":
        fields = dict(parse_qsl(body.decode(), keep_blank_values=True))
        action = fields.get("Action", "")
        # What a check only tries is an action of its own, so that it does not use up a fault that is meant for the real one.
        return Asked(service, region, f"Try{action}" if fields.get("DryRun") == "true" else action, fields)
    action = "Invoke" if request.path.endswith("/invocations") else request.path
    return Asked(service, region, action, {"path": request.path})


def _json(value: object) -> bytes:
    import json

    return json.dumps(value).encode()


def _error(asked: Asked, error: Error) -> web.Response:
    headers = {"Retry-After": error.retry_after} if error.retry_after else {}
    if asked.service == "ec2":
        text = (
            f"<Response><Errors><Error><Code>{error.code}</Code><Message>{error.message}</Message></Error></Errors>"
            "<RequestID>00000000-0000-0000-0000-000000000000</RequestID></Response>"
        )
        return web.Response(status=error.status, text=text, content_type="text/xml", headers=headers)
    if asked.service == "sts":
        text = (
            f"<ErrorResponse><Error><Type>Sender</Type><Code>{error.code}</Code><Message>{error.message}</Message></Error>"
            "<RequestId>00000000-0000-0000-0000-000000000000</RequestId></ErrorResponse>"
        )
        return web.Response(status=error.status, text=text, content_type="text/xml", headers=headers)
    headers["x-amzn-errortype"] = error.code
    body = _json({"__type": error.code, "message": error.message})
    return web.Response(status=error.status, body=body, content_type="application/json", headers=headers)


def _gateway(fault: Gateway) -> web.Response:
    return web.Response(status=fault.status, text="<html><h1>gateway</h1></html>", content_type="text/html")


def _broken(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def _cut(request: web.Request, answer: bytes) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/xml", "Content-Length": str(len(answer))})
    with contextlib.suppress(ConnectionError):  # whoever asked may have gone
        await response.prepare(request)
        await response.write(answer[: len(answer) // 2])
    if request.transport is not None:
        request.transport.abort()
    return response


def _xml(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="text/xml")


_EMPTY = (
    b'<DescribeInstancesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">'
    b"<requestId>00000000-0000-0000-0000-000000000000</requestId><reservationSet/></DescribeInstancesResponse>"
)
