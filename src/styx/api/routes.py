"""The routes: one line each says the way, who may go it, and what goes in and comes out.

The application, the authorisation and the OpenAPI document are made from this one table.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from aiohttp import web

from styx.api import (
    admin,
    agents,
    agents_ws,
    archives,
    bootstrap,
    events,
    health,
    jobs,
    logs,
    measure,
    openapi,
    places,
    requests,
    tasks,
)
from styx.api.auth import Access
from styx.protocol import http, joining
from styx.protocol import places as views

__all__ = ["ROUTES", "Route"]

V1 = "/api/v1"
PUBLIC, READ, WRITE, ADMIN, AGENT = Access.PUBLIC, Access.READ, Access.WRITE, Access.ADMIN, Access.AGENT
JOIN, BOOT = Access.JOIN, Access.BOOT


class Route(msgspec.Struct, frozen=True):
    """`gives` and `takes` are structs; `items` says that the answer is a page of `gives`. `document` bodies are task files."""

    method: str
    path: str
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    access: Access
    gives: Any = None
    items: bool = False
    takes: Any = None
    document: bool = False
    query: Any = None
    status: int = 200
    media: tuple[str, ...] = ("application/json",)
    creates: bool = False


SSE = ("text/event-stream",)
TEXT = ("text/plain",)
GZIP = ("application/gzip",)
LOGS = ("text/plain", "text/event-stream", "application/json")  # which one is the reader's choice
J, T, A = V1 + "/jobs/{ref}", V1 + "/tasks/{ref}", V1 + "/archives/{sha256}"

ROUTES: tuple[Route, ...] = (
    Route("GET", "/health", health.health, PUBLIC, http.Health),
    Route("GET", "/version", health.versions, PUBLIC, http.VersionView),
    Route("GET", "/metrics", measure.metrics, READ, media=TEXT),
    Route("GET", V1 + "/openapi.json", openapi.show, READ),
    Route("POST", V1 + "/tasks", tasks.submit, WRITE, http.Created, document=True, status=201, creates=True),
    Route("GET", V1 + "/tasks", tasks.index, READ, http.TaskView, items=True, query=requests.TasksQuery),
    Route("GET", T, tasks.show, READ, http.TaskView),
    Route("POST", T + "/cancel", jobs.cancel, WRITE, takes=requests.Cancel),
    Route("POST", T + "/retry", jobs.retry, WRITE, takes=requests.Retry),
    Route("GET", T + "/logs", logs.of, READ, http.LogChunk, items=True, query=requests.LogsQuery, media=LOGS),
    Route("GET", T + "/elements", tasks.elements, READ, http.TaskView, items=True, query=requests.ElementsQuery),
    Route("GET", T + "/why", tasks.why, READ, http.Why),
    Route("GET", T + "/wait", jobs.wait, READ, http.JobResult, query=requests.WaitQuery),
    Route("POST", V1 + "/jobs", jobs.submit, WRITE, http.Created, document=True, status=201, creates=True),
    Route("GET", V1 + "/jobs", jobs.index, READ, http.JobView, items=True, query=requests.JobsQuery),
    Route("GET", J, jobs.show, READ, http.JobView),
    Route("GET", J + "/tasks", jobs.tasks, READ, http.TaskView, items=True, query=requests.ElementsQuery),
    Route("POST", J + "/cancel", jobs.cancel, WRITE, takes=requests.Cancel),
    Route("POST", J + "/retry", jobs.retry, WRITE, takes=requests.Retry),
    Route("GET", J + "/logs", logs.of, READ, http.LogChunk, items=True, query=requests.LogsQuery, media=LOGS),
    Route("GET", J + "/events", events.of_job, READ, http.Event, query=requests.JobEventsQuery, media=SSE),
    Route("GET", J + "/why", tasks.why, READ, http.Why),
    Route("GET", J + "/wait", jobs.wait, READ, http.JobResult, query=requests.WaitQuery),
    Route("POST", V1 + "/plan", jobs.plan, READ, http.PlanView, document=True, query=requests.PlanQuery),
    Route("GET", V1 + "/resolve", tasks.resolve, READ, query=requests.ResolveQuery),
    Route("GET", V1 + "/agents", agents.index, READ, http.AgentView, items=True),
    Route("GET", V1 + "/agents/connect", agents_ws.connect, AGENT, status=101),
    Route("POST", joining.ENROL, agents.enrol, JOIN, joining.Enrolled, takes=joining.Enrol, status=201),
    Route(
        "GET", V1 + "/bootstrap/{python_tag}/{arch}", bootstrap.archive, BOOT, query=requests.BundleQuery, media=GZIP
    ),
    Route("GET", V1 + "/archives", archives.wanted, WRITE, http.ArchivesView, query=requests.ArchivesQuery),
    Route("HEAD", A, archives.about, WRITE, media=GZIP),
    Route("PUT", A, archives.put, WRITE, status=201),
    Route("GET", A, archives.get, AGENT, media=GZIP),
    Route("GET", A + "/for/{attempt}", archives.get_by_ticket, PUBLIC, media=GZIP),
    Route("GET", V1 + "/nodes", places.nodes, READ, views.NodeView, items=True),
    Route(
        "GET", V1 + "/instances", places.instances, READ, views.InstanceView, items=True, query=requests.InstancesQuery
    ),
    Route("POST", V1 + "/instances/down", places.down, WRITE, takes=requests.Down),
    Route("GET", V1 + "/offers", places.offers, READ, views.OffersView, query=views.OffersQuery),
    Route("POST", V1 + "/offers/refresh", places.refresh, WRITE, views.RefreshView, items=True, takes=requests.Nothing),
    Route("GET", V1 + "/check", places.check, READ, views.CheckView, items=True),
    Route("GET", V1 + "/cost", places.cost, READ, views.CostView, query=requests.CostQuery),
    Route("GET", V1 + "/events", events.everything, READ, http.Event, query=requests.AfterQuery, media=SSE),
    Route("GET", V1 + "/stats", health.stats, READ, http.Stats),
    Route("GET", V1 + "/tokens", admin.tokens, ADMIN, http.TokenView, items=True),
    Route(
        "POST",
        V1 + "/tokens",
        admin.add_token,
        ADMIN,
        http.TokenView,
        takes=requests.NewToken,
        status=201,
        creates=True,
    ),
    Route("DELETE", V1 + "/tokens/{id}", admin.revoke_token, ADMIN),
    Route("POST", V1 + "/gc", admin.gc, ADMIN, takes=requests.Gc),
    Route("POST", V1 + "/backup", admin.backup, ADMIN, http.BackupView, takes=requests.Backup),
)
