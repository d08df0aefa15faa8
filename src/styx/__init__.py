"""Styx: a small, quick, durable control plane for compute.

    async with styx.ControlPlane.open() as plane:              # embedded: this process's loop, a local agent
        job = await plane.submit(styx.Job("hello", [styx.Task("a", run="echo hi")]))
        result = await job.wait()

    async with styx.Client("http://127.0.0.1:8080") as client:  # the same verbs, at a server
        ...

The names below are imported when they are first used, so that `import styx` costs next to nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False  # type checkers take this name for true; importing `typing` would cost more than all the rest
if TYPE_CHECKING:
    from typing import Any

    from styx.client.client import Client
    from styx.compose import ControlPlane
    from styx.errors import (
        AmbiguousId,
        Busy,
        Conflict,
        NoFit,
        NotAllowed,
        NotFound,
        Problem,
        SpecError,
        StyxError,
        Unreachable,
        UsageError,
        WaitTimeout,
    )
    from styx.protocol.handles import Job, JobHandle, Task
    from styx.protocol.http import Event, JobResult, JobView, LogChunk, TaskView

__all__ = [
    "AmbiguousId",
    "Busy",
    "Client",
    "Conflict",
    "ControlPlane",
    "Event",
    "Job",
    "JobHandle",
    "JobResult",
    "JobView",
    "LogChunk",
    "NoFit",
    "NotAllowed",
    "NotFound",
    "Problem",
    "SpecError",
    "StyxError",
    "Task",
    "TaskView",
    "Unreachable",
    "UsageError",
    "WaitTimeout",
    "__version__",
]

_HOUSES = {
    "styx.client.client": ("Client",),
    "styx.compose": ("ControlPlane",),
    "styx.protocol.handles": ("Job", "JobHandle", "Task"),
    "styx.protocol.http": ("Event", "JobResult", "JobView", "LogChunk", "TaskView"),
    "styx.errors": (
        "AmbiguousId",
        "Busy",
        "Conflict",
        "NoFit",
        "NotAllowed",
        "NotFound",
        "Problem",
        "SpecError",
        "StyxError",
        "Unreachable",
        "UsageError",
        "WaitTimeout",
    ),
}
_WHERE = {name: house for house, names in _HOUSES.items() for name in names}

if TYPE_CHECKING:
    __version__: str


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            value: Any = version("styx-orchestrator")
        except PackageNotFoundError:  # run from a source tree that was never installed
            value = "0+unknown"
    elif name in _WHERE:
        from importlib import import_module

        value = getattr(import_module(_WHERE[name]), name)
    else:
        raise AttributeError(f"module 'styx' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
