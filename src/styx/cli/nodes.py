"""`styx nodes`: the places where tasks run; `add` and `remove` machines that one has already, by SSH."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from styx.cli.app import App, format_option, server_option
from styx.cli.emit import emit

if TYPE_CHECKING:
    from styx.protocol.places import NodeView


@click.group(invoke_without_command=True)
@format_option
@server_option
@click.pass_context
def command(ctx: click.Context) -> None:
    """Show the places where tasks run: agents, machines that were brought up, runners. `add` puts an agent on a machine of yours."""
    if ctx.invoked_subcommand is None:
        app = ctx.ensure_object(App)
        app.run(_list(app))


async def _list(app: App) -> None:
    from styx.cli.places import server

    async with server(app) as verbs:
        nodes = await verbs.nodes()
    emit(app, nodes, (node.node_id for node in nodes), lambda: _table(nodes))


def _table(nodes: list[NodeView]) -> str:
    from styx.cli.table import Column, table
    from styx.cli.words import size

    rows = [
        [
            node.node_id,
            node.name,
            node.kind,
            node.state,
            f"{node.free_cpus:g}/{node.cpus:g}",
            size(node.memory),
            ", ".join(f"{count} {name}" for name, count in node.accelerators.items()) or "-",
            str(node.running),
            str(node.waiting),
            node.where or "-",
        ]
        for node in nodes
    ]
    columns = (
        Column("NODE"), Column("NAME"), Column("KIND"), Column("STATE"), Column("FREE CPUS", right=True), Column("MEMORY", right=True),
        Column("ACCELERATORS", folds=True), Column("RUNS", right=True), Column("WAITS", right=True), Column("WHERE", folds=True),
    )  # fmt: skip
    return table(
        columns, rows, empty="there is no node\nstart an agent with `styx agent`, or `styx nodes add user@host`\n"
    )


_IDENTITY = click.option(
    "--identity", metavar="FILE", default="", help="The private key. [default: what ssh would use]"
)
_KNOWN = click.option("--known-hosts", metavar="FILE", default="", help="Keys of hosts. [default: ~/.ssh/known_hosts]")


@command.command("add")
@click.argument("machine", metavar="[USER@]HOST[:PORT]")
@click.option("--label", "labels", metavar="K=V", multiple=True, help="A label that its agent carries.")
@click.option(
    "--public-url",
    metavar="URL",
    default="",
    help="Where that machine finds the server. [default: the server's address, or a tunnel]",
)
@click.option("--folder", metavar="DIR", default="", help="For the agent, on the machine. [default: ~/.styx/SERVER]")
@_IDENTITY
@_KNOWN
@format_option
@server_option
@click.pass_obj
def add(
    app: App, machine: str, labels: tuple[str, ...], public_url: str, folder: str, identity: str, known_hosts: str
) -> None:
    """Put an agent on a machine that you reach by SSH. It needs Python 3.11 and nothing else; the agent goes there over the same
    connection and stays when that ends.

    \b
    styx nodes add ada@gpu-1
    """
    from styx.cli.machines import Adding
    from styx.providers.ssh.settings import target_of

    pairs: list[tuple[str, str]] = []
    for label in labels:
        key, equals, value = label.partition("=")
        if not key or not equals:
            raise click.UsageError(f"--label must be KEY=VALUE, got {label!r}")
        pairs.append((key, value))
    adding = Adding(app, target_of(machine), identity, known_hosts)
    added = app.run(adding.add(tuple(pairs), public_url, folder))
    emit(app, added, [added.agent], lambda: f"{machine} runs an agent now: {added.agent}")


@command.command("remove")
@click.argument("machine", metavar="[USER@]HOST[:PORT]")
@_IDENTITY
@_KNOWN
@format_option
@server_option
@click.pass_obj
def remove(app: App, machine: str, identity: str, known_hosts: str) -> None:
    """End the agent on a machine that was added, and the programs it runs, and take everything of it away again."""
    from styx.cli.machines import Adding
    from styx.providers.ssh.settings import target_of

    removed = app.run(Adding(app, target_of(machine), identity, known_hosts).remove())
    emit(app, removed, [removed.agent], lambda: f"{machine} runs no agent any more")
