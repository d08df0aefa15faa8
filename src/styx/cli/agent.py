"""`styx agent`: the same as styx-agent, for one's own running server when none is named."""

from __future__ import annotations

import click

from styx.cli.app import App

_PASS_ON = {"ignore_unknown_options": True, "allow_extra_args": True, "allow_interspersed_args": False}


@click.command(context_settings=_PASS_ON, add_help_option=False, options_metavar="[OPTIONS]")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def command(app: App, arguments: tuple[str, ...]) -> int:
    """Start an agent in the foreground; `styx agent --help` lists its options."""
    from styx.agent.main import main

    words = list(arguments)
    named = any(word == "--server" or word.startswith("--server=") for word in words)
    if not named and not {"-h", "--help", "--version"} & set(words) and (url := app.address()):
        words = ["--server", url, *words]
    return main(words)
