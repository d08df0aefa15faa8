"""`styx down`: end machines that were brought up."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from styx.cli.app import App, format_option, server_option
from styx.cli.emit import emit

if TYPE_CHECKING:
    from styx.protocol.places import InstanceView


@click.command()
@click.argument("ids", metavar="[INSTANCE]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Every machine that is up or coming.")
@click.option("--orphans", is_flag=True, help="Machines with this server's mark that nobody stands for.")
@click.option("--force", is_flag=True, help="Do not wait for what runs there; it is run again elsewhere.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@format_option
@server_option
@click.pass_obj
def command(app: App, ids: tuple[str, ...], everything: bool, orphans: bool, force: bool, yes: bool) -> None:
    """End machines for good, by number, cloud id or agent (see `styx instances`). What runs there is given its grace and run again
    elsewhere. A machine is gone when the cloud says so, which `styx instances` shows."""
    if not ids and not everything and not orphans:
        raise click.UsageError("there is nothing to take down: name instances, or give --all or --orphans")
    if not yes:
        _ask(app.run(_meant(app, ids, everything, orphans)))
    app.run(_down(app, ids, everything, orphans, force))


async def _meant(app: App, ids: tuple[str, ...], everything: bool, orphans: bool) -> list[InstanceView]:
    from styx.cli.places import server

    async with server(app) as verbs:
        found = await verbs.instances()
    return [one for one in found if _is_meant(one, ids, everything, orphans)]


def _is_meant(one: InstanceView, ids: tuple[str, ...], everything: bool, orphans: bool) -> bool:
    names = {one.instance_id, one.ref, one.ref.rpartition("/")[2], one.agent} - {""}
    if not names.isdisjoint(ids):
        return True
    return orphans and one.state == "ORPHAN" if one.orphan else everything


def _ask(meant: list[InstanceView]) -> None:
    """Returns when the person agrees. Raises Abort, and UsageError when nobody can be asked."""
    from styx.cli.instances import instances_table
    from styx.cli.words import count

    if not meant:
        return  # the server says that there is none
    if not sys.stdin.isatty():
        raise click.UsageError(
            f"this would end {count(len(meant), 'machine')}, and nobody can be asked here; -y agrees"
        )
    click.echo(instances_table(meant), err=True, nl=False)
    click.confirm(f"End {count(len(meant), 'machine')}?", abort=True, err=True)


async def _down(app: App, ids: tuple[str, ...], everything: bool, orphans: bool, force: bool) -> None:
    from styx.cli.places import server
    from styx.cli.words import count

    async with server(app) as verbs:
        ended = await verbs.down(ids, everything=everything, orphans=orphans, force=force)
    said = f"{count(ended, 'machine')} on the way out" if ended else "no machine to take down"
    emit(app, {"instances": ended}, [], lambda: said)
