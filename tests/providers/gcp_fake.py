"""Google Cloud on a loopback port: OAuth 2.0 tokens, Compute Engine and the price catalog, each request and each answer held against
Google's own description (`gcp_schema`), with the faults that tests ask for (`gcp_faults`).

    async with GcpFake(project, public_key) as fake:
        fake.faults.next("instances.insert", Fails("ZONE_RESOURCE_POOL_EXHAUSTED"))
        fake.faults.always("instances.insert", Error(403, "quotaExceeded"), region="us-central1")

What breaks the description is answered with 400 and kept in `violations`.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import jwt
from aiohttp import web
from gcp_engine import ACCELERATORS, NETWORKS, SUBNETWORKS, TYPES, Engine, Refusal, missing
from gcp_faults import Asked, Cut, Dropped, Error, Faults, Gateway, Held, Lost, Partial, Stale
from gcp_schema import Discovery, Method, billing, compute

COMPUTE = "/compute/v1/"
BILLING = "/v1/"


class GcpFake:
    def __init__(self, project: str, public_key: Any) -> None:
        self.faults = Faults()
        self.calls: list[Asked] = []
        self.violations: list[str] = []
        self.engine = Engine(project, _now)
        self.skus: list[dict[str, Any]] = []
        self.tokens: set[str] = set()
        self.granted = 0  # tokens so far
        self.page = 500  # no page is longer, whatever is asked for
        self.lifetime = 3_600  # seconds of a token
        self.project = project
        self.url = ""
        self._public_key = public_key
        self._last: dict[tuple[str, str], dict[str, Any]] = {}
        self._handlers: dict[str, Callable[[Asked, object], dict[str, Any]]] = {
            "instances.insert": self._insert,
            "instances.get": lambda asked, fault: self.engine.get(asked.zone, asked.name),
            "instances.delete": lambda asked, fault: self.engine.delete(asked.zone, asked.name, _request(asked), fault),
            "instances.stop": lambda asked, fault: self.engine.turn(
                "stop", asked.zone, asked.name, _request(asked), fault
            ),
            "instances.start": lambda asked, fault: self.engine.turn(
                "start", asked.zone, asked.name, _request(asked), fault
            ),
            "instances.aggregatedList": self._aggregated,
            "instances.list": self._listed,
            "zoneOperations.wait": lambda asked, fault: self.engine.wait(asked.zone, asked.name),
            "zoneOperations.get": lambda asked, fault: self.engine.operation(asked.zone, asked.name).said,
            "zoneOperations.list": self._operations,
            "zones.list": self._zones,
            "networks.get": self._network,
            "subnetworks.get": self._subnetwork,
            "machineTypes.list": self._machine_types,
            "acceleratorTypes.list": self._accelerator_types,
            "skus.list": self._skus,
        }

    async def __aenter__(self) -> GcpFake:
        app = web.Application(client_max_size=16 << 20)
        app.router.add_post("/token", self._token)
        app.router.add_get("/computeMetadata/v1/instance/service-accounts/default/token", self._metadata_token)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    # OAuth 2.0

    async def _token(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        asked = Asked("token", query={key: str(value) for key, value in form.items()})
        self.calls.append(asked)
        fault = self.faults.take(asked)
        if isinstance(fault, Dropped):
            return _broken(request)
        if isinstance(fault, Gateway):
            return _gateway(fault)
        if isinstance(fault, Held):
            await fault.wait()
        if isinstance(fault, Error):
            return web.json_response({"error": fault.reason, "error_description": fault.message}, status=fault.status)
        if form.get("grant_type") == "refresh_token":
            if form.get("refresh_token") != "good":
                body = {"error": "invalid_grant", "error_description": "Token has been expired or revoked."}
                return web.json_response(body, status=400)
            return self._grant()
        try:
            # The audience is the endpoint; Google's own library names the public one whatever `token_uri` says.
            audiences = [f"{self.url}/token", "https://oauth2.googleapis.com/token"]
            jwt.decode(str(form.get("assertion")), self._public_key, algorithms=["RS256"], audience=audiences)
        except jwt.PyJWTError:
            body = {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}
            return web.json_response(body, status=400)
        return self._grant()

    async def _metadata_token(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Metadata-Flavor") != "Google":
            return web.Response(status=403)
        return self._grant()

    def _grant(self) -> web.Response:
        self.granted += 1
        token = f"ya29.{secrets.token_hex(8)}"
        self.tokens.add(token)
        return web.json_response({"access_token": token, "expires_in": self.lifetime, "token_type": "Bearer"})

    # every API

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        discovery, base = (compute(), COMPUTE) if request.path.startswith(COMPUTE) else (billing(), BILLING)
        found = discovery.find(request.method, request.path.removeprefix(base))
        if found is None:
            found = discovery.find(request.method, request.path.removeprefix("/"))
        if found is None:
            self.violations.append(f"nothing is at {request.method} {request.path}")
            return _error(Error(404, "notFound", "Not Found"))
        method, variables = found
        raw = await request.read()
        body = json.loads(raw) if raw else None
        query = list(request.query.items())
        asked = Asked(
            ".".join(method.id.split(".")[-2:]),
            variables.get("zone", ""),
            body or {},
            dict(query),
            variables.get("instance")
            or variables.get("operation")
            or variables.get("network")
            or variables.get("subnetwork", ""),
        )
        self.calls.append(asked)
        wrong = discovery.wrong_request(method, variables, query, body)
        if wrong:
            self.violations += wrong
            return _error(Error(400, "badRequest", "; ".join(wrong)))
        return await self._answer(request, discovery, method, asked, variables)

    async def _answer(
        self, request: web.Request, discovery: Discovery, method: Method, asked: Asked, variables: dict[str, str]
    ) -> web.StreamResponse:
        fault = self.faults.take(asked)
        if isinstance(fault, Error):
            return _error(fault)
        if isinstance(fault, Dropped):
            return _broken(request)
        if isinstance(fault, Gateway) and not fault.done:
            return _gateway(fault)
        key = (request.method, str(request.rel_url))
        try:
            self._known(request, variables)
            if isinstance(fault, Stale):
                answer = {} if fault.empty else self._last.get(key, {})
            else:
                if not asked.method.startswith("zoneOperations."):
                    self.engine.pass_time()
                answer = json.loads(json.dumps(self._handlers[asked.method](asked, fault)))
        except Refusal as refusal:
            return _error(refusal.error)
        wrong = discovery.wrong_answer(method, answer)
        if wrong:
            self.violations += [f"the answer of {method.id}: {each}" for each in wrong]
        self._last[key] = answer
        if isinstance(fault, Lost):
            return _broken(request)
        if isinstance(fault, Gateway):
            return _gateway(fault)
        if isinstance(fault, Held):
            await fault.wait()
        if isinstance(fault, Cut):
            return await _cut(request, json.dumps(answer).encode())
        return web.json_response(answer)

    def _known(self, request: web.Request, variables: dict[str, str]) -> None:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if token not in self.tokens:
            raise Refusal(Error(401, "authError", "Invalid Credentials"))
        project = variables.get("project", self.project)
        if project != self.project:
            raise missing(f"projects/{project}")

    # Compute Engine

    def _insert(self, asked: Asked, fault: object) -> dict[str, Any]:
        return self.engine.insert(asked.zone, asked.body, _request(asked), fault)

    def _aggregated(self, asked: Asked, fault: object) -> dict[str, Any]:
        shown = self.engine.list(asked.query)
        if isinstance(fault, Partial):
            shown = [(zone, made) for zone, made in shown if zone != fault.zone]
        page, more = self._page(asked, shown)
        items: dict[str, Any] = {}
        for zone in self.engine.zones:
            here = [made for at, made in page if at == zone]
            empty = {
                "code": "NO_RESULTS_ON_PAGE",
                "message": f"There are no results for scope 'zones/{zone}' on this page.",
            }
            items[f"zones/{zone}"] = {"instances": here} if here else {"warning": empty}
        answer = {"kind": "compute#instanceAggregatedList", "id": "1", "items": items, **more}
        if isinstance(fault, Partial) and fault.warning:
            items[f"zones/{fault.zone}"] = {"warning": {"code": "UNREACHABLE", "message": "made up by the test"}}
        elif isinstance(fault, Partial):
            del items[f"zones/{fault.zone}"]
            answer["unreachables"] = [f"projects/{self.project}/zones/{fault.zone}"]
        return answer

    def _listed(self, asked: Asked, fault: object) -> dict[str, Any]:
        self.engine.zone(asked.zone)
        shown = [(zone, made) for zone, made in self.engine.list(asked.query) if zone == asked.zone]
        page, more = self._page(asked, shown)
        return {"kind": "compute#instanceList", "id": "1", "items": [made for _, made in page], **more}

    def _operations(self, asked: Asked, fault: object) -> dict[str, Any]:
        self.engine.zone(asked.zone)
        shown = [
            (asked.zone, operation.said)
            for operation in self.engine.operations.values()
            if operation.said["zone"].endswith(f"/{asked.zone}") and _matching(asked, operation.said)
        ]
        page, more = self._page(asked, shown)
        return {"kind": "compute#operationList", "id": "1", "items": [said for _, said in page], **more}

    def _zones(self, asked: Asked, fault: object) -> dict[str, Any]:
        items = [{"kind": "compute#zone", "name": zone, "status": status} for zone, status in self.engine.zones.items()]
        return {"kind": "compute#zoneList", "id": "1", "items": items}

    def _network(self, asked: Asked, fault: object) -> dict[str, Any]:
        if asked.name not in NETWORKS:
            raise missing(f"projects/{self.project}/global/networks/{asked.name}")
        return {"kind": "compute#network", "name": asked.name}

    def _subnetwork(self, asked: Asked, fault: object) -> dict[str, Any]:
        if not any(known.endswith(f"/{asked.name}") for known in SUBNETWORKS):
            raise missing(f"projects/{self.project}/regions/europe-west4/subnetworks/{asked.name}")
        return {"kind": "compute#subnetwork", "name": asked.name}

    def _machine_types(self, asked: Asked, fault: object) -> dict[str, Any]:
        types = [
            {
                "kind": "compute#machineType",
                "name": name,
                "guestCpus": cpus,
                "memoryMb": memory,
                "architecture": arch,
                "accelerators": [{"guestAcceleratorType": a, "guestAcceleratorCount": n} for a, n in accelerators],
            }
            for name, (cpus, memory, arch, accelerators) in TYPES.items()
        ]
        return self._zonal(asked, "machineType", types)

    def _accelerator_types(self, asked: Asked, fault: object) -> dict[str, Any]:
        types = [
            {"kind": "compute#acceleratorType", "name": name, "maximumCardsPerInstance": most}
            for name, most in ACCELERATORS.items()
        ]
        return self._zonal(asked, "acceleratorType", types)

    def _zonal(self, asked: Asked, what: str, types: list[dict[str, Any]]) -> dict[str, Any]:
        self.engine.zone(asked.zone)
        page, more = self._page(asked, [(asked.zone, one) for one in types])
        return {"kind": f"compute#{what}List", "id": "1", "items": [one for _, one in page], **more}

    def _page(
        self, asked: Asked, shown: list[tuple[str, dict[str, Any]]]
    ) -> tuple[list[tuple[str, dict[str, Any]]], dict[str, str]]:
        most = min(int(asked.query.get("maxResults", 500)) or 500, self.page)
        at = int(asked.query.get("pageToken", "0"))
        more = {"nextPageToken": str(at + most)} if at + most < len(shown) else {}
        return shown[at : at + most], more

    # Cloud Billing

    def _skus(self, asked: Asked, fault: object) -> dict[str, Any]:
        most = min(int(asked.query.get("pageSize", 5_000)), self.page)
        at = int(asked.query.get("pageToken", "0"))
        more = str(at + most) if at + most < len(self.skus) else ""
        return {"skus": self.skus[at : at + most], "nextPageToken": more}


def _matching(asked: Asked, said: dict[str, Any]) -> bool:
    from gcp_engine import matches

    return matches(asked.query.get("filter", ""), said)


def _request(asked: Asked) -> str:
    return asked.query.get("requestId", "")


def _now() -> str:
    return datetime.fromtimestamp(time.time(), UTC).astimezone().isoformat(timespec="milliseconds")


def _error(error: Error) -> web.Response:
    names = {
        401: "UNAUTHENTICATED",
        403: "PERMISSION_DENIED",
        404: "NOT_FOUND",
        429: "RESOURCE_EXHAUSTED",
        503: "UNAVAILABLE",
    }
    body: dict[str, Any] = {
        "code": error.status,
        "message": error.message,
        "errors": [{"domain": "global", "reason": error.reason, "message": error.message}],
        "status": names.get(error.status, "INVALID_ARGUMENT"),
    }
    if error.detail:
        kind = "type.googleapis.com/google.rpc.ErrorInfo"
        body["details"] = [{"@type": kind, "reason": error.detail, "domain": "googleapis.com"}]
    headers = {"Retry-After": error.retry_after} if error.retry_after else {}
    return web.json_response({"error": body}, status=error.status, headers=headers)


def _gateway(fault: Gateway) -> web.Response:
    return web.Response(status=fault.status, text="<html><h1>gateway</h1></html>", content_type="text/html")


def _broken(request: web.Request) -> web.Response:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def _cut(request: web.Request, answer: bytes) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": str(len(answer))})
    await response.prepare(request)
    await response.write(answer[: len(answer) // 2])
    await asyncio.sleep(0)
    assert request.transport is not None
    request.transport.abort()
    return response
