"""The environment of a program: what the agent was started with, less its secrets, plus what Styx and the task say."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from styx.agent.owner.attempt import Attempt

__all__ = ["base", "encoded", "is_private", "of"]

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


def encoded(environment: Iterable[tuple[str, str]]) -> dict[bytes, bytes]:
    """As `posix_spawn` wants it; what is the same for every program is encoded once."""
    return {os.fsencode(name): os.fsencode(value) for name, value in environment}


def of(
    attempt: Attempt, inherited: dict[bytes, bytes], result: str, mark: str, visible: str | None
) -> dict[bytes, bytes]:
    """All variables of an attempt. The task's own `env` overrides; only the mark cannot be overridden."""
    spec = attempt.spec
    environment = inherited.copy()
    environment[b"STYX_JOB_ID"] = spec.job_id.encode()
    task = f"{spec.task_id}.{attempt.run.index}" if spec.array else spec.task_id
    environment[b"STYX_TASK_ID"] = task.encode()
    environment[b"STYX_TASK_NAME"] = os.fsencode(spec.name)
    environment[b"STYX_ATTEMPT"] = b"%d" % attempt.run.number
    environment[b"STYX_RESULT"] = os.fsencode(result)
    if spec.array:
        environment[b"STYX_ARRAY_INDEX"] = b"%d" % attempt.run.index
        environment[b"STYX_ARRAY_SIZE"] = b"%d" % spec.array
    if attempt.results:
        environment[b"STYX_RESULTS"] = os.fsencode(attempt.results)
    if visible is not None:
        environment[b"CUDA_VISIBLE_DEVICES"] = visible.encode()
    if spec.env:
        environment.update(encoded(spec.env))
    if attempt.secrets:
        environment.update(encoded((secret.name, secret.value) for secret in attempt.secrets))
    environment[b"STYX_MARK"] = mark.encode()
    return environment
