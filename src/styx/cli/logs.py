"""`styx logs [-f] REF`."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import click

from styx.cli.app import App, format_option, server_option

if TYPE_CHECKING:
    from styx.protocol.http import LogChunk
    from styx.protocol.verbs import Verbs


@click.command()
@click.argument("ref")
@click.option("-f", "--follow", is_flag=True, help="Go on until it has ended; exits with its exit code.")
@click.option("--tail", metavar="SIZE", default="", help="Begin this much before the end of each stream, such as 10KB.")
@click.option("--no-prefix", is_flag=True, help="Do not put the name of its task before each line of a job's output.")
@format_option
@server_option
@click.pass_obj
def command(app: App, ref: str, follow: bool, tail: str, no_prefix: bool) -> int:
    """Print what the programs of REF wrote: their stdout to stdout, their stderr to stderr.

    The output of one program comes byte for byte; that of several comes line by line under the names of their tasks. With
    `-o json` each piece is one line of JSON, with its data in base64.
    """
    from styx.core.units import byte_count

    if app.format not in {"table", "json"}:
        raise click.UsageError(f"logs are printed as they are or with -o json, not as {app.format}")
    try:
        back = byte_count(tail) if tail else 0
    except ValueError as error:
        raise click.UsageError(f"--tail must be {error}") from None
    return app.run(_logs(app, ref, follow, back, not no_prefix))


async def _logs(app: App, ref: str, following: bool, tail: int, prefix: bool) -> int:
    from styx.cli.emit import note
    from styx.cli.follow import Sink, follow
    from styx.cli.places import anywhere
    from styx.cli.wait import ended
    from styx.cli.words import colourful

    async with anywhere(app, ref, waits=following) as verbs:
        named = await verbs.resolve(ref)
        chunks = verbs.logs(ref, follow=following, tail=tail)
        if app.table:
            several = prefix and await _several(verbs, ref, named)
            wrote = False

            def hear(chunk: LogChunk) -> None:
                nonlocal wrote
                wrote = wrote or bool(chunk.data or chunk.gap)

            await follow(chunks, Sink(prefix=several, colour=colourful(), hear=hear))
            if not wrote and sys.stdout.isatty():
                note("nothing was written")
        else:
            await _as_json(chunks)
        return (await ended(verbs, ref, named, None))[0] if following else 0


async def _several(verbs: Verbs, ref: str, named: dict[str, Any]) -> bool:
    """Whether the output of more than one program comes."""
    if named["kind"] == "job":
        return (await verbs.job(ref)).elements > 1
    return named["kind"] == "task" and (await verbs.task(ref)).array > 0


async def _as_json(chunks: AsyncIterator[LogChunk]) -> None:
    import msgspec

    encoder = msgspec.json.Encoder()
    async for chunk in chunks:
        sys.stdout.write(encoder.encode(chunk).decode() + "\n")
        sys.stdout.flush()
