"""`styx server`: the same as styx-server."""

from __future__ import annotations

import click

_PASS_ON = {"ignore_unknown_options": True, "allow_extra_args": True, "allow_interspersed_args": False}


@click.command(context_settings=_PASS_ON, add_help_option=False, options_metavar="[OPTIONS]")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(arguments: tuple[str, ...]) -> int:
    """Start a server in the foreground; `styx server --help` lists its options."""
    from styx.server.daemon import main

    return main(list(arguments))
