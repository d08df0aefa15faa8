"""What every verb shares: the options `--server` and `-o`, where the server is, and how a coroutine is run."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from styx.config.settings import Settings
    from styx.protocol.verbs import Verbs

__all__ = ["FORMATS", "App", "format_option", "server_option"]

T = TypeVar("T")
FORMATS = ("table", "json", "yaml", "name")

Connect = Callable[[str], "AbstractAsyncContextManager[Verbs]"]


class App:
    """One run of the program. `connect` makes the verbs from a URL; tests give their own."""

    def __init__(self, *, environ: Mapping[str, str] | None = None, connect: Connect | None = None) -> None:
        self.environ = os.environ if environ is None else environ
        self.connect = connect or self._client
        self.server = ""  # as named on the command line
        self.ca = ""
        self.format = "table"
        self._settings: Settings | None = None

    @property
    def settings(self) -> Settings:
        """Raises SpecError when styx.toml or a variable is wrong."""
        if self._settings is None:
            from styx.config.settings import load

            self._settings = load(self.environ)
        return self._settings

    @property
    def home(self) -> Path:
        from styx.config.home import home

        return home(self.environ)

    @property
    def table(self) -> bool:
        return self.format == "table"

    def address(self) -> str:
        """The URL of the server to talk to: named, or one's own that is running; "" when there is neither."""
        named = self.server or self.settings.server_url
        if named:
            return named
        from styx.server.presence import find

        presence = find(self.home)
        return presence.url if presence is not None else ""

    def _client(self, url: str) -> AbstractAsyncContextManager[Verbs]:
        from styx.client.client import Client

        ca = self.ca or self.settings.ca
        if not ca:
            return Client(url)
        from styx.config.tls import trusting

        return Client(url, tls=trusting(ca))

    def run(self, body: Coroutine[Any, Any, T]) -> T:
        import asyncio

        return asyncio.run(body)


def _set_format(ctx: click.Context, _: click.Parameter, value: str | None) -> None:
    if value:
        ctx.ensure_object(App).format = value


def _set_server(ctx: click.Context, _: click.Parameter, value: str | None) -> None:
    if value:
        ctx.ensure_object(App).server = value


format_option = click.option(
    "-o",
    "--output",
    type=click.Choice(FORMATS),
    metavar="|".join(FORMATS),
    expose_value=False,
    is_eager=True,
    callback=_set_format,
    help="How to print; json, yaml and name print one clean document on stdout.",
)
server_option = click.option(
    "--server", metavar="URL", expose_value=False, callback=_set_server, help="The server to talk to (STYX_SERVER_URL)."
)
