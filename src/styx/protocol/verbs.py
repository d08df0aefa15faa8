"""The verbs. `styx.ControlPlane` (in this process) and `styx.Client` (over HTTP) both offer exactly these, and one contract
suite, `styx.testing.contracts.plane`, holds for both.

A reference (`ref`) names a job or task: a full id, `TASKID.INDEX`, an unambiguous prefix or suffix of at least four
digits, `@latest` for the newest job, or `REF/NAME` and `REF/NAME.INDEX` for a task of a job by its name.
Errors are those of `styx.errors`: NotFound and AmbiguousId from every `ref`, SpecError and NoFit from `submit`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Protocol

from styx.core.spec import JobSpec
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

__all__ = ["Verbs"]


class Verbs(Protocol):
    async def submit_spec(self, spec: JobSpec, *, key: str = "", secrets: Mapping[str, str] | None = None) -> Created:
        """Accepted and on disk when this returns. `secrets` are the values of those that the tasks name. The same `key` with the
        same spec and values gives the first answer again; with others it is a Conflict."""
        ...

    async def plan(self, spec: JobSpec, *, offers: int = 10, usable: bool = False) -> PlanView:
        """Where the tasks could go and what that would cost: connected places, and the best `offers` (0: all) of those that fit. With
        `usable` only offers that may be brought up from here, now or after an outage, are looked at, which is quick where there are none."""
        ...

    async def job(self, ref: str) -> JobView: ...

    async def jobs(
        self, *, limit: int = 100, cursor: str = "", status: str = "", name: str = ""
    ) -> tuple[list[JobView], str]:
        """Newest first, with the cursor of the next page ("" at the end)."""
        ...

    async def task(self, ref: str) -> TaskView: ...

    async def tasks(self, *, job: str = "", limit: int = 100, cursor: str = "") -> tuple[list[TaskView], str]:
        """All tasks, newest job first; of one job when `job` is given."""
        ...

    async def elements(self, ref: str, *, limit: int = 100, cursor: str = "") -> tuple[list[TaskView], str]:
        """The elements of an array by index, those that have not started too."""
        ...

    async def resolve(self, ref: str) -> dict[str, Any]:
        """{"kind": "job" | "task" | "element", "job_id": ..., "task_id": ...}: what a reference names."""
        ...

    async def cancel(self, ref: str, *, reason: str = "") -> bool:
        """Returns once the wish is on disk; False when nothing was live any more."""
        ...

    async def retry(self, ref: str, *, failed: bool = False, start: str = "") -> int:
        """How many elements will run again."""
        ...

    async def wait(self, ref: str, *, timeout: float | None = None) -> JobResult:
        """Until the job (or the job of the task) has ended; WaitTimeout when `timeout` seconds were not enough."""
        ...

    async def why(self, ref: str) -> Why: ...

    def logs(self, ref: str, *, follow: bool = False, tail: int = 0) -> AsyncIterator[LogChunk]:
        """Output of a job, a task or an element, oldest first within a stream; `follow` goes on until it has ended.
        `tail` > 0 starts that many bytes before the end of each stream."""
        ...

    def events(self, *, job: str = "", after: int = -1) -> AsyncIterator[Event]:
        """Events from now on, or behind the id `after` (0: from the oldest kept); of one job when `job` is given, and then it
        ends after job.ended."""
        ...

    async def agents(self) -> list[AgentView]: ...

    async def nodes(self) -> list[NodeView]:
        """All places: agents, machines that were brought up, runners."""
        ...

    async def instances(self, *, gone: bool = False) -> list[InstanceView]:
        """The machines that Styx believes in, newest first, and what the providers say of each; orphans too. With `gone` also those
        that are no more, as far as they are kept."""
        ...

    async def down(
        self, ids: Sequence[str] = (), *, everything: bool = False, orphans: bool = False, force: bool = False
    ) -> int:
        """End machines: those named by number, agent or the provider's name; `everything` that is up or coming; `orphans` that
        carry this server's mark. What runs there is stopped as it is when a job is cancelled, or with `force` not waited for. Returns
        how many are on their way out by this; a listing says when they are gone. Raises NotFound, AmbiguousId and UsageError."""
        ...

    async def offers(self, query: OffersQuery | None = None) -> OffersView:
        """What could be brought up, the cheapest first, by what is known now. Raises UsageError for a query that cannot be read."""
        ...

    async def refresh_offers(self) -> list[RefreshView]:
        """Ask the clouds that are set up for their offers; may take minutes. Raises StoreError when they cannot be kept."""
        ...

    async def check(self) -> list[CheckView]:
        """Whether each provider can be used, as whom, and what is missing; all asked side by side, within a few seconds."""
        ...

    async def cost(self, job: str = "") -> CostView:
        """What a job has cost, to the second; without one, what all machines have cost that are kept on record."""
        ...

    async def stats(self) -> Stats: ...

    async def health(self) -> Health: ...

    async def tokens(self) -> list[TokenView]: ...

    async def add_token(
        self, name: str, *, role: str = "user", ttl: float = 0, pool: str = "", single_use: bool = False
    ) -> TokenView:
        """The secret is in the answer and nowhere else. `ttl` is in seconds, 0 for ever. One of the role join is for a `pool` of
        agents, or `single_use`, or both."""
        ...

    async def revoke_token(self, token_id: int) -> bool: ...

    async def backup(self, path: str) -> BackupView:
        """Write a consistent copy of the database, without output, on the server's disk; work goes on meanwhile. `path` is
        absolute there: a file, replaced only if it is such a copy, or a folder that gets a styx.db. Raises UsageError, and
        StoreError when there is no database."""
        ...

    async def gc(self, *, days: float = 30.0, keep_bytes: int = 10_000_000_000) -> dict[str, int]:
        """Drop what ended longer ago: {"jobs": ..., "segments": ..., "bytes": ...}."""
        ...
