"""`Client`: the verbs of `protocol.verbs.Verbs` over HTTP."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from secrets import token_hex
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar
from urllib.parse import quote

import msgspec

from styx.client.channel import Channel
from styx.client.document import document_of
from styx.client.sending import Parcels
from styx.core.spec import JobSpec
from styx.errors import WaitTimeout
from styx.protocol.handles import Submits
from styx.protocol.http import (
    AgentView,
    BackupView,
    Created,
    Event,
    Health,
    JobResult,
    JobView,
    LogChunk,
    PlanView,
    Stats,
    TaskView,
    TokenView,
    VersionView,
    Why,
)
from styx.protocol.places import CheckView, CostView, InstanceView, NodeView, OffersQuery, OffersView, RefreshView
from styx.protocol.secrets import VALUES

if TYPE_CHECKING:
    import ssl

__all__ = ["Client"]

V1 = "/api/v1"
T = TypeVar("T")

POLL = 30.0  # seconds that the server holds one request of `wait`


class _Page(msgspec.Struct, Generic[T], frozen=True):
    items: list[T]
    next: str | None


class Client(Submits):
    """A Styx server at `url`, such as "http://127.0.0.1:8080".

    The token is the argument, else STYX_TOKEN, else, for a server on this host, the one in STYX_HOME. `patience` is how many
    seconds a server that has answered before may be gone (a restart, an upgrade) before a verb raises Unreachable; one that
    never answered is Unreachable at once. `tls` is for servers with a certificate of their own, as is a file named by STYX_CA.
    """

    def __init__(
        self, url: str, token: str | None = None, *, patience: float = 60.0, tls: ssl.SSLContext | None = None
    ) -> None:
        from styx.client.credentials import tls_for, token_for

        tls = tls_for(url) if tls is None else tls
        self._channel = Channel(url, token_for(url) if token is None else token, patience=patience, tls=tls)

    @property
    def url(self) -> str:
        return self._channel.url

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._channel.close()

    async def submit_spec(self, spec: JobSpec, *, key: str = "", secrets: Mapping[str, str] | None = None) -> Created:
        # A key of our own makes it safe to send the request again when its answer was lost.
        spec = await Parcels(self._channel).of(spec)
        path = f"{V1}/tasks" if spec.single else f"{V1}/jobs"
        own = key or f"auto-{token_hex(16)}"
        body = document_of(spec) | ({VALUES: dict(secrets)} if secrets else {})
        answer = await self._channel.ask("POST", path, Created, body=body, key=own, seconds=300.0)
        return answer if key else msgspec.structs.replace(answer, again=False)

    async def plan(self, spec: JobSpec, *, offers: int = 10, usable: bool = False) -> PlanView:
        query = {"offers": offers, "usable": "true" if usable else "false"}
        return await self._channel.ask(
            "POST", f"{V1}/plan", PlanView, query=query, body=document_of(spec), repeat=True, seconds=300.0
        )

    async def job(self, ref: str) -> JobView:
        return await self._channel.ask("GET", _job(ref), JobView)

    async def jobs(
        self, *, limit: int = 100, cursor: str = "", status: str = "", name: str = ""
    ) -> tuple[list[JobView], str]:
        query = {"limit": limit, "cursor": cursor, "status": status, "name": name}
        return _items(await self._channel.ask("GET", f"{V1}/jobs", _Page[JobView], query=query))

    async def task(self, ref: str) -> TaskView:
        return await self._channel.ask("GET", _task(ref), TaskView)

    async def tasks(self, *, job: str = "", limit: int = 100, cursor: str = "") -> tuple[list[TaskView], str]:
        query = {"job": job, "limit": limit, "cursor": cursor}
        return _items(await self._channel.ask("GET", f"{V1}/tasks", _Page[TaskView], query=query))

    async def elements(self, ref: str, *, limit: int = 100, cursor: str = "") -> tuple[list[TaskView], str]:
        query = {"limit": limit, "cursor": cursor}
        return _items(await self._channel.ask("GET", f"{_task(ref)}/elements", _Page[TaskView], query=query))

    async def resolve(self, ref: str) -> dict[str, Any]:
        return await self._channel.ask("GET", f"{V1}/resolve", dict[str, Any], query={"ref": ref})

    async def cancel(self, ref: str, *, reason: str = "") -> bool:
        # Repeating a wish does not change it, but a repeated request may find that nothing is live any more.
        body = {"reason": reason} if reason else {}
        answer = await self._channel.ask("POST", f"{_task(ref)}/cancel", dict[str, bool], body=body, repeat=True)
        return answer["cancelled"]

    async def retry(self, ref: str, *, failed: bool = False, start: str = "") -> int:
        body = {"failed": failed, "start": start}
        return (await self._channel.ask("POST", f"{_task(ref)}/retry", dict[str, int], body=body))["elements"]

    async def wait(self, ref: str, *, timeout: float | None = None) -> JobResult:
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            left = POLL if until is None else min(POLL, max(0.0, until - time.monotonic()))
            try:
                return await self._channel.ask(
                    "GET", f"{_task(ref)}/wait", JobResult, query={"timeout": f"{left:.3f}"}, seconds=left + 30.0
                )
            except WaitTimeout:
                if until is not None and time.monotonic() >= until:
                    raise WaitTimeout(f"{ref} has not ended within {timeout:g} s") from None

    async def why(self, ref: str) -> Why:
        return await self._channel.ask("GET", f"{_task(ref)}/why", Why)

    async def logs(self, ref: str, *, follow: bool = False, tail: int = 0) -> AsyncIterator[LogChunk]:
        query = {"follow": "1" if follow else "0", "tail": tail}
        seen = _Seen()
        # After a break everything is read again, without `tail`, which would count from another end.
        async with aclosing(
            self._channel.stream(f"{_task(ref)}/logs", query, resume={"follow": query["follow"]})
        ) as events:
            async for received in events:
                chunk = seen.new(msgspec.json.decode(received.data, type=LogChunk))
                if chunk is not None:
                    yield chunk

    async def events(self, *, job: str = "", after: int = -1) -> AsyncIterator[Event]:
        async with aclosing(self._channel.stream(f"{V1}/events", {"job": job, "after": after})) as events:
            async for received in events:
                event = msgspec.json.decode(received.data, type=Event)
                yield event
                if job and event.type == "job.ended":
                    return

    async def agents(self) -> list[AgentView]:
        return (await self._channel.ask("GET", f"{V1}/agents", _Page[AgentView])).items

    async def nodes(self) -> list[NodeView]:
        return (await self._channel.ask("GET", f"{V1}/nodes", _Page[NodeView])).items

    async def instances(self, *, gone: bool = False) -> list[InstanceView]:
        query = {"gone": "true" if gone else "false"}
        return (await self._channel.ask("GET", f"{V1}/instances", _Page[InstanceView], query=query)).items

    async def down(
        self, ids: Sequence[str] = (), *, everything: bool = False, orphans: bool = False, force: bool = False
    ) -> int:
        # Ending what is on its way out changes nothing, so the wish may be repeated.
        body = {"ids": list(ids), "everything": everything, "orphans": orphans, "force": force}
        answer = await self._channel.ask("POST", f"{V1}/instances/down", dict[str, int], body=body, repeat=True)
        return answer["instances"]

    async def offers(self, query: OffersQuery | None = None) -> OffersView:
        asked = msgspec.to_builtins(query or OffersQuery())
        return await self._channel.ask("GET", f"{V1}/offers", OffersView, query=asked, seconds=60.0)

    async def refresh_offers(self) -> list[RefreshView]:
        page = _Page[RefreshView]
        return (await self._channel.ask("POST", f"{V1}/offers/refresh", page, repeat=True, seconds=1_800.0)).items

    async def check(self) -> list[CheckView]:
        return (await self._channel.ask("GET", f"{V1}/check", _Page[CheckView], seconds=30.0)).items

    async def cost(self, job: str = "") -> CostView:
        return await self._channel.ask("GET", f"{V1}/cost", CostView, query={"job": job})

    async def stats(self) -> Stats:
        return await self._channel.ask("GET", f"{V1}/stats", Stats)

    async def health(self) -> Health:
        """Also of a server that is not healthy: it says why."""
        return await self._channel.ask("GET", "/health", Health, accept=frozenset({503}), seconds=10.0)

    async def version(self) -> VersionView:
        return await self._channel.ask("GET", "/version", VersionView, seconds=10.0)

    async def tokens(self) -> list[TokenView]:
        return (await self._channel.ask("GET", f"{V1}/tokens", _Page[TokenView])).items

    async def add_token(
        self, name: str, *, role: str = "user", ttl: float = 0, pool: str = "", single_use: bool = False
    ) -> TokenView:
        body = {"name": name, "role": role, "ttl": ttl}
        if role == "join":  # an older server does not know the rest
            body |= {"pool": pool, "single_use": single_use}
        return await self._channel.ask("POST", f"{V1}/tokens", TokenView, body=body, key=token_hex(16))

    async def revoke_token(self, token_id: int) -> bool:
        return (await self._channel.ask("DELETE", f"{V1}/tokens/{token_id}", dict[str, bool]))["revoked"]

    async def backup(self, path: str) -> BackupView:
        body = {"path": path}
        return await self._channel.ask("POST", f"{V1}/backup", BackupView, body=body, repeat=True, seconds=3_600.0)

    async def gc(self, *, days: float = 30.0, keep_bytes: int = 10_000_000_000) -> dict[str, int]:
        body = {"days": days, "keep_bytes": keep_bytes}
        return await self._channel.ask("POST", f"{V1}/gc", dict[str, int], body=body, repeat=True, seconds=600.0)


def _job(ref: str) -> str:
    return f"{V1}/jobs/{quote(ref, safe='@')}"


def _task(ref: str) -> str:
    """What is the same for jobs, tasks and elements is under either path."""
    return f"{V1}/tasks/{quote(ref, safe='@')}"


def _items(page: _Page[T]) -> tuple[list[T], str]:
    return page.items, page.next or ""


class _Seen:
    """What a reader of logs has had, so that reading again after a break repeats nothing."""

    def __init__(self) -> None:
        self._ends: dict[tuple[str, int | None, int, str], int] = {}
        self._over: set[tuple[str, int | None, int, str]] = set()

    def new(self, chunk: LogChunk) -> LogChunk | None:
        """The part of a chunk that is new; None when nothing is."""
        key = (chunk.task_id, chunk.index, chunk.attempt, chunk.stream)
        if key in self._over:
            return None
        known = self._ends.get(key)
        end = chunk.offset + len(chunk.data)
        if chunk.end:
            self._over.add(key)
        elif known is not None and end <= known:
            return None
        self._ends[key] = max(end, known or 0)
        if known is None or chunk.offset >= known:
            return chunk
        return msgspec.structs.replace(chunk, offset=known, data=chunk.data[known - chunk.offset :], gap=0)
