"""`styx check`: which providers can be used from here, as whom, and what is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from styx.cli.app import App, format_option, server_option
from styx.cli.emit import emit

if TYPE_CHECKING:
    from styx.protocol.places import CheckView

UNAVAILABLE = 69  # as of a server that is not reachable


@click.command()
@format_option
@server_option
@click.pass_obj
def command(app: App) -> int:
    """Ask every provider whether it can be used: as whom, and what is missing. The server asks, since it would bring the machines up;
    without one this command does. Exits with 69 when one that stands in styx.toml cannot be used."""
    return app.run(_check(app))


async def _check(app: App) -> int:
    from styx.cli.planes import looking

    async with looking(app) as verbs:
        found = await verbs.check()
    emit(app, found, (one.provider for one in found if one.usable), lambda: _text(found))
    return 0 if all(one.usable for one in found if one.configured) else UNAVAILABLE


def _text(found: list[CheckView]) -> str:
    from styx.cli.words import colourful, paint, visible

    if not found:
        return "no provider is installed\n"
    on = colourful()
    lines = []
    for one in found:
        state, style = (
            ("can be used", "green") if one.usable else ("cannot be used", "red" if one.configured else "dim")
        )
        identity = f", as {visible(one.identity)}" if one.identity else ""
        lines.append(f"{paint(visible(one.provider), 'bold', on)}  {paint(state, style, on)}{identity}")
        lines += [f"  - {visible(problem)}" for problem in one.problems]
        lines += [f"    {visible(hint)}" for hint in one.hints]
    return "\n".join(lines) + "\n"
