"""`styx status --watch`: the same text again and again, in place on a terminal, as it changes in a pipe."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import click

from styx.cli.app import App

if TYPE_CHECKING:
    from styx.protocol.verbs import Verbs

__all__ = ["watch_status"]

INTERVAL = 0.5
_ENDED = frozenset({"SUCCEEDED", "FAILED", "CANCELLED", "SKIPPED"})

Look = Callable[[], Awaitable[tuple[str, bool]]]  # the text, and whether it will not change any more


async def watch_status(app: App, ref: str, *, limit: int, status: str, name: str) -> None:
    """Until what `ref` names has ended; the list of jobs until Ctrl-C."""
    from styx.cli.places import anywhere, server

    if not app.table:
        raise click.UsageError(f"--watch draws a table; -o {app.format} prints one document")
    async with anywhere(app, ref) if ref else server(app) as verbs:
        if not ref:
            await _watch(_newest(verbs, limit, status, name))
        else:
            named = await verbs.resolve(ref)
            await _watch(_job(verbs, ref) if named["kind"] == "job" else _task(verbs, ref))


def _newest(verbs: Verbs, limit: int, status: str, name: str) -> Look:
    from styx.cli.show import jobs_table
    from styx.cli.status import newest

    async def look() -> tuple[str, bool]:
        return jobs_table(await newest(verbs, limit, status, name)), False

    return look


def _job(verbs: Verbs, ref: str) -> Look:
    from styx.cli.show import job_text

    async def look() -> tuple[str, bool]:
        job = await verbs.job(ref)
        return job_text(job), job.status in _ENDED

    return look


def _task(verbs: Verbs, ref: str) -> Look:
    from styx.cli.show import task_text

    async def look() -> tuple[str, bool]:
        task = await verbs.task(ref)
        return task_text(task), task.status in _ENDED

    return look


async def _watch(look: Look) -> None:
    import shutil

    terminal = sys.stdout.isatty()
    drawn, last = 0, ""
    while True:
        text, over = await look()
        if terminal:
            height = shutil.get_terminal_size().lines - 1
            lines = text.splitlines()
            shown = lines if over else lines[:height]  # what has scrolled out of sight cannot be drawn over
            erase = f"\x1b[{drawn}A\r\x1b[J" if drawn else ""
            sys.stdout.write(erase + "\n".join(shown) + "\n")
            drawn = len(shown)
        elif text != last:
            sys.stdout.write(text if not last else f"\n{text}")
        sys.stdout.flush()
        last = text
        if over:
            return
        await asyncio.sleep(INTERVAL)
