"""`styx stats`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from styx.cli.app import App, format_option, server_option
from styx.cli.emit import emit

if TYPE_CHECKING:
    from styx.protocol.http import Stats


@click.command()
@format_option
@server_option
@click.pass_obj
def command(app: App) -> None:
    """Show figures about the server: what is live, how fast it goes, what it uses."""
    app.run(_stats(app))


async def _stats(app: App) -> None:
    from styx.cli.places import server

    async with server(app) as verbs:
        stats = await verbs.stats()
    emit(app, stats, [], lambda: stats_text(stats))


def stats_text(stats: Stats) -> str:
    from styx.cli.show import counts_text
    from styx.cli.words import size, took

    rows = {
        "up": took(stats.uptime),
        "jobs": f"{stats.jobs_live:,} live",
        "tasks": f"{stats.elements_live:,} live: {counts_text(stats.counts)}",
        "agents": f"{stats.nodes:,}, {stats.attempts_live:,} attempts under way",
        "since the start": f"{stats.submitted:,} submitted, {stats.ended:,} ended",
        "rate": f"{stats.rate:,.1f} a second over the last 10 s",
        "commits": f"{stats.commits:,}, {stats.commit_ms_p50:.2f} ms (p50), {stats.commit_ms_p99:.2f} ms (p99)",
        "loop": f"{stats.loop_lag_ms_p99:.1f} ms late (p99), {stats.loop_lag_ms_max:.1f} ms at most; {stats.queue:,} events wait",
        "memory": size(stats.memory),
        "disk": size(stats.disk),
    }
    width = max(map(len, rows))
    return "".join(f"{name:<{width}}  {value}\n" for name, value in rows.items())
