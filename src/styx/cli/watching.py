"""`styx status --watch`: again and again, in place on a terminal and, in a pipe, as it changes."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import click

from styx.cli.app import App
from styx.cli.tails import ENDED, Spans, Tails
from styx.cli.words import drawable

if TYPE_CHECKING:
    from rich.console import RenderableType

    from styx.cli.tails import Shot
    from styx.protocol.verbs import Verbs

__all__ = ["watch_status"]

INTERVAL = 0.5


class Look(NamedTuple):
    text: Callable[[], str]
    over: bool  # it will not change any more
    layout: Callable[[int, int], RenderableType] | None = None  # for a terminal, when it is not the text


async def watch_status(app: App, ref: str, *, limit: int, status: str, name: str) -> None:
    """Until what `ref` names has ended; the list of jobs until Ctrl-C."""
    from styx.cli.places import anywhere, server

    if not app.table:
        raise click.UsageError(f"--watch draws a table; -o {app.format} prints one document")
    async with anywhere(app, ref) if ref else server(app) as verbs:
        if not ref:
            looks = _newest(verbs, limit, status, name)
        else:
            named = await verbs.resolve(ref)
            looks = _job(verbs, ref) if named["kind"] == "job" else _task(verbs, ref)
        await (_in_place(looks) if drawable(sys.stdout) else _as_it_changes(looks))


async def _newest(verbs: Verbs, limit: int, status: str, name: str) -> AsyncIterator[Look]:
    from styx.cli.show import jobs_table
    from styx.cli.status import newest

    while True:
        yield Look(partial(jobs_table, await newest(verbs, limit, status, name)), False)


async def _job(verbs: Verbs, ref: str) -> AsyncIterator[Look]:
    from styx.cli.show import job_text
    from styx.cli.tails import Shot

    tails, spans = Tails(), Spans()
    while True:
        job = await verbs.job(ref)
        now, over = time.time(), job.status in ENDED
        spans.see(job.graph, now)
        shot = Shot(job, now, (job.ended_at or now) - job.submitted_at, tails, spans, over)
        yield Look(partial(job_text, job), over, None if job.single else partial(_view, shot))


async def _task(verbs: Verbs, ref: str) -> AsyncIterator[Look]:
    from styx.cli.show import task_text

    while True:
        task = await verbs.task(ref)
        yield Look(partial(task_text, task), task.status in ENDED)


async def _as_it_changes(looks: AsyncIterator[Look]) -> None:
    last = ""
    async for look in looks:
        text = look.text()
        if text != last:
            sys.stdout.write(text if not last else f"\n{text}")
            sys.stdout.flush()
        last = text
        if look.over:
            return
        await asyncio.sleep(INTERVAL)


async def _in_place(looks: AsyncIterator[Look]) -> None:
    from rich.text import Text

    from styx.cli.pinned import Pinned

    pinned = Pinned(sys.stdout)
    try:
        async for look in looks:
            layout = look.layout or partial(_fixed, Text.from_ansi(look.text()))
            if look.over:
                pinned.close(layout)
                return
            pinned.draw(layout)
            await asyncio.sleep(INTERVAL)
    finally:
        pinned.close()


def _fixed(text: RenderableType, _width: int, _height: int) -> RenderableType:
    return text


def _view(shot: Shot, width: int, height: int) -> RenderableType:
    from styx.cli.view import frame

    return frame(shot, width, 2 * height - 2)  # nothing else is printed: all of the terminal
