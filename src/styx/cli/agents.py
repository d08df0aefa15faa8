"""`styx agents`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from styx.cli.app import App, format_option, server_option
from styx.cli.emit import emit

if TYPE_CHECKING:
    from styx.protocol.http import AgentView


@click.command()
@format_option
@server_option
@click.pass_obj
def command(app: App) -> None:
    """Show the agents: what each has, what is free, what runs there, and when it was last heard of."""
    app.run(_agents(app))


async def _agents(app: App) -> None:
    from styx.cli.places import server

    async with server(app) as verbs:
        agents = await verbs.agents()
    emit(app, agents, (agent.agent_id for agent in agents), lambda: agents_table(agents))


def agents_table(agents: list[AgentView]) -> str:
    from styx.cli.table import Column, table
    from styx.cli.words import size, took

    rows = [
        [
            agent.name,
            agent.state,
            f"{agent.free.cpus:g}/{agent.capacity.cpus:g}",
            f"{size(max(0, agent.free.memory))}/{size(agent.capacity.memory)}",
            ", ".join(f"{count} {name}" for name, count in agent.capacity.accelerators.items()) or "-",
            str(agent.running),
            str(agent.waiting),
            f"{agent.cpu:.0%}",
            f"{took(agent.seen)} ago",
            ",".join(f"{key}={value}" for key, value in agent.labels.items()) or "-",
        ]
        for agent in agents
    ]
    columns = (
        Column("AGENT"), Column("STATE"), Column("FREE CPUS", right=True), Column("FREE MEMORY", right=True),
        Column("ACCELERATORS", folds=True), Column("RUNS", right=True), Column("WAITS", right=True),
        Column("CPU", right=True), Column("SEEN", right=True), Column("LABELS", folds=True),
    )  # fmt: skip
    empty = "no agent is connected\nstart one with `styx agent` (on another machine: styx-agent --server URL)\n"
    return table(columns, rows, empty=empty)
