"""From a JobSpec back to the document that reads as the same JobSpec: what a client sends, what `plan -o json` can show.

The inverse of `document`: read_job(write_job(spec)) == spec. Only what differs from the defaults is written.
"""

from __future__ import annotations

from typing import Any

from styx.core.resources import Resources
from styx.core.spec import Backoff, JobSpec, Priority, TaskSpec, When

__all__ = ["write_job"]

_PLAIN = TaskSpec("", ())
_WAIT = Backoff()
_ONE_CPU = Resources()


def write_job(spec: JobSpec) -> dict[str, Any]:
    """The document; tasks are a list, in order. A spec of one task (`single`) gives a document of one task."""
    document: dict[str, Any] = {"name": spec.name}
    if spec.priority != Priority.NORMAL:
        document["priority"] = spec.priority.name.lower()
    if spec.deadline:
        document["deadline"] = f"{spec.deadline}ms"
    if spec.host:
        document["host"] = spec.host
    if spec.cwd:
        document["cwd"] = spec.cwd
    if spec.labels:
        document["labels"] = dict(spec.labels)
    if spec.single:
        return document | _task(spec.tasks[0])
    document["tasks"] = [{"name": task.name} | _task(task) for task in spec.tasks]
    return document


def _task(task: TaskSpec) -> dict[str, Any]:
    written: dict[str, Any] = {"run": task.command[0]} if task.shell else {"command": list(task.command)}
    if task.needs:
        written["needs"] = list(task.needs)
    if task.array:
        written["array"] = task.array
    resources = _resources(task)
    if resources:
        written["resources"] = resources
    if task.env:
        written["env"] = dict(task.env)
    if task.workdir:
        written["workdir"] = task.workdir
    for name in ("retries", "max_lost", "allow_failure"):
        if getattr(task, name) != getattr(_PLAIN, name):
            written[name] = getattr(task, name)
    if task.timeout:
        written["timeout"] = f"{task.timeout}ms"
    if task.grace != _PLAIN.grace:
        written["grace"] = f"{task.grace}ms"
    if task.backoff != _WAIT:
        wait = task.backoff
        written["backoff"] = {"initial": f"{wait.initial}ms", "factor": wait.factor, "limit": f"{wait.limit}ms"}
    if task.when == When.ALWAYS:
        written["when"] = "always"
    return written


def _resources(task: TaskSpec) -> dict[str, Any]:
    wanted = task.resources
    written: dict[str, Any] = {}
    if wanted.cpus != _ONE_CPU.cpus:
        written["cpus"] = wanted.cpus / 1_000
    if wanted.memory:
        written["memory"] = wanted.memory
    if wanted.disk:
        written["disk"] = wanted.disk
    if wanted.accelerators:
        written["accelerators"] = dict(wanted.accelerators)
    if task.labels:
        written["labels"] = dict(task.labels)
    return written
