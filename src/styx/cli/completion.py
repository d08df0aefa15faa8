"""`styx completion bash|zsh|fish`."""

from __future__ import annotations

import sys

import click

_HOWTO = {
    "bash": 'add to ~/.bashrc:  eval "$(styx completion bash)"',
    "zsh": 'add to ~/.zshrc:  eval "$(styx completion zsh)"',
    "fish": "save as ~/.config/fish/completions/styx.fish:  styx completion fish > ...",
}


@click.command()
@click.argument("shell", type=click.Choice(tuple(_HOWTO)), metavar="SHELL")
def command(shell: str) -> None:
    """Print completion of verbs and options for SHELL: bash, zsh or fish."""
    from click.shell_completion import get_completion_class

    from styx.cli.root import root

    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"no completion for {shell}")
    sys.stdout.write(kind(root, {}, "styx", "_STYX_COMPLETE").source().strip() + "\n")
    if sys.stdout.isatty():
        print(f"styx: {_HOWTO[shell]}", file=sys.stderr)
