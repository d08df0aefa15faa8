"""`styx cancel REF...`."""

from __future__ import annotations

import click

from styx.cli.app import App, format_option, server_option
from styx.cli.emit import emit


@click.command()
@click.argument("refs", metavar="REF...", nargs=-1, required=True)
@click.option("--reason", default="", help="Why; it is shown with what was cancelled.")
@click.option("--wait", "waiting", is_flag=True, help="Return only when the jobs have ended.")
@format_option
@server_option
@click.pass_obj
def command(app: App, refs: tuple[str, ...], reason: str, waiting: bool) -> None:
    """Stop jobs, tasks or elements: programs get SIGTERM, their grace, then SIGKILL. What waits never starts."""
    app.run(_cancel(app, refs, reason, waiting))


async def _cancel(app: App, refs: tuple[str, ...], reason: str, waiting: bool) -> None:
    from styx.cli.places import server
    from styx.cli.words import short

    done: list[dict[str, object]] = []
    async with server(app, refs[0]) as verbs:
        for ref in refs:
            named = await verbs.resolve(ref)
            identifier = named["task_id"] or named["job_id"]
            live = await verbs.cancel(ref, reason=reason)
            done.append({"id": identifier, "kind": named["kind"], "cancelled": live})
        for ref in refs if waiting else ():
            await verbs.wait(ref)
    said = "was cancelled" if waiting else "is being cancelled"
    emit(
        app,
        done,
        (str(item["id"]) for item in done),
        lambda: "".join(
            f"{item['kind']} {short(str(item['id']))} {said if item['cancelled'] else 'had ended already'}\n"
            for item in done
        ),
    )
