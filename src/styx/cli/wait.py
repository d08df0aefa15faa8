"""`styx wait REF`."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import click

from styx.cli.app import App, format_option, server_option
from styx.cli.emit import emit

if TYPE_CHECKING:
    from styx.protocol.http import JobResult, TaskView
    from styx.protocol.verbs import Verbs

EXIT_CANCELLED = 130
ENDED = frozenset({"SUCCEEDED", "FAILED", "CANCELLED", "SKIPPED"})


@click.command()
@click.argument("ref")
@click.option("--timeout", metavar="TIME", default="", help="Give up after this time, such as 10m; exits with 124.")
@format_option
@server_option
@click.pass_obj
def command(app: App, ref: str, timeout: str) -> int:
    """Wait until REF has ended, and exit with its exit code: the program's own, for a job 0 or the code of the first task that
    failed it."""
    from styx.core.units import milliseconds

    try:
        seconds = milliseconds(timeout) / 1_000 if timeout else None
    except ValueError as error:
        raise click.UsageError(f"--timeout must be {error}") from None
    return app.run(_wait(app, ref, seconds))


async def _wait(app: App, ref: str, timeout: float | None) -> int:
    from styx.cli.places import anywhere

    async with anywhere(app, ref, waits=True) as verbs:
        code, result = await ended(verbs, ref, await verbs.resolve(ref), timeout)
    name = getattr(result, "task_id", "") or result.job_id
    emit(app, result, [name], lambda: _line(result, code))
    return code


async def ended(
    verbs: Verbs, ref: str, named: dict[str, Any], timeout: float | None
) -> tuple[int, JobResult | TaskView]:
    """Wait for what a reference names; the exit code, and how it ended."""
    if named["kind"] == "job":
        result = await verbs.wait(ref, timeout=timeout)
        return result.exit_code, result
    until = None if timeout is None else time.monotonic() + timeout
    pause = 0.05
    while (view := await verbs.task(ref)).status not in ENDED:
        job = await verbs.job(named["job_id"]) if pause > 0.5 else None
        if (
            job is not None and job.single
        ):  # the end of its job is the end of the task, and is told without asking again
            await verbs.wait(ref, timeout=None if until is None else max(0.0, until - time.monotonic()))
            continue
        if until is not None and time.monotonic() > until:
            from styx.errors import WaitTimeout

            raise WaitTimeout(f"{ref} has not ended within {timeout:g} s")
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, 2.0)
    return code_of(view), view


def code_of(task: TaskView) -> int:
    """The exit code to pass on for a task or element that has ended."""
    if task.status == "SUCCEEDED":
        return 0
    if task.status == "CANCELLED":
        return EXIT_CANCELLED
    return task.exit_code or 1


def _line(result: Any, code: int) -> str:
    from styx.cli.words import visible

    reason = f": {visible(result.reason)}" if result.reason else ""
    return f"{visible(result.name)} {result.status.lower()}, exit code {code}{reason}"
