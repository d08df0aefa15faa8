"""What requests may carry: the query of each route and its small bodies. Unknown names are errors, here as in task files."""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

import msgspec
from aiohttp import web

from styx.api.bodies import convert
from styx.api.problems import HttpProblem

__all__ = [
    "AfterQuery",
    "ArchivesQuery",
    "Backup",
    "BundleQuery",
    "Cancel",
    "CostQuery",
    "Down",
    "ElementsQuery",
    "Gc",
    "InstancesQuery",
    "JobEventsQuery",
    "JobsQuery",
    "LogsQuery",
    "NewToken",
    "NoQuery",
    "Nothing",
    "PlanQuery",
    "ResolveQuery",
    "Retry",
    "TasksQuery",
    "WaitQuery",
    "idempotency_key",
    "query",
]

T = TypeVar("T")

Limit = Annotated[int, msgspec.Meta(ge=1, le=1_000, description="items in a page")]
Cursor = Annotated[str, msgspec.Meta(max_length=200, description="`next` of the page before")]
Text = Annotated[str, msgspec.Meta(max_length=1_000)]


class NoQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Nothing."""


class ElementsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    limit: Limit = 100
    cursor: Cursor = ""


class JobsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    limit: Limit = 100
    cursor: Cursor = ""
    status: Literal["", "RUNNING", "CANCELLING", "SUCCEEDED", "FAILED", "CANCELLED"] = ""
    name: Text = ""


class TasksQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    limit: Limit = 100
    cursor: Cursor = ""
    job: Text = ""


class LogsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    follow: bool = False
    tail: Annotated[int, msgspec.Meta(ge=0, le=1 << 40, description="bytes before the end of each stream")] = 0
    stream: Literal["", "stdout", "stderr"] = ""


class AfterQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    after: Annotated[int, msgspec.Meta(ge=-1, le=(1 << 63) - 1, description="an event id; -1: from now on")] = -1
    job: Text = ""


class JobEventsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    after: Annotated[int, msgspec.Meta(ge=-1, le=(1 << 63) - 1, description="an event id; 0: from the beginning")] = 0


class WaitQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    timeout: Annotated[float, msgspec.Meta(ge=0, le=300, description="seconds")] = 60.0


class ResolveQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    ref: Annotated[str, msgspec.Meta(min_length=1, max_length=1_000)]


class ArchivesQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    host: Annotated[str, msgspec.Meta(max_length=1_000, description="names the machine that the folder is on")] = ""


class BundleQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    sha256: Annotated[
        str, msgspec.Meta(pattern="^([0-9a-f]{64})?$", description="the very archive; by default the newest")
    ] = ""


class PlanQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    offers: Annotated[int, msgspec.Meta(ge=0, le=100_000, description="that are shown of those that fit; 0: all")] = 10
    usable: Annotated[
        bool, msgspec.Meta(description="look only at what may be brought up from here, now or after an outage")
    ] = False


class InstancesQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    gone: Annotated[bool, msgspec.Meta(description="also those that are no more")] = False


class CostQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    job: Text = ""


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An empty body, or an empty object."""


class Down(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`ids` are numbers, names of agents, or the providers' names of machines."""

    ids: Annotated[list[Text], msgspec.Meta(max_length=10_000)] = []
    everything: bool = False
    orphans: bool = False
    force: Annotated[bool, msgspec.Meta(description="what runs there is not waited for")] = False


class Cancel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    reason: Annotated[str, msgspec.Meta(max_length=1_000)] = ""


class Retry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`failed`: what did not succeed; `start`: a task of the job, by name, and all that follows from it; else all."""

    failed: bool = False
    start: Text = ""


class Gc(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    days: Annotated[float, msgspec.Meta(ge=0, le=36_500)] = 30.0
    keep_bytes: Annotated[int, msgspec.Meta(ge=0, le=1 << 60)] = 10_000_000_000


class Backup(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`path` is on the server's disk: a file, or a folder that gets a styx.db."""

    path: Annotated[str, msgspec.Meta(min_length=1, max_length=4_096)]


class NewToken(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`ttl` is in seconds; 0: it does not end."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    role: Literal["admin", "user", "viewer", "agent", "join"] = "user"
    ttl: Annotated[float, msgspec.Meta(ge=0, le=10 * 365 * 86_400)] = 0.0
    pool: Annotated[str, msgspec.Meta(max_length=64, description="of a join token: its agents carry it as a label")] = (
        ""
    )
    single_use: Annotated[bool, msgspec.Meta(description="of a join token: it lets in one agent only")] = False


def query(request: web.Request, kind: type[T]) -> T:
    """The query string as a struct. Raises HttpProblem (400)."""
    given = request.query
    if len(set(given)) != len(given):
        raise HttpProblem(400, "a name stands twice in the query")
    return convert(dict(given), kind, strict=False, what="the query")


def idempotency_key(request: web.Request) -> str:
    """The Idempotency-Key of a request that creates, "" without one."""
    keys = request.headers.getall("Idempotency-Key", [])
    if not keys:
        return ""
    if len(keys) > 1 or not 1 <= len(keys[0]) <= 200 or not (keys[0].isascii() and keys[0].isprintable()):
        raise HttpProblem(400, "Idempotency-Key must be one value of 1 to 200 printable ASCII characters")
    return keys[0]
