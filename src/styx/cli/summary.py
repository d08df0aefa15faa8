"""How a job of several tasks ended, in lines: counts and time, then what failed and where its output is."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from styx.cli.show import counts_text
from styx.cli.words import STATE_STYLES, colourful, count, paint, short, took, visible

if TYPE_CHECKING:
    from styx.protocol.http import JobResult, TaskView

__all__ = ["failures", "summary"]

NAMED = 10


def summary(result: JobResult, elapsed: float, code: int) -> Iterator[str]:
    on = colourful(sys.stderr)
    status = paint(result.status.lower(), STATE_STYLES.get(result.status, ""), on)
    reason = f" ({visible(result.reason)})" if result.reason else ""
    exit_code = f", exit code {code}" if code else ""
    yield f"{visible(result.name)} {status} in {took(elapsed)}{reason}{exit_code}: {counts_text(result.counts)}"
    yield from failures(result)


def failures(result: JobResult) -> Iterator[str]:
    on = colourful(sys.stderr)
    for task in result.failed[:NAMED]:
        said = f"exit code {task.exit_code}" if task.exit_code is not None else task.status.lower()
        why = f", {visible(task.reason)}" if task.reason else ""
        yield f"  {paint(visible(_name(task)), 'red', on)} failed: {said}{why}"
    missing = result.counts.get("FAILED", 0) - min(NAMED, len(result.failed))
    if missing > 0:
        yield f"  and {count(missing, 'more')}"
    if result.failed:
        yield f"  its output: styx logs {short(result.job_id)}/{_name(result.failed[0])}"


def _name(task: TaskView) -> str:
    return task.name if task.index is None else f"{task.name}.{task.index}"
