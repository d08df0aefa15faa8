"""A scripted plane for the command line, and a way to run `styx` inside the test's process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from styx.cli.app import App
from styx.cli.main import main
from styx.core.spec import JobSpec
from styx.errors import NotFound
from styx.protocol.http import (
    AgentView,
    AttemptView,
    BackupView,
    Created,
    Health,
    JobResult,
    JobView,
    LogChunk,
    PlannedTask,
    PlanView,
    ResourcesView,
    TaskView,
    TokenView,
    Why,
)
from styx.protocol.places import (
    CheckView,
    CostView,
    InstanceView,
    JobCost,
    MachineCost,
    OffersQuery,
    OffersView,
    OfferView,
    RefreshView,
)

JOB = "01890000-0000-7000-8000-0000000000aa"
TASK = "01890000-0000-7000-8000-0000000000bb"


def task_view(name: str = "t", status: str = "SUCCEEDED", **fields: Any) -> TaskView:
    plain: dict[str, Any] = {
        "task_id": TASK, "job_id": JOB, "job_name": "j", "index": None, "array": 0, "counts": {status: 1}, "command": "true",
        "needs": [], "resources": ResourcesView(), "submitted_at": 1.0, "started_at": 2.0, "ended_at": 3.0,
        "exit_code": 0 if status == "SUCCEEDED" else None, "attempts": [AttemptView(1, "a", "EXITED", 0, 1.0, 2.0, 3.0)],
    }  # fmt: skip
    return TaskView(**(plain | {"name": name, "status": status} | fields))


def job_view(status: str = "SUCCEEDED", **fields: Any) -> JobView:
    plain: dict[str, Any] = {
        "job_id": JOB, "name": "j", "priority": "normal", "submitted_at": 1.0, "ended_at": 3.0, "exit_code": 0, "tasks": 1,
        "elements": 1, "counts": {"SUCCEEDED": 1}, "reason": "", "single": True, "graph": [task_view()],
    }  # fmt: skip
    return JobView(**(plain | {"status": status} | fields))


class FakeVerbs:
    """Answers from attributes that a test sets; `asked` is what was called."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.specs: list[JobSpec] = []
        self.view = job_view()
        self.chunks: list[LogChunk] = []
        self.result = JobResult(JOB, "j", "SUCCEEDED", 0, "program", {"SUCCEEDED": 1}, [])
        self.error: Exception | None = None
        self.ended = asyncio.Event()
        self.ended.set()
        self.again = False
        self.planned: PlanView | None = None
        self.machines: list[InstanceView] = []
        self.unusable = "the credentials are not valid"  # of gcp; "" when it can be used

    async def submit_spec(self, spec: JobSpec, *, key: str = "", secrets: Any = None) -> Created:
        if self.error is not None:
            raise self.error
        self.specs.append(spec)
        self.asked.append(("submit", key))
        return Created(JOB, spec.name, "RUNNING", TASK if spec.single else "", self.again)

    async def plan(self, spec: JobSpec, *, offers: int = 10, usable: bool = False) -> PlanView:
        if self.error is not None:
            raise self.error
        if self.planned is not None:
            self.asked.append(("plan", offers, usable))
            return self.planned
        tasks = [
            PlannedTask(t.name, list(t.needs), t.array, ResourcesView(), level, ["a"])
            for level, t in enumerate(spec.tasks)
        ]
        return PlanView(spec.name, tasks, len(tasks), len(tasks), True, "1 connected agent")

    async def resolve(self, ref: str) -> dict[str, Any]:
        if ref == "nothing":
            raise NotFound("there is no 'nothing'", hint="look at `styx status`")
        if "/" in ref or ref == TASK:
            return {"kind": "task", "job_id": JOB, "task_id": TASK}
        return {"kind": "job", "job_id": JOB, "task_id": ""}

    async def job(self, ref: str) -> JobView:
        return self.view

    async def jobs(self, **query: Any) -> tuple[list[JobView], str]:
        self.asked.append(("jobs", query))
        return [self.view], ""

    async def task(self, ref: str) -> TaskView:
        return self.view.graph[0]

    async def elements(self, ref: str, *, limit: int = 100, cursor: str = "") -> tuple[list[TaskView], str]:
        return [task_view(index=n, status="FAILED" if n == 2 else "SUCCEEDED", exit_code=7) for n in range(4)], ""

    async def cancel(self, ref: str, *, reason: str = "") -> bool:
        self.asked.append(("cancel", ref, reason))
        self.ended.set()
        return True

    async def retry(self, ref: str, *, failed: bool = False, start: str = "") -> int:
        self.asked.append(("retry", ref, failed, start))
        return 3

    async def wait(self, ref: str, *, timeout: float | None = None) -> JobResult:
        await self.ended.wait()
        return self.result

    async def why(self, ref: str) -> Why:
        return Why(TASK, "t", "READY", "no-room", "every place is full", ["a: 0 of 2 CPUs are free"], ["wait"])

    async def logs(self, ref: str, *, follow: bool = False, tail: int = 0) -> AsyncIterator[LogChunk]:
        self.asked.append(("logs", ref, follow, tail))
        for chunk in self.chunks:
            yield chunk

    async def agents(self) -> list[AgentView]:
        some, most = ResourcesView(1.5, 4 * 10**9), ResourcesView(2, 8 * 10**9, 0, {"A100": 1})
        return [AgentView("id-a", "a", "UP", "h", "0.1", most, some, {"zone": "b"}, 1, 0, 0.25, 10**9, 0.5, 1.0)]

    async def instances(self, *, gone: bool = False) -> list[InstanceView]:
        self.asked.append(("instances", gone))
        return self.machines

    async def down(self, ids: Any = (), *, everything: bool = False, orphans: bool = False, force: bool = False) -> int:
        self.asked.append(("down", tuple(ids), everything, orphans, force))
        return len(ids) or len(self.machines)

    async def offers(self, query: OffersQuery | None = None) -> OffersView:
        self.asked.append(("offers", query))
        items = [
            OfferView("aws", "r", "ra", "p4d", True, 6.5, 96.0, 10**12, {"A100": 8}, why="no credentials"),
            OfferView("gcp", "s", "", "a2", False, 0.5, 12.0, 8 * 10**10, arch="arm64"),
        ]
        return OffersView(items, 2, 9, 86_400.0, "aws: made up", ["gcp"], {"aws": "no credentials"})

    async def refresh_offers(self) -> list[RefreshView]:
        self.asked.append(("refresh",))
        return [RefreshView("aws", 1_234), RefreshView("gcp", 0, "the credentials are not valid")]

    async def check(self) -> list[CheckView]:
        problems, hints = ([self.unusable], ["gcloud auth login"]) if self.unusable else ([], [])
        return [
            CheckView("aws", True, True, "arn:aws:iam::1:user/me", [], [], 0.1),
            CheckView("gcp", not self.unusable, True, "", problems, hints, 0.1),
            CheckView("other", False, False, "", ["[providers.other] is not in styx.toml"], [], 0.1),
        ]

    async def cost(self, job: str = "") -> CostView:
        self.asked.append(("cost", job))
        machine = MachineCost("7", "r/i-1", "aws", "ra", "p4d", True, 6.5, "UP", 1.25)
        return CostView(1.5, 6.5, [JobCost(JOB, "train", "RUNNING", 1.25, 20.0)], [machine])

    async def health(self) -> Health:
        return Health("healthy", "0.1.0", "x", 1.0, provisions=self.planned is not None)

    async def backup(self, path: str) -> BackupView:
        self.asked.append(("backup", path))
        return BackupView(path, 8_192, 1.0)

    async def add_token(
        self, name: str, *, role: str = "user", ttl: float = 0, pool: str = "", single_use: bool = False
    ) -> TokenView:
        self.asked.append(("token", name, role, ttl))
        return TokenView(7, name, role, 1.0, 0.0, False, "styx_secret")


def run(verbs: FakeVerbs, *arguments: str, home: Any = None) -> int:
    """`styx ARGUMENTS` against the fake; the exit code. What is printed goes to capfd."""

    def connect(url: str) -> AbstractAsyncContextManager[Any]:
        assert url == "http://fake"

        @asynccontextmanager
        async def connected() -> AsyncIterator[FakeVerbs]:
            yield verbs

        return connected()

    environ = {
        "STYX_SERVER_URL": "http://fake",
        "STYX_HOME": str(home or "/nonexistent"),
        "XDG_CONFIG_HOME": "/nonexistent",
    }
    return main(arguments, app=App(environ=environ, connect=connect))
