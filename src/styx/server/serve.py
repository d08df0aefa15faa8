"""Put a plane on the network: `serve` for the daemon, for `styx up`, and for tests (port 0 takes a free one)."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING

from styx.errors import StyxError, UsageError
from styx.protocol.verbs import Verbs
from styx.store.base import TokenRow

if TYPE_CHECKING:
    import ssl

    from aiohttp import web

    from styx.api.agents import Join
    from styx.api.agents_ws import Connect
    from styx.compose import ControlPlane
    from styx.runtime.archives import Archives
    from styx.runtime.bundles import Bundles
    from styx.telemetry.metrics import Metrics

__all__ = ["CannotListen", "Serving", "is_loopback", "serve", "serve_plane", "tls_context"]

BACKLOG = 1_024


class CannotListen(StyxError):
    """The address cannot be listened on."""

    exit_code = 1
    code = "cannot-listen"


class Serving:
    """A server that answers. `stop` takes nothing new, ends streams, and gives requests under way `grace` seconds."""

    def __init__(
        self, runner: web.AppRunner, listening: asyncio.Server, app: web.Application, url: str, port: int
    ) -> None:
        self._runner = runner
        self._listening = listening
        self.app = app
        self.url = url
        self.port = port

    async def stop(self) -> None:
        self._listening.close()
        await self._runner.cleanup()


async def serve(
    plane: Verbs,
    tokens: Callable[[], Awaitable[list[TokenRow]]],
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    connect: Connect | None = None,
    join: Join | None = None,
    bundles: Bundles | None = None,
    archives: Archives | None = None,
    position: Callable[[], int] | None = None,
    hosts: Iterable[str] = (),
    metrics: Metrics | None = None,
    render: Callable[[], Awaitable[bytes]] | None = None,
    tls: ssl.SSLContext | None = None,
    grace: float = 5.0,
    header_seconds: float = 0.0,
    connections: int = 0,
) -> Serving:
    """Listen. `tokens` reads the store's tokens, `connect` serves an agent's link (`Hub.connect`), `join` enrols one, `bundles` are what machines run their
    agents from, `archives` packed working folders, `position` is
    the id of the last event, `metrics` and `render` are what is measured and how it is shown, `hosts` are further names that the
    server answers to, `connections` is how many may be open at once (0: as many as this process can have). Raises
    CannotListen."""

    from styx.api.app import build
    from styx.api.limits import HEADER_SECONDS
    from styx.api.malformed import Runner
    from styx.server.doors import Doors, most_connections

    names = list(hosts)
    if not is_loopback(host):
        names += [host, socket.gethostname()]
    app = build(
        plane,
        tokens,
        connect=connect,
        join=join,
        bundles=bundles,
        kept=archives,
        position=position,
        hosts=names,
        metrics=metrics,
        render=render,
    )
    runner = Runner(
        app,
        access_log=None,
        handler_cancellation=True,
        keepalive_timeout=header_seconds or HEADER_SECONDS,
        auto_decompress=False,
        logger=_log(),
        shutdown_timeout=grace,
    )
    await runner.setup()
    try:
        listening = await _listen(host, port)
        assert runner.server is not None  # since it has been set up
        doors = Doors(runner.server, connections or most_connections())
        server = await asyncio.get_running_loop().create_server(doors, sock=listening, backlog=BACKLOG, ssl=tls)
    except BaseException:
        await runner.cleanup()
        raise
    bound = listening.getsockname()[1]
    return Serving(runner, server, app, _url(host, bound, tls is not None), bound)


def _log() -> logging.Logger:
    """For what aiohttp itself finds wrong. That somebody sent what is no HTTP is nothing to log, let alone with a trace."""
    from aiohttp.http_exceptions import HttpProcessingError

    def worth_it(record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))

    logger = logging.getLogger("styx.http")
    logger.filters = [worth_it]
    return logger


async def serve_plane(
    plane: ControlPlane,
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    hosts: Iterable[str] = (),
    tls: ssl.SSLContext | None = None,
    grace: float = 5.0,
) -> Serving:
    """`serve` for a whole control plane: its tokens, its hub."""
    shell = plane.shell
    return await serve(
        plane,
        shell.store.tokens,
        host=host,
        port=port,
        connect=shell.hub.connect,
        join=shell.hub.credentials.enrol,
        bundles=plane.bundles,
        archives=plane.archives,
        position=lambda: shell.watch.published,
        hosts=hosts,
        metrics=shell.metrics,
        render=plane.metrics,
        tls=tls,
        grace=grace,
    )


async def _listen(host: str, port: int) -> socket.socket:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            host or "::", port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except socket.gaierror as error:
        raise CannotListen(f"{host!r} is no address of this machine: {error.strerror}") from None
    family, kind, protocol, _, address = found[0]
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.setblocking(False)
    except OSError as error:
        listening.close()
        raise CannotListen(_why(host, port, error), hint=_hint(error)) from None
    return listening


def _why(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} on {host} is in use by another program"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{host} is no address of this machine"
    return f"cannot listen on {host} port {port}: {os.strerror(error.errno or 0)}"


def _hint(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "stop it, or choose another port with --port or STYX_SERVER_PORT"
    if error.errno == errno.EACCES:
        return "ports below 1024 need a privilege; choose a higher one with --port"
    return ""


def _url(host: str, port: int, secure: bool) -> str:
    shown = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "[::1]"}.get(
        host, host
    )  # any address: name one that works here
    if ":" in shown and not shown.startswith("["):
        shown = f"[{shown}]"
    return f"{'https' if secure else 'http'}://{shown}:{port}"


def is_loopback(host: str) -> bool:
    """Whether only programs on this machine can reach a server bound there."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def tls_context(cert: str, key: str) -> ssl.SSLContext:
    """For --tls-cert and --tls-key. Raises UsageError when the files are not what they must be."""
    import ssl

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(cert, key or None)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"the certificate {cert} cannot be used: {error}") from None
    return context
