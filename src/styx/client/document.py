"""From a JobSpec back to a document in the shape of a task file: what a Client sends is what anybody could have written.

The inverse of `protocol.document`: reading what this writes gives the same spec again, so an Idempotency-Key means the
same however a job came in. Tasks go as a list, which keeps their order and also names that stand twice, so that the
server can say so.
"""

from __future__ import annotations

import json
from typing import Any

from styx.core.offers import MICROS, Spot
from styx.core.spec import Backoff, Choice, JobSpec, TaskSpec, When

__all__ = ["document_of"]

_ANYWHERE = (Choice(),)
_BACKOFF = Backoff()
_GRACE = TaskSpec("", ()).grace
_MAX_LOST = TaskSpec("", ()).max_lost


def document_of(spec: JobSpec) -> dict[str, Any]:
    """Plain data for POST /tasks when `spec.single`, else for POST /jobs."""
    document: dict[str, Any] = {"name": spec.name, "priority": spec.priority.name.lower()}
    if spec.deadline:
        document["deadline"] = f"{spec.deadline}ms"
    if spec.budget:
        document["budget"] = _money(spec.budget)
    if spec.host:
        document["host"] = spec.host
    if spec.cwd:
        document["cwd"] = spec.cwd
    if spec.labels:
        document["labels"] = dict(spec.labels)
    if spec.single and len(spec.tasks) == 1:
        return _task(spec.tasks[0]) | document
    document["tasks"] = [_task(task) for task in spec.tasks]
    return document


def _task(task: TaskSpec) -> dict[str, Any]:
    document: dict[str, Any] = {"name": task.name}
    if task.function:
        document["function"] = task.function
        document["payload"] = json.loads(task.command[0]) if task.command else {}
    elif task.shell:
        document["run"] = task.command[0] if task.command else ""
    else:
        document["command"] = list(task.command)
    if task.needs:
        document["needs"] = list(task.needs)
    if task.array:
        document["array"] = task.array
    if task.choices != _ANYWHERE or task.ordered:
        document["resources"] = _requirement(task)
    if task.env:
        document["env"] = dict(task.env)
    if task.secrets:
        document["secrets"] = list(task.secrets)
    if task.workdir:
        document["workdir"] = task.workdir
    if task.retries:
        document["retries"] = task.retries
    if task.backoff != _BACKOFF:
        wait = task.backoff
        document["backoff"] = {"initial": f"{wait.initial}ms", "factor": wait.factor, "limit": f"{wait.limit}ms"}
    if task.timeout:
        document["timeout"] = f"{task.timeout}ms"
    if task.grace != _GRACE:
        document["grace"] = f"{task.grace}ms"
    if task.max_lost != _MAX_LOST:
        document["max_lost"] = task.max_lost
    if task.when is not When.SUCCESS:
        document["when"] = task.when.name.lower()
    if task.allow_failure:
        document["allow_failure"] = True
    if task.exclusive:
        document["exclusive"] = True
    if task.archive:
        document["archive"] = task.archive
    if task.image:
        document["image"] = task.image
    if task.idempotent:
        document["idempotent"] = True
    return document


def _requirement(task: TaskSpec) -> dict[str, Any]:
    ways = [_choice(choice) for choice in task.choices]
    asked = ways[0] if len(ways) == 1 else {"any_of": ways}
    return asked | {"ordered": True} if task.ordered else asked


def _choice(choice: Choice) -> dict[str, Any]:
    wanted = choice.resources
    parts: dict[str, Any] = {"cpus": f"{wanted.cpus}m"}
    if wanted.memory:
        parts["memory"] = wanted.memory
    if wanted.disk:
        parts["disk"] = wanted.disk
    if wanted.accelerators:
        parts["accelerators"] = dict(wanted.accelerators)
    if choice.labels:
        parts["labels"] = dict(choice.labels)
    if choice.spot:
        parts["spot"] = "prefer" if choice.spot is Spot.PREFER else True
    if choice.max_hourly:
        parts["max_hourly_cost"] = _money(choice.max_hourly)
    return parts


def _money(micros: int) -> str:
    return f"{micros // MICROS}.{micros % MICROS:06} USD"
