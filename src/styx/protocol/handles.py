"""What Python callers hold: Job and Task to submit, a JobHandle for what was submitted.

Job and Task are thin: they keep what they were given in the shape of a task file, and it is read by `protocol.document` when
it is submitted. So the same words mean the same as in a file, and what is wrong is said with the same messages.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from styx.core.spec import JobSpec
from styx.errors import UsageError
from styx.protocol.secrets import gathered

if TYPE_CHECKING:
    from styx.protocol.http import Event, JobResult, JobView, LogChunk, TaskView, Why
    from styx.protocol.verbs import Verbs

__all__ = ["Job", "JobHandle", "Submits", "Task", "spec_of"]

Scalar = str | int | float | bool
Size = str | int
Duration = str | int | float
Money = str | int | float  # of US dollars, or text such as "20 USD"
Secrets = Iterable[str] | Mapping[str, Mapping[str, str]]


class Task:
    """One task of a job.

    `run` is a line for the shell; `command` is a list of a program and its arguments, run without one. `needs` names the tasks
    (or gives the Tasks) that have to succeed before. `array` makes it so many elements, told apart by $STYX_ARRAY_INDEX. `cpus`
    (1 by default), `memory`, `disk`, `accelerators` ("A100:1"; a list is a choice) and `labels` (a place must carry them) say where
    it fits; `spot` (True, or "prefer"), `max_hourly_cost` ("1.50 USD") and the names of a `provider`, `region`, `zone` or
    `instance_type` bound what may be brought up for it, and `any_of` are alternatives to that, each in the words of `resources`, the
    cheapest of which is taken, or with `ordered` the first that is to be had. `image` runs it in a container. In place of a program,
    `function` names one that is called with `payload`. `secrets`
    are names of variables of this process, or `{"NAME": {"env": "VARIABLE"}}` or `{"NAME": {"file": "path"}}`; their values are looked
    up when it is submitted, and shown nowhere.
    Durations are seconds or text such as "10m"; sizes are bytes or text such as "512MB".
    """

    __slots__ = ("document", "name")

    def __init__(
        self,
        name: str,
        *,
        run: str | None = None,
        command: Sequence[Scalar] | None = None,
        needs: Iterable[str | Task] = (),
        array: int | None = None,
        cpus: str | float | None = None,
        memory: Size | None = None,
        disk: Size | None = None,
        accelerators: str | Mapping[str, int] | Sequence[str | Mapping[str, int]] | None = None,
        labels: Mapping[str, str] | None = None,
        spot: bool | str | None = None,
        provider: str | None = None,
        region: str | None = None,
        zone: str | None = None,
        instance_type: str | None = None,
        max_hourly_cost: Money | None = None,
        any_of: Iterable[Mapping[str, Any]] | None = None,
        ordered: bool | None = None,
        image: str | None = None,
        function: str | None = None,
        payload: Any = None,
        idempotent: bool | None = None,
        env: Mapping[str, Scalar] | None = None,
        secrets: Secrets | None = None,
        workdir: str | os.PathLike[str] | None = None,
        retries: int | None = None,
        backoff: Duration | Mapping[str, Any] | None = None,
        timeout: Duration | None = None,
        grace: Duration | None = None,
        max_lost: int | None = None,
        when: str | None = None,
        allow_failure: bool | None = None,
        exclusive: bool | None = None,
    ) -> None:
        self.name = name
        resources = _given(
            cpus=cpus,
            memory=memory,
            disk=disk,
            accelerators=_plain(accelerators),
            labels=_plain(labels),
            spot=spot,
            provider=provider,
            region=region,
            zone=zone,
            instance_type=instance_type,
            max_hourly_cost=max_hourly_cost,
            any_of=None if any_of is None else _plain(list(any_of)),
            ordered=ordered,
        )
        self.document = _given(
            name=name,
            run=run,
            command=list(command) if command is not None and not isinstance(command, str) else command,
            function=function,
            payload=_plain(payload),
            idempotent=idempotent,
            image=image,
            needs=[need.name if isinstance(need, Task) else need for need in _listed(needs)] or None,
            array=array,
            resources=resources or None,
            env=_plain(env),
            secrets=_plain(secrets) if isinstance(secrets, Mapping | str | None) else list(secrets),
            workdir=None if workdir is None else os.fspath(workdir),
            retries=retries,
            backoff=_plain(backoff),
            timeout=timeout,
            grace=grace,
            max_lost=max_lost,
            when=when,
            allow_failure=allow_failure,
            exclusive=exclusive,
        )

    def __repr__(self) -> str:
        return f"Task({self.name!r})"


class Job:
    """A DAG of tasks under a name. `priority` is low, normal, high or critical; `deadline` counts from its acceptance;
    `labels` are marks for people; `budget` ("20 USD") is what its machines may cost in all. `env`, `workdir`, `retries` and `timeout` are defaults for all its tasks."""

    __slots__ = ("document", "name")

    def __init__(
        self,
        name: str,
        tasks: Iterable[Task | Mapping[str, Any]],
        *,
        priority: str | None = None,
        deadline: Duration | None = None,
        budget: Money | None = None,
        labels: Mapping[str, str] | None = None,
        env: Mapping[str, Scalar] | None = None,
        secrets: Secrets | None = None,
        workdir: str | os.PathLike[str] | None = None,
        retries: int | None = None,
        timeout: Duration | None = None,
    ) -> None:
        self.name = name
        self.document = _given(
            name=name,
            priority=priority,
            deadline=deadline,
            budget=budget,
            labels=_plain(labels),
            env=_plain(env),
            secrets=_plain(secrets) if isinstance(secrets, Mapping | str | None) else list(secrets),
            workdir=None if workdir is None else os.fspath(workdir),
            retries=retries,
            timeout=timeout,
            tasks=[task.document if isinstance(task, Task) else _plain(task) for task in tasks],
        )

    def __repr__(self) -> str:
        return f"Job({self.name!r}, {len(self.document['tasks'])} tasks)"


def spec_of(job: Job | Task | Mapping[str, Any] | JobSpec | str | os.PathLike[str]) -> JobSpec:
    """The spec of anything that can be submitted: a Job, a Task, data in the shape of a task file, the path of one, or a spec.
    The caller's folder is that of this process. Raises SpecError, and UsageError for a file that cannot be read."""
    if isinstance(job, JobSpec):
        return job
    from styx.protocol.document import read_job, read_task
    from styx.protocol.host import host_id

    host, cwd = host_id(), os.getcwd()
    if isinstance(job, Job):
        return read_job(job.document, host=host, cwd=cwd)
    if isinstance(job, Task):
        return read_task(job.document, host=host, cwd=cwd)
    if isinstance(job, Mapping):
        return read_job(dict(job), host=host, cwd=cwd)
    if isinstance(job, (str, os.PathLike)):
        from styx.protocol.taskfile import read_taskfile

        return read_taskfile(Path(job), host=host, cwd=cwd)
    raise UsageError(
        f"a {type(job).__name__} cannot be submitted",
        hint="give a styx.Job, a styx.Task, a mapping in the shape of a task file, or the path of one",
    )


class JobHandle:
    """A job that was submitted, at the plane or client it was submitted to."""

    __slots__ = ("_verbs", "again", "id", "name", "task_id")

    def __init__(self, verbs: Verbs, identifier: str, name: str, *, task_id: str = "", again: bool = False) -> None:
        self._verbs = verbs
        self.id = identifier
        self.name = name
        self.task_id = task_id  # of a job of one task
        self.again = again  # the key had been seen before, this is the job of that time

    def __repr__(self) -> str:
        return f"JobHandle({self.name!r}, {self.id})"

    async def wait(self, *, timeout: float | None = None) -> JobResult:
        """How it ended; a failed job does not raise. WaitTimeout after `timeout` seconds."""
        return await self._verbs.wait(self.id, timeout=timeout)

    async def status(self) -> JobView:
        return await self._verbs.job(self.id)

    def events(self, *, after: int = 0) -> AsyncIterator[Event]:
        """What happened to it and happens, from the start (or behind the event id `after`) to the end of the job."""
        return self._verbs.events(job=self.id, after=after)

    def logs(self, task: str = "", *, follow: bool = False, tail: int = 0) -> AsyncIterator[LogChunk]:
        """Its output, or that of one `task` ("NAME" or "NAME.INDEX")."""
        return self._verbs.logs(self._ref(task), follow=follow, tail=tail)

    async def tasks(self) -> list[TaskView]:
        return (await self._verbs.job(self.id)).graph

    async def why(self, task: str = "") -> Why:
        """Why it, or a task of it, is where it is."""
        return await self._verbs.why(self._ref(task))

    async def cancel(self, *, reason: str = "") -> bool:
        """Returns once the wish is on disk; False when nothing was live any more."""
        return await self._verbs.cancel(self.id, reason=reason)

    async def retry(self, *, failed: bool = True, start: str = "") -> int:
        """Run again what did not succeed, or a task and all that follows it; how many elements that is."""
        return await self._verbs.retry(self.id, failed=failed and not start, start=start)

    def _ref(self, task: str) -> str:
        return f"{self.id}/{task}" if task else self.id


class Submits:
    """Gives a class with the verbs the friendlier `submit`."""

    async def submit(
        self: Verbs, job: Job | Task | Mapping[str, Any] | JobSpec | str | os.PathLike[str], *, key: str = ""
    ) -> JobHandle:
        """Accepted and on disk when this returns. `key` makes it idempotent: the same key with the same job gives the job
        of the first time. Raises SpecError with all that is wrong, and NoFit when no known place could ever hold a task."""
        spec = spec_of(job)
        values = gathered(spec) if spec.secrets else {}
        created = await self.submit_spec(spec, key=key, secrets=values)
        return JobHandle(self, created.job_id, created.name, task_id=created.task_id, again=created.again)


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _plain(value: Any) -> Any:
    """Mappings, and lists of them, as what a parser would give."""
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, list | tuple) else value


def _listed(value: Any) -> Iterable[Any]:
    return [value] if isinstance(value, (str, Task)) else value
