"""`styx status [REF]`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click
from msgspec.structs import replace

from styx.cli.app import App, format_option, server_option
from styx.cli.emit import emit

if TYPE_CHECKING:
    from styx.protocol.http import JobView, TaskView
    from styx.protocol.verbs import Verbs

SHOWN_ELEMENTS = 50


@click.command()
@click.argument("ref", required=False, default="")
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="Jobs to list at most.")
@click.option("--status", "state", metavar="STATE", default="", help="List only jobs in this state.")
@click.option("--name", default="", help="List only jobs of this name.")
@click.option("--watch", is_flag=True, help="Go on showing it until it has ended, or until Ctrl-C.")
@format_option
@server_option
@click.pass_obj
def command(app: App, ref: str, limit: int, state: str, name: str, watch: bool) -> None:
    """Show the newest jobs, or what REF names: a job, a task (JOB/TASK or its id), or an element (TASK.INDEX).

    \b
    styx status                       the newest jobs
    styx status @latest --watch       the newest one, until it has ended
    styx status 4f1c0b2a9d7e/count    a task of a job
    """
    if watch:
        from styx.cli.watching import watch_status

        app.run(watch_status(app, ref, limit=limit, status=state.upper(), name=name))
    elif ref:
        app.run(_one(app, ref))
    else:
        app.run(_list(app, limit, state.upper(), name))


async def _list(app: App, limit: int, state: str, name: str) -> None:
    from styx.cli.places import server
    from styx.cli.show import jobs_table

    if app.address():
        async with server(app) as verbs:
            jobs = await newest(verbs, limit, state, name)
    else:
        jobs = await _left_behind(app, limit, state, name)
    emit(app, jobs, (job.job_id for job in jobs), lambda: jobs_table(jobs))


async def newest(verbs: Verbs, limit: int, state: str, name: str) -> list[JobView]:
    jobs: list[JobView] = []
    cursor = ""
    while len(jobs) < limit:
        page, cursor = await verbs.jobs(limit=min(limit - len(jobs), 1_000), cursor=cursor, status=state, name=name)
        jobs += page
        if not cursor:
            break
    return jobs


async def _left_behind(app: App, limit: int, state: str, name: str) -> list[JobView]:
    """Jobs that were run here without a server, each out of its own folder."""
    from styx.cli.embedded import kept
    from styx.cli.emit import note
    from styx.cli.places import anywhere, embedded_jobs
    from styx.errors import Conflict, StoreError

    jobs: list[JobView] = []
    for folder in embedded_jobs(app.home):
        job = kept(folder)
        try:
            if job is None:
                async with anywhere(app, folder.name) as verbs:
                    job = await verbs.job(folder.name)
        except (Conflict, StoreError) as error:
            note(error.message)
            continue
        if state in {"", job.status} and name in {"", job.name}:
            jobs.append(replace(job, graph=[]))
        if len(jobs) >= limit:
            break
    if jobs and app.table:
        note("no server is running; these were run here without one")
    return jobs


async def _one(app: App, ref: str) -> None:
    from styx.cli.places import anywhere
    from styx.cli.show import elements_table, job_text, task_text

    async with anywhere(app, ref) as verbs:
        found = await look(verbs, ref)
        if found is None:
            job = await verbs.job(ref)
            emit(app, job, [job.job_id], lambda: job_text(job))
            return
        elements: list[TaskView] = []
        if app.table and found.array and found.index is None:
            elements = await _telling(verbs, ref)
    text = task_text(found)
    if elements:
        text += "\n" + elements_table(elements)
    emit(app, found, [found.task_id], lambda: text)


async def look(verbs: Verbs, ref: str) -> TaskView | None:
    """The task or element that a reference names; None when it names a job."""
    named = await verbs.resolve(ref)
    return None if named["kind"] == "job" else await verbs.task(ref)


async def _telling(verbs: Verbs, ref: str) -> list[TaskView]:
    """The elements of an array that a person would look for: those that are under way or did not succeed, then the first."""
    elements, cursor = await verbs.elements(ref, limit=1_000)
    while cursor and len(elements) < 20_000:
        more, cursor = await verbs.elements(ref, limit=1_000, cursor=cursor)
        elements += more
        await asyncio.sleep(0)
    dull = {"SUCCEEDED", "PENDING", "READY", "SKIPPED"}
    chosen = [element for element in elements if element.status not in dull][:SHOWN_ELEMENTS]
    return chosen or elements[: SHOWN_ELEMENTS // 5]
