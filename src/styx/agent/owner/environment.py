"""The environment of a program: what the agent was started with, less its secrets, plus what Styx and the task say."""

from __future__ import annotations

import os
from collections.abc import Mapping

from styx.agent.owner.attempt import Attempt

__all__ = ["base", "is_private", "of"]

_PRIVATE_PARTS = ("TOKEN", "KEY", "SECRET", "PASSWORD")
_PER_ATTEMPT = (
    "STYX_JOB_ID", "STYX_TASK_ID", "STYX_TASK_NAME", "STYX_ATTEMPT", "STYX_ARRAY_INDEX", "STYX_ARRAY_SIZE", "STYX_RESULT",
    "STYX_RESULTS", "STYX_MARK", "STYX_AGENT_ID",
)  # fmt: skip


def is_private(name: str) -> bool:
    """Whether a variable of the agent is kept from its programs: its secrets, and what belongs to a task around it."""
    return name.startswith("STYX_") and (name in _PER_ATTEMPT or any(part in name for part in _PRIVATE_PARTS))


def base(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    return {name: value for name, value in environment.items() if not is_private(name)}


def of(attempt: Attempt, inherited: dict[str, str], mark: str, visible: str | None) -> dict[str, str]:
    """All variables of an attempt. The task's own `env` overrides; only the mark cannot be overridden."""
    spec = attempt.spec
    environment = inherited.copy()
    environment["STYX_JOB_ID"] = spec.job_id
    environment["STYX_TASK_ID"] = f"{spec.task_id}.{attempt.run.index}" if spec.array else spec.task_id
    environment["STYX_TASK_NAME"] = spec.name
    environment["STYX_ATTEMPT"] = str(attempt.run.number)
    environment["STYX_RESULT"] = attempt.result_path
    if spec.array:
        environment["STYX_ARRAY_INDEX"] = str(attempt.run.index)
        environment["STYX_ARRAY_SIZE"] = str(spec.array)
    if attempt.results:
        environment["STYX_RESULTS"] = attempt.results
    if visible is not None:
        environment["CUDA_VISIBLE_DEVICES"] = visible
    environment.update(spec.env)
    environment["STYX_MARK"] = mark
    return environment
