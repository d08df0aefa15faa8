"""`styx cost`: what a job, or everything, has cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from styx.cli.app import App, format_option, server_option
from styx.cli.emit import emit

if TYPE_CHECKING:
    from styx.protocol.places import CostView, MachineCost


@click.command()
@click.argument("job", default="")
@format_option
@server_option
@click.pass_obj
def command(app: App, job: str) -> None:
    """Show what JOB has cost so far and on which machines, or without one what all machines cost. Machines are paid by the second;
    jobs that share one share its price, and the time it idles is the job's that it was brought up for."""
    app.run(_cost(app, job))


async def _cost(app: App, job: str) -> None:
    from styx.cli.places import server

    async with server(app) as verbs:
        found = await verbs.cost(job)
    emit(app, found, (one.job_id for one in found.jobs), lambda: cost_text(found, of_job=bool(job)))


def cost_text(found: CostView, *, of_job: bool) -> str:
    from styx.cli.prices import dollars
    from styx.cli.table import Column, table
    from styx.cli.words import short, visible

    now = f", {dollars(found.hourly)} an hour now" if found.hourly else ""
    if of_job and found.jobs:
        job = found.jobs[0]
        of = f" of a budget of {dollars(job.budget)}" if job.budget else ""
        text = f"{visible(job.name)} has cost {dollars(found.cost)}{of}{now}\n"
    else:
        text = f"machines have cost {dollars(found.cost)}{now}\n"
        if found.jobs:
            rows = [
                [short(one.job_id), one.name, one.status, dollars(one.cost), dollars(one.budget) if one.budget else "-"]
                for one in found.jobs
            ]
            columns = (
                Column("JOB"), Column("NAME"), Column("STATUS"), Column("COST", right=True), Column("BUDGET", right=True),
            )  # fmt: skip
            text += "\n" + table(columns, rows)
    return text + ("\n" + _machines(found.machines) if found.machines else "")


def _machines(machines: list[MachineCost]) -> str:
    from styx.cli.prices import dollars
    from styx.cli.table import Column, table

    rows = [
        [
            one.instance_id,
            one.provider,
            one.zone or "-",
            one.instance_type + (" (spot)" if one.spot else ""),
            one.state,
            dollars(one.price),
            dollars(one.cost),
        ]
        for one in machines
    ]
    columns = (
        Column("INSTANCE"), Column("PROVIDER"), Column("PLACE"), Column("TYPE"), Column("STATE"), Column("$/HOUR", right=True),
        Column("COST", right=True),
    )  # fmt: skip
    return table(columns, rows)
