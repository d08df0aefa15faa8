"""A small API server of Kubernetes, for tests: pods and secrets with versions, watches with bookmarks, finalizers, graceful deletion,
owners and their garbage, pages, rights, quotas; and the errors of the real one, in its words.

`KubeFake` is the server and its store, `kube_node.Node` plays scheduler and kubelet on it, `kube_faults.Faults` stands in front of it.
"""

from __future__ import annotations

import asyncio
import base64
import copy
import json
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiohttp import web
from kube_schema import faults_of

Object = dict[str, Any]
KINDS = {"pods": "Pod", "secrets": "Secret"}
TOKEN = "a-token-of-the-fake"


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def at(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class ApiError(Exception):
    def __init__(self, code: int, reason: str, message: str, **details: Any) -> None:
        super().__init__(message)
        self.code = code
        self.body = {
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "reason": reason,
            "details": details, "code": code,
        }  # fmt: skip


class KubeFake:
    """`rights` are what the token may do: `pods/create`; None: everything. `quota` bounds the pods of a namespace."""

    def __init__(self) -> None:
        self.namespaces = {"default", "n"}
        self.rights: set[str] | None = None
        self.tokens = {TOKEN}
        self.quota = 0
        self.page = 500  # the most in one page, whatever is asked for
        self.bookmark_every = 0.2
        self.watch_lasts = 300.0
        self.objects: dict[str, dict[tuple[str, str], Object]] = {"pods": {}, "secrets": {}}
        self.version = 1_000
        self.history: list[tuple[int, str, str, Object]] = []
        self.compacted = 0  # versions up to this one are no longer in the history
        self.changed: list[Callable[[str, str, Object], None]] = []  # hear of each change
        self.watchers: set[asyncio.Event] = set()
        self.log_of: Callable[[str, str, dict[str, str]], AsyncIterator[bytes]] | None = None
        self.requests: list[tuple[str, str]] = []
        self.created: dict[str, int] = {}  # pods ever made, by name
        self.intercept: (
            Callable[[web.Request, Callable[[], Awaitable[web.StreamResponse]]], Awaitable[web.StreamResponse]] | None
        ) = None
        self.url = ""

    # -- the store ------------------------------------------------------------------------------------------------

    def _commit(self, verb: str, plural: str, item: Object) -> None:
        self.version += 1
        item["metadata"]["resourceVersion"] = str(self.version)
        key = (item["metadata"]["namespace"], item["metadata"]["name"])
        if verb == "DELETED":
            del self.objects[plural][key]
        else:
            self.objects[plural][key] = item
        self.history.append((self.version, verb, plural, copy.deepcopy(item)))
        for hear in list(self.changed):
            hear(verb, plural, item)
        for watcher in self.watchers:
            watcher.set()

    def get(self, plural: str, namespace: str, name: str) -> Object:
        found = self.objects[plural].get((namespace, name))
        if found is None:
            raise ApiError(404, "NotFound", f'{plural} "{name}" not found', name=name, kind=plural)
        return found

    def create(self, plural: str, namespace: str, item: Object) -> Object:
        if namespace not in self.namespaces:
            raise ApiError(404, "NotFound", f'namespaces "{namespace}" not found')
        kind = KINDS[plural]
        faults = faults_of(kind, item)
        name = item.get("metadata", {}).get("name", "")
        if faults:
            strict = any("strict decoding" in fault for fault in faults)
            raise ApiError(400 if strict else 422, "Invalid", f'{kind} "{name}" is invalid: {"; ".join(faults)}')
        if plural == "pods" and self.quota and sum(key[0] == namespace for key in self.objects["pods"]) >= self.quota:
            raise ApiError(
                403,
                "Forbidden",
                f'pods "{name}" is forbidden: exceeded quota: q, requested: pods=1, used: pods={self.quota}, limited: pods={self.quota}',
            )
        if (namespace, name) in self.objects[plural]:
            raise ApiError(409, "AlreadyExists", f'{plural} "{name}" already exists', name=name)
        made = copy.deepcopy(item)
        made["metadata"] |= {"namespace": namespace, "uid": str(uuid.uuid4()), "creationTimestamp": now()}
        if plural == "pods":
            made["status"] = {"phase": "Pending"}
            made["spec"].setdefault("terminationGracePeriodSeconds", 30)
            self.created[name] = self.created.get(name, 0) + 1
        self._commit("ADDED", plural, made)
        self.collect_garbage()
        return made

    def update(self, namespace: str, name: str, change: Callable[[Object], None]) -> None:
        """Of a pod's status or binding, as kubelet and scheduler do; one that is gone is passed over."""
        found = self.objects["pods"].get((namespace, name))
        if found is not None:
            change(found)
            self._commit("MODIFIED", "pods", found)

    def patch(self, plural: str, namespace: str, name: str, body: Object) -> Object:
        found = self.get(plural, namespace, name)
        metadata = body.get("metadata", {})
        if set(body) - {"metadata"} or set(metadata) - {"finalizers", "uid", "resourceVersion"}:
            raise ApiError(422, "Invalid", "this fake patches finalizers only")
        self._precondition(found, metadata.get("uid"), name, plural)
        if (
            metadata.get("resourceVersion", found["metadata"]["resourceVersion"])
            != found["metadata"]["resourceVersion"]
        ):
            raise ApiError(
                409, "Conflict", f'Operation cannot be fulfilled on {plural} "{name}": the object has been modified'
            )
        if "finalizers" in metadata and metadata["finalizers"] != found["metadata"].get("finalizers"):
            found["metadata"]["finalizers"] = metadata["finalizers"]
            if not metadata["finalizers"]:
                del found["metadata"]["finalizers"]
            if found["metadata"].get("deletionGracePeriodSeconds") == 0 and not metadata["finalizers"]:
                self._drop(plural, found)
            else:
                self._commit("MODIFIED", plural, found)
        return found

    def delete(self, plural: str, namespace: str, name: str, options: Object) -> Object:
        found = self.get(plural, namespace, name)
        self._precondition(found, (options.get("preconditions") or {}).get("uid"), name, plural)
        if plural != "pods":
            self._drop(plural, found)
            return found
        grace = options.get("gracePeriodSeconds")
        grace = found["spec"]["terminationGracePeriodSeconds"] if grace is None else grace
        if found["status"]["phase"] in {"Succeeded", "Failed"} or not found["spec"].get("nodeName"):
            grace = 0
        metadata = found["metadata"]
        asked = metadata.get("deletionTimestamp")
        if asked is not None and grace >= metadata["deletionGracePeriodSeconds"]:
            return found
        if grace == 0 and not metadata.get("finalizers"):
            self._drop(plural, found)
            return found
        metadata["deletionTimestamp"] = at(time.time() + grace)
        metadata["deletionGracePeriodSeconds"] = grace
        self._commit("MODIFIED", plural, found)
        return found

    def _precondition(self, found: Object, uid: str | None, name: str, plural: str) -> None:
        if uid is not None and uid != found["metadata"]["uid"]:
            raise ApiError(
                409,
                "Conflict",
                f'Operation cannot be fulfilled on {plural} "{name}": Precondition failed: UID in precondition: {uid}',
            )

    def _drop(self, plural: str, found: Object) -> None:
        self._commit("DELETED", plural, found)
        self.collect_garbage()

    def collect_garbage(self) -> None:
        """What belongs to owners that are gone goes too, a little later."""
        asyncio.get_running_loop().call_later(0.02, self._collect)

    def _collect(self) -> None:
        alive = {one["metadata"]["uid"] for one in self.objects["pods"].values()}
        for one in list(self.objects["secrets"].values()):
            owners = one["metadata"].get("ownerReferences")
            if owners and not any(owner["uid"] in alive for owner in owners):
                self._commit("DELETED", "secrets", one)

    def compact(self) -> None:
        """Forget the history: watches and pages from before get 410."""
        self.version += 1
        self.compacted = self.version
        self.history.clear()
        for watcher in self.watchers:
            watcher.set()

    # -- the interface --------------------------------------------------------------------------------------------

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self._middleware], client_max_size=4 << 20)
        place = "/api/v1/namespaces/{ns}/{plural:pods|secrets}"
        app.router.add_get("/version", self._version)
        app.router.add_get(place, self._list)
        app.router.add_post(place, self._create)
        app.router.add_get(place + "/{name}", self._get)
        app.router.add_patch(place + "/{name}", self._patch)
        app.router.add_delete(place + "/{name}", self._delete)
        app.router.add_get("/api/v1/namespaces/{ns}/pods/{name}/log", self._log)
        app.router.add_post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", self._may)
        app.router.add_post("/apis/authentication.k8s.io/v1/selfsubjectreviews", self._who)
        return app

    @web.middleware
    async def _middleware(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.requests.append((request.method, request.path))

        async def act() -> web.StreamResponse:
            try:
                if request.headers.get("Authorization", "").removeprefix("Bearer ") not in self.tokens:
                    raise ApiError(401, "Unauthorized", "Unauthorized")
                response: web.StreamResponse = await handler(request)
            except ApiError as error:
                response = web.json_response(error.body, status=error.code)
            return response

        return await (self.intercept(request, act) if self.intercept is not None else act())

    def _right(self, request: web.Request, verb: str, plural: str) -> None:
        if self.rights is not None and f"{plural}/{verb}" not in self.rights:
            ns = request.match_info["ns"]
            raise ApiError(
                403,
                "Forbidden",
                f'{plural} is forbidden: User "system:serviceaccount:n:styx" cannot {verb} resource "{plural}" in API group "" in the namespace "{ns}"',
            )

    async def _version(self, request: web.Request) -> web.Response:
        return web.json_response({"major": "1", "minor": "33", "gitVersion": "v1.33.0-fake"})

    async def _may(self, request: web.Request) -> web.Response:
        attributes = (await request.json())["spec"]["resourceAttributes"]
        sub = attributes.get("subresource")
        right = f"{attributes['resource']}{f'/{sub}' if sub else ''}/{attributes['verb']}"
        return web.json_response({"status": {"allowed": self.rights is None or right in self.rights}}, status=201)

    async def _who(self, request: web.Request) -> web.Response:
        return web.json_response({"status": {"userInfo": {"username": "system:serviceaccount:n:styx"}}}, status=201)

    async def _get(self, request: web.Request) -> web.Response:
        plural = request.match_info["plural"]
        self._right(request, "get", plural)
        return web.json_response(self.get(plural, request.match_info["ns"], request.match_info["name"]))

    async def _create(self, request: web.Request) -> web.Response:
        plural = request.match_info["plural"]
        self._right(request, "create", plural)
        return web.json_response(self.create(plural, request.match_info["ns"], await request.json()), status=201)

    async def _patch(self, request: web.Request) -> web.Response:
        plural = request.match_info["plural"]
        self._right(request, "patch", plural)
        if request.content_type != "application/merge-patch+json":
            raise ApiError(415, "UnsupportedMediaType", "the body of the request was in an unknown format")
        return web.json_response(
            self.patch(plural, request.match_info["ns"], request.match_info["name"], await request.json())
        )

    async def _delete(self, request: web.Request) -> web.Response:
        plural = request.match_info["plural"]
        self._right(request, "delete", plural)
        options = await request.json() if request.can_read_body else {}
        return web.json_response(self.delete(plural, request.match_info["ns"], request.match_info["name"], options))

    async def _list(self, request: web.Request) -> web.StreamResponse:
        plural = request.match_info["plural"]
        watch = request.query.get("watch") in {"true", "1"}
        self._right(request, "watch" if watch else "list", plural)
        if watch:
            return await self._watch(request, plural)
        token = request.query.get("continue", "")
        first, version = "", self.version
        if token:
            version, first = json.loads(base64.urlsafe_b64decode(token))
            if version < self.compacted:
                raise ApiError(
                    410, "Expired", "The provided continue parameter is too old to display a consistent list result."
                )
        limit = min(int(request.query.get("limit", self.page)), self.page)
        matching = sorted(key for key, one in self.objects[plural].items() if _matches(request, one) and key[1] > first)
        page = matching[:limit]
        metadata: Object = {"resourceVersion": str(version)}
        if len(matching) > limit:
            metadata["continue"] = base64.urlsafe_b64encode(json.dumps([version, page[-1][1]]).encode()).decode()
        items = [self.objects[plural][key] for key in page]
        return web.json_response(
            {"kind": f"{KINDS[plural]}List", "apiVersion": "v1", "metadata": metadata, "items": items}
        )

    async def _watch(self, request: web.Request, plural: str) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        version = int(request.query["resourceVersion"])
        until = time.monotonic() + min(self.watch_lasts, float(request.query.get("timeoutSeconds", 300)))
        bookmarks = request.query.get("allowWatchBookmarks") == "true"
        changed = asyncio.Event()
        self.watchers.add(changed)

        async def say(kind: str, item: Object) -> None:
            await response.write(json.dumps({"type": kind, "object": item}).encode() + b"\n")

        try:
            while time.monotonic() < until:
                if version < self.compacted:
                    await say(
                        "ERROR",
                        ApiError(410, "Expired", f"too old resource version: {version} ({self.compacted})").body,
                    )
                    break
                for at_version, verb, of, item in [event for event in self.history if event[0] > version]:
                    version = at_version
                    if of == plural and _matches(request, item):
                        await say(verb, item)
                changed.clear()
                if any(event[0] > version for event in self.history):
                    continue
                try:
                    async with asyncio.timeout(self.bookmark_every):
                        await changed.wait()
                except TimeoutError:
                    if changed.is_set():
                        continue
                    version = max(version, self.version)
                    if bookmarks:
                        mark = {
                            "kind": KINDS[plural],
                            "apiVersion": "v1",
                            "metadata": {"resourceVersion": str(version)},
                        }
                        await say("BOOKMARK", mark)
        finally:
            self.watchers.discard(changed)
        return response

    async def _log(self, request: web.Request) -> web.StreamResponse:
        namespace, name = request.match_info["ns"], request.match_info["name"]
        self._right(request, "get", "pods/log")
        self.get("pods", namespace, name)
        assert self.log_of is not None
        pieces = self.log_of(namespace, name, dict(request.query))
        first = await anext(pieces, b"")  # an error comes before the first byte
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(request)
        await response.write(first)
        async for piece in pieces:
            await response.write(piece)
        return response

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[KubeFake]:
        runner = web.AppRunner(self.app(), handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        assert runner.addresses
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            self.changed.clear()
            await runner.cleanup()

    def kubeconfig(self, folder: Path, *contexts: str, token: str = TOKEN) -> Path:
        """A kubeconfig with these contexts, all of this server."""
        file = folder / "kubeconfig"
        names = contexts or ("c",)
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": names[0],
            "clusters": [{"name": "fake", "cluster": {"server": self.url}}],
            "users": [{"name": "me", "user": {"token": token}}],
            "contexts": [
                {"name": name, "context": {"cluster": "fake", "user": "me", "namespace": "n"}} for name in names
            ],
        }
        file.write_text(json.dumps(document))
        return file


def _matches(request: web.Request, item: Object) -> bool:
    metadata = item["metadata"]
    if metadata["namespace"] != request.match_info["ns"]:
        return False
    for pair in filter(None, request.query.get("labelSelector", "").split(",")):
        name, _, value = pair.partition("=")
        if (metadata.get("labels") or {}).get(name) != value:
            return False
    for pair in filter(None, request.query.get("fieldSelector", "").split(",")):
        name, _, value = pair.partition("=")
        if name == "metadata.name" and metadata["name"] != value:
            return False
    return True
