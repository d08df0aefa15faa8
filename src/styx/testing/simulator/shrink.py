"""A shorter way to the same violation: leave things out of the plan for as long as it still happens (delta debugging)."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from styx.core.spec import JobSpec
from styx.testing.simulator.plan import Item, Plan
from styx.testing.simulator.play import Report, Simulator

__all__ = ["shrink"]


def shrink(plan: Plan, report: Report, *, tries: int = 400) -> tuple[Plan, Report]:
    """The smallest plan found, and how it went. Each try is a run."""
    kind = _kind(report.violation)
    found = True
    while found and tries > 0:
        found = False
        for smaller in _smaller(plan):
            tries -= 1
            tried = Simulator(plan=smaller).run()
            if _kind(tried.violation) == kind:
                plan, report, found = smaller, tried, True
                break
            if tries <= 0:
                break
    return plan, report


def _kind(violation: str) -> str:
    """The violation without what differs from run to run."""
    return re.sub(r"[0-9]+|\{.*|\[.*", "", violation)[:48]


def _smaller(plan: Plan) -> Iterator[Plan]:
    """Plans with something left out, the largest cuts first."""
    items = plan.items
    size = len(items) // 2
    while size:
        for first in range(0, len(items), size):
            yield msgspec.structs.replace(plan, items=items[:first] + items[first + size :])
        size //= 2
    for place in plan.places[1:]:
        rest = tuple(other for other in plan.places if other is not place)
        without = tuple(msgspec.structs.replace(i, who=tuple(n for n in i.who if n != place.name)) for i in items)
        yield msgspec.structs.replace(plan, places=rest, items=without)
    for position, item in enumerate(items):
        for simpler in _simpler(item):
            yield msgspec.structs.replace(plan, items=(*items[:position], simpler, *items[position + 1 :]))


def _simpler(item: Item) -> Iterator[Item]:
    job = item.job
    if job is None:
        if len(item.who) > 1:
            for name in item.who:
                yield msgspec.structs.replace(item, who=(name,))
        return
    for task in reversed(job.tasks):
        if len(job.tasks) > 1 and not any(task.name in other.needs for other in job.tasks):
            rest = tuple(other for other in job.tasks if other is not task)
            yield msgspec.structs.replace(item, job=msgspec.structs.replace(job, tasks=rest))
        if task.array > 1:
            yield _with(item, job, task.name, array=task.array // 2)
        for name in task.needs:
            yield _with(item, job, task.name, needs=tuple(other for other in task.needs if other != name))


def _with(item: Item, job: JobSpec, name: str, **changes: object) -> Item:
    tasks = tuple(msgspec.structs.replace(task, **changes) if task.name == name else task for task in job.tasks)
    return msgspec.structs.replace(item, job=msgspec.structs.replace(job, tasks=tasks))
