"""A small scripted plane, and a server around it, for tests of the HTTP surface alone."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from msgspec.structs import replace

from styx.api.auth import digest_of
from styx.core.spec import JobSpec
from styx.errors import Conflict, NotFound, StyxError, UsageError, WaitTimeout
from styx.protocol.http import (
    AgentView,
    BackupView,
    Created,
    Event,
    Health,
    JobResult,
    JobView,
    LogChunk,
    PlannedTask,
    PlanView,
    ResourcesView,
    Stats,
    TaskView,
    TokenView,
    Why,
)
from styx.protocol.places import (
    CheckView,
    CostView,
    InstanceView,
    NodeView,
    OffersQuery,
    OffersView,
    OfferView,
    RefreshView,
)
from styx.server.serve import serve
from styx.store.base import TokenRow

SECRETS = {role: f"styx_{role}" for role in ("admin", "user", "viewer", "agent", "join")}


def task_view(ident: str, job: str = "job-0", name: str = "t") -> TaskView:
    return TaskView(
        ident, job, "j", name, "RUNNING", None, 0, {"RUNNING": 1}, "true", [], ResourcesView(), 1.0, 0.0, 0.0, None, []
    )


class FakePlane:
    """Remembers what it was asked; jobs are made up, and end when `finish` is called."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.specs: dict[str, JobSpec] = {}
        self.keys: dict[str, tuple[JobSpec, Created]] = {}
        self.rows: list[TokenRow] = []
        self.state = "healthy"
        self.raises: BaseException | None = None
        self.output: list[LogChunk] = []
        self.log: list[Event] = []
        self.changed = asyncio.Event()
        self.ended: dict[str, JobResult] = {}
        self._calls: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)

    async def called(self, verb: str) -> None:
        """Until a verb has been called for the first time."""
        await self._calls[verb].wait()

    def _asked(self, *call: Any) -> None:
        self.calls.append(call)
        self._calls[call[0]].set()
        if self.raises is not None:
            raise self.raises

    async def tokens_rows(self) -> list[TokenRow]:
        return self.rows

    def token(self, secret: str, role: str, *, expires_at: int = 0) -> TokenRow:
        row = TokenRow(len(self.rows) + 1, role, role, digest_of(secret), 1, expires_at)
        self.rows.append(row)
        return row

    def emit(self, kind: str, *, job: str = "", **more: Any) -> None:
        self.log.append(Event(len(self.log) + 1, kind, 1.5, job_id=job, **more))
        self.changed.set()
        self.changed = asyncio.Event()

    def finish(self, job: str, code: int = 0) -> None:
        status = "FAILED" if code else "SUCCEEDED"
        self.ended[job] = JobResult(job, "j", status, code, "program", {status: 1}, [])
        self.emit("job.ended", job=job, status=status)

    def _known(self, ref: str) -> str:
        if ref not in self.specs:
            raise NotFound(f"there is no job or task {ref!r}")
        return ref

    async def submit_spec(self, spec: JobSpec, *, key: str = "", secrets: Any = None) -> Created:
        self._asked("submit", spec, key)
        if key in self.keys:
            before, answer = self.keys[key]
            if before != spec:
                raise Conflict("this Idempotency-Key came with another body before")
            return answer
        ident = f"job-{len(self.specs)}"
        self.specs[ident] = spec
        answer = Created(ident, spec.name, "RUNNING", ident if spec.single else "")
        if key:
            self.keys[key] = (spec, answer)
        self.emit("job.accepted", job=ident)
        return answer

    async def plan(self, spec: JobSpec, *, offers: int = 10, usable: bool = False) -> PlanView:
        self._asked("plan", spec, offers, usable)
        tasks = [PlannedTask(t.name, list(t.needs), t.array, ResourcesView(), 0, []) for t in spec.tasks]
        return PlanView(spec.name, tasks, len(tasks), 1, True, "nothing")

    async def job(self, ref: str) -> JobView:
        self._asked("job", ref)
        return JobView(self._known(ref), "j", "RUNNING", "NORMAL", 1.0, 0.0, None, 1, 1, {}, "", False)

    async def jobs(self, *, limit: int = 100, cursor: str = "", status: str = "", name: str = "") -> Any:
        self._asked("jobs", limit, cursor, status, name)
        start = self._cursor(cursor)
        found = [await self.job(ref) for ref in self.specs][start : start + limit]
        return found, str(start + limit) if start + limit < len(self.specs) else ""

    def _cursor(self, cursor: str) -> int:
        if cursor and not cursor.isdigit():
            raise UsageError(f"not a cursor: {cursor!r}")
        return int(cursor or 0)

    async def task(self, ref: str) -> TaskView:
        self._asked("task", ref)
        return task_view(self._known(ref))

    async def tasks(self, *, job: str = "", limit: int = 100, cursor: str = "") -> Any:
        self._asked("tasks", job, limit, cursor)
        self._cursor(cursor)
        return [task_view(self._known(job))] if job else [task_view(ref) for ref in self.specs], ""

    async def elements(self, ref: str, *, limit: int = 100, cursor: str = "") -> Any:
        self._asked("elements", ref, limit, cursor)
        self._cursor(cursor)
        return [task_view(self._known(ref))], ""

    async def resolve(self, ref: str) -> dict[str, Any]:
        self._asked("resolve", ref)
        return {"kind": "job", "job_id": self._known(ref), "task_id": ""}

    async def cancel(self, ref: str, *, reason: str = "") -> bool:
        self._asked("cancel", ref, reason)
        return self._known(ref) not in self.ended

    async def retry(self, ref: str, *, failed: bool = False, start: str = "") -> int:
        self._asked("retry", ref, failed, start)
        self._known(ref)
        return 3

    async def wait(self, ref: str, *, timeout: float | None = None) -> JobResult:
        self._asked("wait", ref, timeout)
        self._known(ref)
        until = time.monotonic() + (1e9 if timeout is None else timeout)
        while ref not in self.ended:
            left = until - time.monotonic()
            try:
                async with asyncio.timeout(max(0.0, left)):
                    await self.changed.wait()
            except TimeoutError:
                raise WaitTimeout("it has not ended yet") from None
        return self.ended[ref]

    async def why(self, ref: str) -> Why:
        self._asked("why", ref)
        return Why(self._known(ref), "t", "READY", "no-node", "no agent is connected", [], ["start one"])

    async def logs(self, ref: str, *, follow: bool = False, tail: int = 0) -> AsyncIterator[LogChunk]:
        self._asked("logs", ref, follow, tail)
        self._known(ref)
        for chunk in self.output:
            yield chunk

    async def events(self, *, job: str = "", after: int = -1) -> AsyncIterator[Event]:
        self._asked("events", job, after)
        at = len(self.log) if after < 0 else after
        while True:
            while at < len(self.log):
                event = self.log[at]
                at += 1
                if not job or event.job_id == job:
                    yield event
                    if job and event.type == "job.ended":
                        return
            await self.changed.wait()

    async def agents(self) -> list[AgentView]:
        self._asked("agents")
        return []

    async def nodes(self) -> list[NodeView]:
        self._asked("nodes")
        return []

    async def instances(self, *, gone: bool = False) -> list[InstanceView]:
        self._asked("instances", gone)
        return []

    async def down(self, ids: Any = (), *, everything: bool = False, orphans: bool = False, force: bool = False) -> int:
        self._asked("down", list(ids), everything, orphans, force)
        return len(ids)

    async def offers(self, query: OffersQuery | None = None) -> OffersView:
        self._asked("offers", query)
        offer = OfferView("aws", "r", "ra", "m5", True, 0.25, 4.0, 8, {"T4": 1}, why="no credentials")
        return OffersView([offer], 1, 2, 3.0, "made up", [], {"aws": "no credentials"})

    async def refresh_offers(self) -> list[RefreshView]:
        self._asked("refresh_offers")
        return [RefreshView("aws", 7)]

    async def check(self) -> list[CheckView]:
        self._asked("check")
        return [CheckView("aws", False, True, "me", ["it is late"], ["wait"], 0.5)]

    async def cost(self, job: str = "") -> CostView:
        self._asked("cost", job)
        if job:
            self._known(job)
        return CostView(1.5, 0.25, [], [])

    async def stats(self) -> Stats:
        self._asked("stats")
        return Stats(1.0, 0, 0, {}, 0, 0, 0, 0, 0.0, 0, 0.0, 0.0, 0.0, 0.0, 0, 0, 0)

    async def health(self) -> Health:
        return Health(self.state, "1", "i", 1.0, "" if self.state == "healthy" else "the disk is full")

    async def tokens(self) -> list[TokenView]:
        self._asked("tokens")
        return [TokenView(r.token, r.name, r.role, 1.0, 0.0, bool(r.revoked_at)) for r in self.rows]

    async def add_token(
        self, name: str, *, role: str = "user", ttl: float = 0, pool: str = "", single_use: bool = False
    ) -> TokenView:
        self._asked("add_token", name, role, ttl)
        secret = f"styx_{name}_{len(self.rows)}"
        row = self.token(secret, role)
        return TokenView(row.token, name, role, 1.0, 0.0, False, secret)

    async def revoke_token(self, token_id: int) -> bool:
        self._asked("revoke_token", token_id)
        if all(row.token != token_id for row in self.rows):
            raise NotFound(f"there is no token {token_id}")
        self.rows = [replace(r, revoked_at=5) if r.token == token_id else r for r in self.rows]
        return True

    async def backup(self, path: str) -> BackupView:
        self._asked("backup", path)
        return BackupView(path, 4_096, 1.0)

    async def gc(self, *, days: float = 30.0, keep_bytes: int = 10_000_000_000) -> dict[str, int]:
        self._asked("gc", days, keep_bytes)
        return {"jobs": 0, "segments": 0, "bytes": 0}


class Served:
    """A plane that is served, and where."""

    def __init__(self, plane: FakePlane, app: web.Application, port: int) -> None:
        self.plane = plane
        self.app = app
        self.port = port
        self.url = f"http://127.0.0.1:{port}"

    def headers(self, role: str = "admin") -> dict[str, str]:
        return {"Authorization": f"Bearer {SECRETS[role]}"} if role else {}


@asynccontextmanager
async def served(plane: FakePlane | None = None, *, port: int = 0, **options: Any) -> AsyncIterator[Served]:
    """The application over a fake plane, on a free port of loopback, with one token a role."""
    plane = plane or FakePlane()
    if not plane.rows:
        for role, secret in SECRETS.items():
            plane.token(secret, role)
    serving = await serve(plane, plane.tokens_rows, port=port, grace=1.0, **options)
    try:
        yield Served(plane, serving.app, serving.port)
    finally:
        await serving.stop()


__all__ = ["SECRETS", "FakePlane", "Served", "StyxError", "served", "task_view"]
