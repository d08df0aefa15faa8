"""`styx instances`: every machine that Styx believes in, what the cloud says of it, and machines that nobody stands for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from styx.cli.app import App, format_option, server_option
from styx.cli.emit import emit

if TYPE_CHECKING:
    from styx.protocol.places import InstanceView

__all__ = ["command", "instances_table"]


@click.command()
@click.option("-a", "--all", "gone", is_flag=True, help="Also those that are gone, as far as they are kept.")
@format_option
@server_option
@click.pass_obj
def command(app: App, gone: bool) -> None:
    """Show the machines that were brought up: what each is and costs, what it was brought up for, what the provider says of it. An
    ORPHAN carries this server's mark and nobody stands for it; it is ended by itself, or at once by `styx down --orphans`."""
    app.run(_instances(app, gone))


async def _instances(app: App, gone: bool) -> None:
    from styx.cli.places import server

    async with server(app) as verbs:
        found = await verbs.instances(gone=gone)
    emit(app, found, (one.instance_id for one in found), lambda: _text(found))


def _text(found: list[InstanceView]) -> str:
    from styx.cli.prices import dollars
    from styx.cli.words import count

    text = instances_table(found)
    up = [one for one in found if not one.orphan and one.state != "GONE"]
    if up:
        text += f"\n{count(len(up), 'machine')} for {dollars(sum(one.price for one in up))} an hour\n"
    return text


def instances_table(found: Sequence[InstanceView]) -> str:
    from styx.cli.prices import dollars
    from styx.cli.table import Column, table
    from styx.cli.words import took

    rows = [
        [
            one.instance_id.rpartition("/")[2],
            one.provider,
            one.zone or one.region or "-",
            one.instance_type + (" (spot)" if one.spot else ""),
            one.state,
            one.ref.rpartition("/")[2] or "-",
            one.cloud or "-",
            took(one.age),
            dollars(one.price) if not one.orphan else "-",
            dollars(one.cost) if not one.orphan else "-",
            str(one.running),
            one.job_name or "-",
            one.reason or "-",
        ]
        for one in found
    ]
    columns = (
        Column("INSTANCE"), Column("PROVIDER"), Column("PLACE"), Column("TYPE"), Column("STATE"), Column("CLOUD ID"),
        Column("CLOUD SAYS"), Column("AGE", right=True), Column("$/HOUR", right=True), Column("COST", right=True),
        Column("RUNS", right=True), Column("FOR JOB"), Column("REASON", folds=True),
    )  # fmt: skip
    return table(columns, rows, empty="no machine was brought up\n`styx plan` and `styx offers` show what could be\n")
