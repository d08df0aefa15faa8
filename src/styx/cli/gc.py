"""`styx gc`."""

from __future__ import annotations

import click

from styx.cli.app import App, format_option, server_option
from styx.cli.emit import emit


@click.command()
@click.option("--days", type=click.FloatRange(0), default=30.0, show_default=True, help="Keep what ended since.")
@click.option("--keep", metavar="SIZE", default="10GB", show_default=True, help="Keep at most this much output.")
@format_option
@server_option
@click.pass_obj
def command(app: App, days: float, keep: str) -> None:
    """Drop jobs that ended long ago, with their output; and jobs that were run here without a server, by the same age."""
    from styx.core.units import byte_count

    try:
        keep_bytes = byte_count(keep)
    except ValueError as error:
        raise click.UsageError(f"--keep must be {error}") from None
    app.run(_gc(app, days, keep_bytes))


async def _gc(app: App, days: float, keep_bytes: int) -> None:
    from styx.cli.embedded import drop_older
    from styx.cli.places import server
    from styx.cli.words import count, size

    dropped = {"jobs": 0, "segments": 0, "bytes": 0}
    if app.address():
        async with server(app) as verbs:
            dropped |= await verbs.gc(days=days, keep_bytes=keep_bytes)
    dropped["embedded"] = drop_older(app.home, days * 86_400)

    def told() -> str:
        here = f"{count(dropped['embedded'], 'job')} that ran here without a server"
        if not app.address():
            return f"dropped {here}"
        return (
            f"dropped {count(dropped['jobs'], 'job')} and {size(dropped['bytes'])} of output at the server, and {here}"
        )

    emit(
        app,
        dropped,
        [],
        told,
    )
