"""The verbs on top of a shell: each is a line that hands on to the room whose business it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from styx.core.spec import JobSpec
from styx.errors import Busy, StoreError, TooSlow, UsageError, WaitTimeout
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
    Why,
)
from styx.protocol.places import CheckView, CostView, InstanceView, NodeView, OffersQuery, OffersView, RefreshView
from styx.runtime.archives import Archives
from styx.runtime.costs import Costs
from styx.runtime.instances import Instances
from styx.runtime.logs import Logs
from styx.runtime.offering import Offering
from styx.runtime.planning import Planning
from styx.runtime.queries import Queries
from styx.runtime.refs import Refs
from styx.runtime.shell import Shell
from styx.runtime.submission import Submissions
from styx.runtime.tokens import Tokens
from styx.runtime.upkeep import Upkeep
from styx.runtime.views import agent_view
from styx.runtime.wishes import Wishes

__all__ = ["Plane"]


class Plane:
    """`protocol.verbs.Verbs` in this process."""

    def __init__(self, shell: Shell, *, version: str = "") -> None:
        loop, store, clock = shell.loop, shell.store, shell.clock
        self.shell = shell
        self.archives: Archives | None = None  # packed working folders; given by whoever knows the folder for them
        self._refs = Refs(loop, store)
        self._queries = Queries(loop, store, self._refs, clock.now)
        self._submissions = Submissions(loop, store, clock, shell.secrets, looked=self._looked)
        self._wishes = Wishes(loop, store, self._refs, shell.results)
        self.offering = Offering(shell)
        self._planning = Planning(
            loop, clock, self._refs, self._queries, self._submissions, self.offering, self._waiting
        )
        self._instances = Instances(shell)
        self._costs = Costs(shell, self._refs, self._queries)
        self._logs = Logs(loop, store, self._refs, shell.output, shell.feeds)
        self._tokens = Tokens(store, clock)
        self._upkeep = Upkeep(shell, version)

    def _waiting(self, attempt: int) -> str:
        return self.shell.runners.waiting_reason(attempt) if self.shell.runners is not None else ""

    async def _looked(self) -> None:
        if self.shell.provisioner is not None:
            await self.shell.provisioner.looked.wait()

    async def submit_spec(self, spec: JobSpec, *, key: str = "", secrets: Mapping[str, str] | None = None) -> Created:
        if self.archives is not None:
            await self.archives.check(spec)
        return await self._submissions.submit(spec, key=key, secrets=secrets)

    async def plan(self, spec: JobSpec, *, offers: int = 10, usable: bool = False) -> PlanView:
        return await self._planning.plan(spec, offers=offers, usable=usable)

    async def job(self, ref: str) -> JobView:
        return await self._queries.job(ref)

    async def jobs(
        self, *, limit: int = 100, cursor: str = "", status: str = "", name: str = ""
    ) -> tuple[list[JobView], str]:
        return await self._queries.jobs(limit=limit, cursor=cursor, status=status, name=name)

    async def task(self, ref: str) -> TaskView:
        return await self._queries.task(ref)

    async def tasks(self, *, job: str = "", limit: int = 100, cursor: str = "") -> tuple[list[TaskView], str]:
        return await self._queries.tasks(job=job, limit=limit, cursor=cursor)

    async def elements(self, ref: str, *, limit: int = 100, cursor: str = "") -> tuple[list[TaskView], str]:
        return await self._queries.elements(ref, limit=limit, cursor=cursor)

    async def resolve(self, ref: str) -> dict[str, Any]:
        found = await self._refs.resolve(ref)
        return {"kind": found.kind, "job_id": found.job_text, "task_id": found.task_text}

    async def cancel(self, ref: str, *, reason: str = "") -> bool:
        return await self._wishes.cancel(ref, reason)

    async def retry(self, ref: str, *, failed: bool = False, start: str = "") -> int:
        return await self._wishes.retry(ref, failed=failed, start=start)

    async def wait(self, ref: str, *, timeout: float | None = None) -> JobResult:
        found = await self._refs.job(ref)
        ended = self.shell.watch.ended(found.job)
        try:
            await self.shell.loop.settled()
            if self._refs.live(found) is not None:
                fatal = self.shell.fatal
                either: set[asyncio.Future[Any]] = {ended, fatal}
                done, _ = await asyncio.wait(either, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
                if not done:
                    raise WaitTimeout(f"job {found.job_text} has not ended within {timeout:g} s")
                if not ended.done():
                    raise _stopped(fatal)
        finally:
            ended.cancel()
        return await self._queries.result(found)

    async def why(self, ref: str) -> Why:
        return await self._planning.why(ref)

    async def logs(self, ref: str, *, follow: bool = False, tail: int = 0) -> AsyncIterator[LogChunk]:
        if tail < 0:
            raise UsageError(f"tail counts bytes from the end, so it cannot be {tail}")
        async with aclosing(self._logs.read(ref, follow=follow, tail=tail)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def events(self, *, job: str = "", after: int = -1) -> AsyncIterator[Event]:
        serial, live = 0, True
        if job:
            serial = (await self._refs.job(job)).job
            await self.shell.loop.settled()
            live = serial in self.shell.engine.world.jobs
            if after >= 0:
                after = max(after, self.shell.observers.origin(serial))
            elif not live:
                return
        async with self.shell.watch.subscribe(serial, after=after, live=live) as events:
            try:
                async for event in events:
                    yield event
            except TooSlow:
                self.shell.metrics.dropped_readers.add()
                raise

    async def agents(self) -> list[AgentView]:
        await self.shell.loop.settled()
        return [
            agent_view(node, self.shell.hub.beat(node.id), seen=self.shell.hub.silence(node.id, node.seen_at))
            for _, node in sorted(self.shell.engine.world.nodes.items())
            if node.agent or node.instance is None
        ]

    async def nodes(self) -> list[NodeView]:
        return await self._instances.nodes()

    async def instances(self, *, gone: bool = False) -> list[InstanceView]:
        return await self._instances.listed(gone=gone)

    async def down(
        self, ids: Sequence[str] = (), *, everything: bool = False, orphans: bool = False, force: bool = False
    ) -> int:
        return await self._instances.down(ids, everything=everything, orphans=orphans, force=force)

    async def offers(self, query: OffersQuery | None = None) -> OffersView:
        return await self.offering.offers(query or OffersQuery())

    async def refresh_offers(self) -> list[RefreshView]:
        return await self.offering.refresh()

    async def check(self) -> list[CheckView]:
        return await self.offering.check()

    async def cost(self, job: str = "") -> CostView:
        return await (self._costs.of(job) if job else self._costs.all())

    async def stats(self) -> Stats:
        return await self._upkeep.stats()

    async def health(self) -> Health:
        return await self._upkeep.health()

    async def tokens(self) -> list[TokenView]:
        return await self._tokens.list()

    async def add_token(
        self, name: str, *, role: str = "user", ttl: float = 0, pool: str = "", single_use: bool = False
    ) -> TokenView:
        return await self._tokens.add(name, role, ttl, pool, single_use)

    async def revoke_token(self, token_id: int) -> bool:
        return await self._tokens.revoke(token_id)

    async def backup(self, path: str) -> BackupView:
        return await self._upkeep.backup(path)

    async def gc(self, *, days: float = 30.0, keep_bytes: int = 10_000_000_000) -> dict[str, int]:
        dropped = await self._upkeep.gc(days=days, keep_bytes=keep_bytes)
        if self.archives is not None:
            dropped["bytes"] += await self.archives.gc(days=days, keep_bytes=keep_bytes)
        return dropped

    async def metrics(self) -> bytes:
        """All figures in the text format of Prometheus (`telemetry.metrics.CONTENT_TYPE`)."""
        return await self._upkeep.metrics()

    def drain(self) -> None:
        """`health` says from now on that this is going down."""
        self._upkeep.draining = True


def _stopped(fatal: asyncio.Future[None]) -> Busy | StoreError:
    error = None if fatal.cancelled() else fatal.exception()
    if error is not None:
        return StoreError(f"Styx has stopped: {error}")
    return Busy("Styx has stopped", retry_after=5.0, status=503)
