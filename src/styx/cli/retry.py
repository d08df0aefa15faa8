"""`styx retry [--failed] [--from TASK] REF`."""

from __future__ import annotations

import click

from styx.cli.app import App, format_option, server_option
from styx.cli.emit import emit


@click.command()
@click.argument("ref")
@click.option("--failed", is_flag=True, help="Run again only what failed, and what was skipped because of it.")
@click.option("--from", "start", metavar="TASK", default="", help="Run this task again, and all that follows from it.")
@format_option
@server_option
@click.pass_obj
def command(app: App, ref: str, failed: bool, start: str) -> None:
    """Run a job that has ended again: everything, what did not succeed, or from one task on."""
    if failed and start:
        raise click.UsageError("--failed and --from exclude each other")
    app.run(_retry(app, ref, failed, start))


async def _retry(app: App, ref: str, failed: bool, start: str) -> None:
    from styx.cli.places import server
    from styx.cli.words import count, short

    async with server(app, ref) as verbs:
        named = await verbs.resolve(ref)
        elements = await verbs.retry(ref, failed=failed, start=start)
    job = named["job_id"]
    document = {"job_id": job, "elements": elements}
    emit(app, document, [job], lambda: f"job {short(job)}: {count(elements, 'element')} will run again")
