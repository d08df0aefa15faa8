"""`styx why REF`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from styx.cli.app import App, format_option, server_option
from styx.cli.emit import emit

if TYPE_CHECKING:
    from styx.protocol.http import Why


@click.command()
@click.argument("ref")
@format_option
@server_option
@click.pass_obj
def command(app: App, ref: str) -> None:
    """Say why a task is not running (or what it does), the evidence, and what would change it. Of a job, the first task that
    waits is looked at."""
    app.run(_why(app, ref))


async def _why(app: App, ref: str) -> None:
    from styx.cli.places import anywhere

    async with anywhere(app, ref) as verbs:
        found = await verbs.why(ref)
    emit(app, found, [found.task_id], lambda: why_text(found))


def why_text(found: Why) -> str:
    from styx.cli.words import STATE_STYLES, colourful, paint, visible

    on = colourful()
    status = paint(found.status, STATE_STYLES.get(found.status, ""), on)
    lines = [f"{paint(visible(found.task), 'bold', on)}  {status}", f"  {visible(found.reason)}"]
    if found.evidence:
        lines += ["", "because", *(f"  - {visible(item)}" for item in found.evidence)]
    if found.change:
        lines += ["", "what would change it", *(f"  - {visible(item)}" for item in found.change)]
    return "\n".join(lines) + "\n"
