"""`styx token create|list|revoke`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from styx.cli.app import App, format_option, server_option
from styx.cli.emit import emit

if TYPE_CHECKING:
    from styx.protocol.http import TokenView

ROLES = ("user", "viewer", "agent", "admin")


@click.group()
def command() -> None:
    """Make, list and revoke access tokens. Your own, on the server's host, is in STYX_HOME/token."""


@command.command("create")
@click.argument("name")
@click.option("--role", type=click.Choice(ROLES), default="user", show_default=True, help="What it may do.")
@click.option(
    "--ttl", metavar="TIME", default="", help="How long it is good, such as 30d. Default: until it is revoked."
)
@format_option
@server_option
@click.pass_obj
def create(app: App, name: str, role: str, ttl: str) -> None:
    """Make a token and print its secret, which is shown this once. NAME says whose it is or what it is for."""
    from styx.core.units import milliseconds

    try:
        seconds = milliseconds(ttl) / 1_000 if ttl else 0.0
    except ValueError as error:
        raise click.UsageError(f"--ttl must be {error}") from None
    app.run(_create(app, name, role, seconds))


async def _create(app: App, name: str, role: str, ttl: float) -> None:
    from styx.cli.emit import note
    from styx.cli.places import server

    async with server(app) as verbs:
        token = await verbs.add_token(name, role=role, ttl=ttl)
    if app.table:
        note(f"token {token.token_id} for {name} ({role}); its secret is kept nowhere else, copy it now")
    emit(app, token, [token.secret], lambda: token.secret)


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
    from styx.cli.table import table
    from styx.cli.words import ago, clock

    rows = [
        [
            str(token.token_id),
            token.name,
            token.role,
            ago(token.created_at),
            clock(token.expires_at) if token.expires_at else "never",
            "yes" if token.revoked else "-",
        ]
        for token in tokens
    ]
    return table(("TOKEN", "NAME", "ROLE", "CREATED", "EXPIRES", "REVOKED"), rows, right=(0,))


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
