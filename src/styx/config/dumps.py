"""A process that has secrets in its memory leaves no copy of that on the disk when it crashes."""

from __future__ import annotations

import resource

__all__ = ["no_core_dumps"]


def no_core_dumps() -> None:
    """For this process and what it starts; whoever wants one can still raise the soft limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
