"""Looking ahead and looking into: where a job would go, and why a task is where it is. Both ask placement's own predicates."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from styx.core.awaiting import promised
from styx.core.capacity import known_places, misfit
from styx.core.explain import Reason, explain
from styx.core.graph import levels
from styx.core.spec import JobSpec, TaskSpec
from styx.core.states import TaskState
from styx.core.world import Job, Node, Task
from styx.errors import NotFound
from styx.protocol.http import PlannedTask, PlanView, TaskView, Why
from styx.runtime.clock import Clock
from styx.runtime.loop import Loop
from styx.runtime.offering import Offering
from styx.runtime.queries import Queries
from styx.runtime.rankings import Rankings, asked_for, fitting
from styx.runtime.refs import Ref, Refs
from styx.runtime.submission import Submissions
from styx.runtime.views import resources_view

__all__ = ["Planning"]

_SHOWN = 20  # places named for each task
_BREATH = 500

# Of a job with several tasks the one is explained that waits the most.
_WAITING = (
    TaskState.READY, TaskState.BACKOFF, TaskState.PENDING, TaskState.ASSIGNED, TaskState.CANCELLING, TaskState.RUNNING,
)  # fmt: skip


class Planning:
    def __init__(
        self,
        loop: Loop,
        clock: Clock,
        refs: Refs,
        queries: Queries,
        submissions: Submissions,
        offering: Offering,
        waiting: Callable[[int], str] = lambda attempt: "",
    ) -> None:
        """`waiting` says why a runner has not started an attempt that it was given."""
        self._waiting = waiting
        self._loop = loop
        self._clock = clock
        self._refs = refs
        self._queries = queries
        self._submissions = submissions
        self._rankings = Rankings(loop, offering)

    async def plan(self, spec: JobSpec, *, offers: int = 10, usable: bool = False) -> PlanView:
        """Where the tasks could go, if they were submitted now: the connected places, and of the offers that fit the best `offers` (0:
        all) for each of what tasks ask for. With `usable` only offers are looked at that may be brought up from here, now or once an outage
        is over. Raises SpecError when the spec is wrong."""
        needs = await self._submissions.check(spec)
        level = levels(needs)
        world = self._loop.engine.world
        await self._loop.settled()
        to_come = promised(world, self._loop.engine.places.outages)
        places = [*known_places(world), *to_come]
        rankings = await self._rankings.of(spec, offers, usable=usable)
        judged: dict[object, tuple[list[str], str]] = {}
        planned: list[PlannedTask] = []
        for ordinal, task in enumerate(spec.tasks):
            ident = asked_for(task)
            if ident not in judged:
                names = fitting(places, task)
                offered = usable or rankings.fit(task)
                why = "" if names or offered or not (places or rankings.tell(task)) else self._misfit(places, task)
                judged[ident] = (names[:_SHOWN], why)
            names, why = judged[ident]
            view = resources_view(task.resources)
            planned.append(PlannedTask(task.name, list(task.needs), task.array, view, level[ordinal], list(names), why))
            if not (ordinal + 1) % _BREATH:
                await asyncio.sleep(0)
        known = len(places) - len(to_come)
        connected = sum(node.connected for node in places)
        source = f"{connected} of {known} known agents are connected" if known else "no place is known yet"
        return PlanView(
            spec.name,
            planned,
            sum(task.size for task in spec.tasks),
            max(level) + 1,
            not any(task.reason for task in planned),
            source,
            rankings.views,
            rankings.at / 1_000,
            rankings.source,
        )

    def _misfit(self, places: list[Node], task: TaskSpec) -> str:
        none = "no catalogued offer fits"
        if not places:
            return f"no place is connected, and {none}"
        return f"{misfit(places, task.resources, task.labels)[0]}, and {none}"

    async def why(self, text: str) -> Why:
        """Of a job that task is explained which waits the most."""
        ref = await self._refs.resolve(text)
        await self._loop.settled()
        job = self._refs.live(ref)
        if job is not None:
            if ref.task < 0:
                ref = Ref(ref.job, ref.id, _most_waiting(job))
            task = job.tasks[ref.task]
            state = TaskState(task.states[max(ref.index, 0)]) if ref.index >= 0 or not task.spec.array else None
            if state is None or not state.ended:
                engine, now = self._loop.engine, self._clock.now()
                reason = explain(engine.world, ref.job, ref.task, ref.index, now, engine.settings, engine.places)
                said = self._of_runner(task, ref.index)
                if said and reason.code == "assigned":
                    reason = _held_up(reason, said[0])
                evidence = [*reason.evidence, *said]
                name = task.spec.name
                shown = state.name if state is not None else (await self._queries.task(ref.task_text)).status
                return Why(ref.task_text, name, shown, reason.code, reason.reason, evidence, list(reason.change))
        return await self._ended(ref)

    def _of_runner(self, task: Task, index: int) -> list[str]:
        """What the place says that has it: of an array without an index, of the first element that has something to wait for."""
        live = task.live or {}
        serials = list(live.values()) if index < 0 and task.spec.array else [live.get(max(index, 0), 0)]
        return [said for serial in serials if (said := self._waiting(serial))][:1]

    async def _ended(self, ref: Ref) -> Why:
        if ref.task >= 0:
            view = await self._queries.task(ref.task_text)
            return Why(view.task_id, view.name, view.status, "ended", _how(view), _evidence(view), _RETRY)
        result = await self._queries.result(ref)
        if not result.failed:
            reason = f"the job has ended: {result.status}" + (f", {result.reason}" if result.reason else "")
            change = [] if result.ok else _RETRY
            return Why(ref.job_text, result.name, result.status, "ended", reason, [], change)
        view = result.failed[0]
        reason = f"the job has ended: {result.status}, because {view.name!r} failed"
        return Why(view.task_id, view.name, view.status, "ended", reason, _evidence(view), _RETRY)


def _held_up(reason: Reason, said: str) -> Reason:
    """A runner has it, and its place does not start it. It is not taken away again: only the place knows whether it is about to begin."""
    change = "it starts when that is over; to run it elsewhere, cancel it and submit it with another `provider`, `region` or `zone`"
    return Reason(reason.code, f"the place that has it cannot start it yet: {said}", reason.evidence, (change,))


_RETRY = ["`styx retry` runs it again, `styx retry --failed` only what did not succeed"]


def _most_waiting(job: Job) -> int:
    if not job.tasks:
        raise NotFound("the job has no tasks")
    best = (len(_WAITING), 0)
    for task in job.tasks:
        if task.open:
            for rank, state in enumerate(_WAITING[: best[0]]):
                if state in task.states:
                    best = (rank, task.ordinal)
                    break
            if best[0] == 0:
                break
    return best[1]


def _how(view: TaskView) -> str:
    if view.exit_code is not None:
        return f"it has ended: {view.status}, exit code {view.exit_code}"
    return f"it has ended: {view.status}" + (f", {view.reason}" if view.reason else "")


def _evidence(view: TaskView) -> list[str]:
    lines = []
    for attempt in view.attempts[-5:]:
        how = attempt.outcome or "under way"
        where = f" on {attempt.node!r}" if attempt.node else ""
        reason = f": {attempt.reason}" if attempt.reason else ""
        lines.append(f"attempt {attempt.number}{where}: {how}, exit code {attempt.code}{reason}")
    return lines
