"""The program `styx`: run a verb, and turn whatever goes wrong into a message and an exit code, never a stack trace."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from styx.cli.app import App

if TYPE_CHECKING:
    import click

    from styx.errors import StyxError

__all__ = ["main"]

EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141  # 128 + SIGPIPE, what a program gets whose reader has gone


def main(argv: Sequence[str] | None = None, *, app: App | None = None) -> int:
    """Returns the exit code. `app` replaces the connection and the environment in tests."""
    import click

    from styx.cli.root import root

    app = app or App()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # what a terminal cannot show must not end the command
            stream.reconfigure(errors="backslashreplace")
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        if "_STYX_COMPLETE" in os.environ:
            return _complete(root)
        # Not root.main(): it would turn a broken pipe into exit code 1.
        with root.make_context("styx", arguments, obj=app) as context:
            code = root.invoke(context)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except click.exceptions.Exit as done:
        return done.exit_code
    except (KeyboardInterrupt, click.Abort):
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        _silence()
        return EXIT_BROKEN_PIPE
    except click.ClickException as error:
        from styx.errors import UsageError

        if type(error).__name__ == "NoArgsIsHelpError":  # since click 8.2; its message is the whole help
            click.echo(error.format_message(), err=True)
            return error.exit_code
        message, hint = _worded(error)
        return _fail(app, UsageError(message, hint=hint))
    except _styx_error() as error:
        return _fail(app, error)
    except OSError as error:
        return _fail(app, _styx_error()(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}"))


def _complete(root: click.Command) -> int:
    """A shell asks for the words that may follow."""
    from click.shell_completion import shell_complete

    return shell_complete(root, {}, "styx", "_STYX_COMPLETE", os.environ["_STYX_COMPLETE"])


def _styx_error() -> type[StyxError]:
    """Python asks for the class only when an exception is on its way, so that a good run of `--help` does not load it."""
    from styx.errors import StyxError

    return StyxError


def _fail(app: App, error: Exception) -> int:
    from styx.cli.problems import report

    try:
        return report(app, error)
    except BrokenPipeError:
        _silence()
        return EXIT_BROKEN_PIPE


def _worded(error: click.ClickException) -> tuple[str, str]:
    """click's message and a hint, in the voice of all the others."""
    context = getattr(error, "ctx", None)
    hint = "" if context is None else f"see `{context.command_path} --help`"
    option = getattr(error, "option_name", "")
    if option and context is not None:  # NoSuchOption
        from styx.core.suggest import did_you_mean

        known = [name for parameter in context.command.get_params(context) for name in parameter.opts]
        return f"there is no option {option!r} of `{context.command_path}`", did_you_mean(option, known) or hint
    message = error.format_message().rstrip(".")
    return message[:1].lower() + message[1:], hint


def _silence() -> None:
    """Nobody reads any more: what is buffered goes nowhere, so that the interpreter does not complain at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            os.dup2(nowhere, stream.fileno())
        except (OSError, ValueError):
            continue
    os.close(nowhere)
