"""`styx version`."""

from __future__ import annotations

from typing import Any

import click

from styx.cli.app import App, format_option, server_option
from styx.cli.emit import emit


@click.command()
@format_option
@server_option
@click.pass_obj
def command(app: App) -> None:
    """Show the version of this program, and of the server when there is one."""
    app.run(_version(app))


async def _version(app: App) -> None:
    import styx

    document: dict[str, Any] = {"version": styx.__version__, "server": None, "url": app.address() or None}
    text = f"styx {styx.__version__}"
    if document["url"]:
        from styx.cli.places import server
        from styx.errors import StyxError

        try:
            async with server(app) as verbs:
                health = await verbs.health()
            document["server"] = health.version
            text += f"\nserver {health.version} at {document['url']} ({health.status})"
        except StyxError as error:
            document["error"] = error.message
            text += f"\nserver: {error.message}"
    emit(app, document, [styx.__version__], lambda: text)
