"""`styx backup`."""

from __future__ import annotations

from os.path import abspath
from typing import TYPE_CHECKING

import click

from styx.cli.app import App, format_option, server_option
from styx.cli.emit import emit

if TYPE_CHECKING:
    from styx.protocol.http import BackupView


@click.command()
@click.argument("path", metavar="DIR_OR_FILE")
@format_option
@server_option
@click.pass_obj
def command(app: App, path: str) -> None:
    """Write a consistent copy of the server's database, while everything goes on. The copy lies on the server's disk; a folder
    gets a styx.db.

    To restore, start a server with a STYX_HOME that holds the copy as styx.db. Agents stop what they still run for the old
    database, and it runs again. Output (STYX_HOME/output) and the key of secrets (STYX_HOME/key) are no part of the copy: copy
    them too if they are to be kept.
    """
    url = app.address()
    made = app.run(_at_server(app, url, _there(path, url)) if url else _at_rest(app, abspath(path)))

    def told() -> str:
        from styx.cli.words import size

        return f"{made.path} holds a copy of the database, {size(made.bytes)}"

    emit(app, made, [made.path], told)


def _there(path: str, url: str) -> str:
    """The path as the server has to name it. Raises UsageError."""
    from styx.client.credentials import is_local
    from styx.errors import UsageError

    if is_local(url):
        return abspath(path)
    if not path.startswith("/"):
        raise UsageError(f"the server is on another host, so {path!r} must be an absolute path on its disk")
    return path


async def _at_server(app: App, url: str, path: str) -> BackupView:
    async with app.connect(url) as verbs:
        return await verbs.backup(path)


async def _at_rest(app: App, path: str) -> BackupView:
    """No server runs: one's own database is opened for the moment."""
    from styx.compose import ControlPlane
    from styx.errors import Unreachable

    if not (app.home / "styx.db").is_file():
        raise Unreachable(
            f"no server is named, none of yours is running, and there is no database in {app.home}",
            hint="name a server with --server or STYX_SERVER_URL, or a folder with STYX_HOME",
        )
    async with ControlPlane.open(app.home, agent=False) as plane:
        return await plane.backup(path)
