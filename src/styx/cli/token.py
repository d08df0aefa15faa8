"""`styx token create|list|revoke`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from styx.cli.app import App, format_option, server_option
from styx.cli.emit import emit

if TYPE_CHECKING:
    from styx.protocol.http import TokenView

ROLES = ("user", "viewer", "agent", "admin")
JOIN_FOR = 86_400.0  # seconds that a join token is good, unless --ttl says otherwise


@click.group()
def command() -> None:
    """Make, list and revoke access tokens. Your own, on the server's host, is in STYX_HOME/token."""


@command.command("create")
@click.argument("name", default="")
@click.option("--role", type=click.Choice(ROLES), help="What it may do.  [default: user]")
@click.option(
    "--ttl",
    metavar="TIME",
    default="",
    help="How long it is good, such as 30d; 0: until it is revoked.  [default: 0; --join: 1d]",
)
@click.option("--join", is_flag=True, help="For new agents: it becomes a credential of their own.")
@click.option("--pool", metavar="NAME", default="", help="With --join: many agents, which carry the label pool=NAME.")
@click.option("--single-use", is_flag=True, help="With --join: one agent only.")
@format_option
@server_option
@click.pass_obj
def create(app: App, name: str, role: str | None, ttl: str, join: bool, pool: str, single_use: bool) -> None:
    """Make a token and print its secret, which is shown this once. NAME says whose it is or what it is for.

    \b
    styx token create ci --role user --ttl 90d
    styx token create --join --single-use          one new agent: styx-agent --token-file F
    styx token create --join --pool gpu --ttl 7d   any number of them
    """
    from styx.core.units import milliseconds

    try:
        seconds = milliseconds(ttl) / 1_000 if ttl else JOIN_FOR if join else 0.0
    except ValueError as error:
        raise click.UsageError(f"--ttl must be {error}") from None
    if join and role:
        raise click.UsageError("--join makes a token for new agents, which has no other role")
    if join and not (pool or single_use):
        raise click.UsageError("--join needs --single-use, for one agent, or --pool NAME, for many")
    if not join and (pool or single_use):
        raise click.UsageError("--pool and --single-use are for join tokens; add --join")
    if not join and not name:
        raise click.UsageError("say whose the token is or what it is for: styx token create NAME")
    app.run(_create(app, name or pool or "join", "join" if join else role or "user", seconds, pool, single_use))


async def _create(app: App, name: str, role: str, ttl: float, pool: str, single_use: bool) -> None:
    from styx.cli.emit import note
    from styx.cli.places import server
    from styx.cli.words import clock

    async with server(app) as verbs:
        token = await verbs.add_token(name, role=role, ttl=ttl, pool=pool, single_use=single_use)
    if app.table:
        until = f"good until {clock(token.expires_at)}" if token.expires_at else "good until it is revoked"
        note(
            f"token {token.token_id} for {name} ({_role(token)}), {until}; its secret is kept nowhere else, copy it now"
        )
    emit(app, token, [token.secret], lambda: token.secret)


def _role(token: TokenView) -> str:
    """The role, and what it is bound to."""
    if token.role == "join":
        return "join, once" if token.single_use else "join"
    return f"{token.role} (joined by {token.joined_by})" if token.joined_by else token.role


@command.command("list")
@format_option
@server_option
@click.pass_obj
def show(app: App) -> None:
    """List the tokens; secrets are not kept and cannot be shown."""
    app.run(_list(app))


async def _list(app: App) -> None:
    from styx.cli.places import server

    async with server(app) as verbs:
        tokens = await verbs.tokens()
    emit(app, tokens, (str(token.token_id) for token in tokens), lambda: _table(tokens))


def _table(tokens: list[TokenView]) -> str:
    from styx.cli.table import Column, table
    from styx.cli.words import ago, clock

    rows = [
        [
            str(token.token_id),
            token.name,
            _role(token),
            token.pool or "-",
            token.agent or "-",
            ago(token.created_at),
            clock(token.expires_at) if token.expires_at else "never",
            "yes" if token.revoked else "-",
        ]
        for token in tokens
    ]
    columns = (
        Column("TOKEN", right=True), Column("NAME", folds=True), Column("ROLE"), Column("POOL"), Column("AGENT"), Column("CREATED"), Column("EXPIRES"),
        Column("REVOKED"),
    )  # fmt: skip
    return table(columns, rows)


@command.command("revoke")
@click.argument("token_id", type=int)
@format_option
@server_option
@click.pass_obj
def revoke(app: App, token_id: int) -> None:
    """Revoke a token by its number; it is refused from then on."""
    app.run(_revoke(app, token_id))


async def _revoke(app: App, token_id: int) -> None:
    from styx.cli.places import server

    async with server(app) as verbs:
        changed = await verbs.revoke_token(token_id)
    document = {"token_id": token_id, "revoked": True, "changed": changed}
    text = f"token {token_id} is revoked" if changed else f"token {token_id} had been revoked already"
    emit(app, document, [str(token_id)], lambda: text)
