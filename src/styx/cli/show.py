"""Jobs, tasks and elements as text for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from styx.cli.table import Column, table
from styx.cli.words import STATE_STYLES, ago, clock, colourful, count, paint, short, size, took, visible

if TYPE_CHECKING:
    from styx.protocol.http import AttemptView, JobView, ResourcesView, TaskView

__all__ = ["ORDER", "counts_text", "elements_table", "job_text", "jobs_table", "resources_text", "task_text"]

ORDER = (
    "FAILED", "RUNNING", "ASSIGNED", "READY", "BACKOFF", "PENDING", "CANCELLING", "SUCCEEDED", "CANCELLED", "SKIPPED",
)  # fmt: skip


_JOBS = (
    Column("JOB"), Column("NAME"), Column("STATUS"), Column("ENDED", right=True), Column("SUBMITTED"),
    Column("TOOK", right=True), Column("EXIT", right=True),
)  # fmt: skip
_TASKS = (
    Column("TASK"), Column("STATUS"), Column("ENDED", right=True), Column("TOOK", right=True), Column("EXIT", right=True),
    Column("NEEDS", folds=True),
)  # fmt: skip
_ATTEMPTS = (
    Column("ATTEMPT", right=True), Column("OUTCOME"), Column("EXIT", right=True), Column("AGENT"), Column("TOOK", right=True),
    Column("STDOUT / STDERR"), Column("REASON", folds=True),
)  # fmt: skip
_ELEMENTS = (
    Column("ELEMENT", right=True), Column("STATUS"), Column("EXIT", right=True), Column("ATTEMPTS", right=True),
    Column("TOOK", right=True), Column("REASON", folds=True),
)  # fmt: skip


def counts_text(counts: Mapping[str, int]) -> str:
    """`3 running, 5 succeeded`."""
    found = [f"{counts[state]:,} {state.lower()}" for state in ORDER if counts.get(state)]
    return ", ".join(found) or "-"


def resources_text(wanted: ResourcesView) -> str:
    parts = [f"{wanted.cpus:g} {'CPU' if wanted.cpus == 1 else 'CPUs'}"]
    if wanted.memory:
        parts.append(f"{size(wanted.memory)} memory")
    if wanted.disk:
        parts.append(f"{size(wanted.disk)} disk")
    parts += [f"{number} {name}" for name, number in wanted.accelerators.items()]
    return ", ".join(parts)


def jobs_table(jobs: list[JobView]) -> str:
    rows = [
        [
            short(job.job_id),
            job.name,
            job.status,
            f"{_ended(job.counts):,}/{job.elements:,}",
            ago(job.submitted_at),
            _span(job.submitted_at, job.ended_at),
            "-" if job.exit_code is None else str(job.exit_code),
        ]
        for job in jobs
    ]
    return table(_JOBS, rows, empty="no jobs yet; start one with `styx run`\n")


def job_text(job: JobView) -> str:
    """One job: what it is, how it stands, and its tasks."""
    if job.single and len(job.graph) == 1:
        return task_text(job.graph[0], job=job)
    on = colourful()
    lines = [
        f"{paint(visible(job.name), 'bold', on)}  {paint(job.status, STATE_STYLES.get(job.status, ''), on)}"
        f"{'' if job.exit_code is None else f'  exit code {job.exit_code}'}",
        f"  job        {job.job_id}",
        f"  submitted  {clock(job.submitted_at)}{_priority(job.priority)}",
    ]
    if job.ended_at:
        lines.append(f"  ended      {clock(job.ended_at)} (took {took(job.ended_at - job.submitted_at)})")
    lines.append(
        f"  tasks      {count(job.tasks, 'task')}, {count(job.elements, 'element')}: {counts_text(job.counts)}"
    )
    lines += _money(job)
    if job.reason:
        lines.append(f"  reason     {visible(job.reason)}")
    rows = [_task_row(task) for task in job.graph]
    return "\n".join(lines) + "\n\n" + table(_TASKS, rows)


def _task_row(task: TaskView) -> list[str]:
    ended = f"{_ended(task.counts):,}/{task.array:,}" if task.array else "-"
    exit_code = "-" if task.exit_code is None else str(task.exit_code)
    return [
        task.name,
        task.status,
        ended,
        _span(task.started_at, task.ended_at),
        exit_code,
        ", ".join(task.needs[:6]) + (", ..." if len(task.needs) > 6 else ""),
    ]


def task_text(task: TaskView, *, job: JobView | None = None) -> str:
    """One task or element."""
    on = colourful()
    name = task.name if task.index is None else f"{task.name}.{task.index}"
    lines = [
        f"{paint(visible(name), 'bold', on)}  {paint(task.status, STATE_STYLES.get(task.status, ''), on)}"
        f"{'' if task.exit_code is None else f'  exit code {task.exit_code}'}",
        f"  task       {task.task_id}",
        f"  job        {task.job_id}{'' if job is not None else f' ({visible(task.job_name)})'}",
        f"  command    {visible(task.command)}",
        f"  asks for   {resources_text(task.resources)}{_after(task.needs)}",
        f"  submitted  {clock(task.submitted_at)}{_priority(job.priority) if job is not None else ''}",
    ]
    if task.started_at:
        lines.append(f"  started    {clock(task.started_at)}{_lasted(task)}")
    if task.array:
        lines.append(f"  elements   {task.array:,}: {counts_text(task.counts)}")
    lines += _money(job)
    reason = task.reason or (job.reason if job is not None else "")
    if reason:
        lines.append(f"  reason     {visible(reason)}")
    text = "\n".join(lines) + "\n"
    if task.attempts:
        text += "\n" + _attempts(task.attempts)
    return text


def _money(job: JobView | None) -> list[str]:
    if job is None or not (job.cost or job.budget):
        return []
    from styx.cli.prices import dollars

    return [f"  cost       {dollars(job.cost)}" + (f" of a budget of {dollars(job.budget)}" if job.budget else "")]


def _attempts(attempts: list[AttemptView]) -> str:
    rows = [
        [
            str(attempt.number),
            attempt.outcome or ("RUNNING" if attempt.started_at else "ASSIGNED"),
            str(attempt.code) if attempt.outcome in {"EXITED", "KILLED", "TIMED_OUT"} else "-",
            attempt.node,
            _span(attempt.started_at, attempt.ended_at),
            f"{size(attempt.stdout)} / {size(attempt.stderr)}",
            attempt.reason,
        ]
        for attempt in attempts
    ]
    return table(_ATTEMPTS, rows)


def elements_table(elements: list[TaskView]) -> str:
    rows = [
        [
            str(element.index),
            element.status,
            "-" if element.exit_code is None else str(element.exit_code),
            str(len(element.attempts)),
            _span(element.started_at, element.ended_at),
            element.reason,
        ]
        for element in elements
    ]
    return table(_ELEMENTS, rows)


def _ended(counts: Mapping[str, int]) -> int:
    return sum(counts.get(state, 0) for state in ("SUCCEEDED", "FAILED", "CANCELLED", "SKIPPED"))


def _span(start: float, end: float) -> str:
    if not start:
        return "-"
    if end:
        return took(end - start)
    import time

    return took(time.time() - start)


def _lasted(task: TaskView) -> str:
    return f" (took {took(task.ended_at - task.started_at)})" if task.ended_at else ""


def _priority(priority: str) -> str:
    return "" if priority.lower() == "normal" else f", priority {priority.lower()}"


def _after(needs: list[str]) -> str:
    return f"; after {visible(', '.join(needs[:10]))}{', ...' if len(needs) > 10 else ''}" if needs else ""
