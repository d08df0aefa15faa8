"""`styx-server`: the control plane alone, from the command line to the last signal.

The first SIGTERM or SIGINT drains: nothing new is taken, agents hear goodbye (their programs go on), streams end, the store is
closed. The second ends the process at once, which loses nothing that was accepted. When the plane itself fails (an fsync that
did), the process ends with 1: what is on disk is then read anew by the next start.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from styx.api.release import release
from styx.config.settings import DAY, Settings, load
from styx.errors import StoreError, StyxError, UsageError

if TYPE_CHECKING:
    import ssl

    from styx.compose import ControlPlane

__all__ = ["Options", "main", "run"]

TIDY = 3_600.0  # seconds between two looks at what is old


class Options(msgspec.Struct, frozen=True):
    """`announce` is called with the URL once the server is healthy."""

    settings: Settings
    hosts: tuple[str, ...] = ()
    tls_cert: str = ""
    tls_key: str = ""
    insecure: int = 0
    announce: Callable[[str], None] = lambda url: print(f"styx-server: healthy at {url}", flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 after draining, that of the error otherwise."""
    try:
        options = _read(argv)
        factory: Callable[[], asyncio.AbstractEventLoop] | None = None
        with suppress(ImportError):
            import uvloop

            factory = uvloop.new_event_loop
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(run(options))
    except StyxError as error:
        from styx.errors import SpecError

        problems = error.problems if isinstance(error, SpecError) else []
        for message, hint in [(p.message, p.hint) for p in problems] or [(error.message, error.hint)]:
            print(f"styx-server: {message}", file=sys.stderr)
            if hint:
                print(f"             {hint}", file=sys.stderr)
        return error.exit_code


async def run(options: Options) -> int:
    """Serve until a signal or a failure. Raises StyxError when it cannot start."""
    from styx.compose import open_server_plane
    from styx.config.dumps import no_core_dumps
    from styx.server import local_token, presence
    from styx.server.doors import raise_limit
    from styx.server.serve import serve_plane
    from styx.telemetry import log as telemetry

    no_core_dumps()
    settings = options.settings
    tls = _tls(options)
    stop = _signals()
    raise_limit()
    logger = telemetry.get("server")
    async with open_server_plane(settings) as plane:
        await local_token.ensure(settings.home, plane.shell.store)
        serving = await serve_plane(
            plane, host=settings.server_host, port=settings.server_port, hosts=options.hosts, tls=tls
        )
        tidying = asyncio.create_task(_tidy(plane, settings), name="tidy")
        try:
            presence.announce(settings.home, serving.url, release())
            options.announce(serving.url)
            # structlog takes as long to import as aiohttp's half; whoever asks for /health now need not wait for it
            await asyncio.to_thread(telemetry.configure, settings.log_level)
            _settle()
            logger.info("server started", url=serving.url, home=str(settings.home), pid=os.getpid())
            either: set[asyncio.Future[Any]] = {asyncio.ensure_future(stop.wait()), plane.shell.fatal}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            failed = plane.shell.fatal.exception() if plane.shell.fatal.done() else None
            if failed is not None:
                logger.crash("the control plane failed", failed)
                return 1
            logger.info("server draining")
            return 0
        finally:
            presence.withdraw(settings.home)
            tidying.cancel()
            plane.drain()
            plane.shell.hub.close("the server is going down")
            await serving.stop()


def _settle() -> None:
    """How the process shares itself out from here on. Threads that want the GIL get it within half a millisecond: a commit takes it some
    twenty times over, and while the loop had work without end each of these cost the 5 ms that are the interpreter's default.

    What start-up made stays: take it out of the collector's sight, and let it look less often at what has lived for a while. A
    full pass over the live world stalls the loop, and the core makes no cycles. What is young is looked at in small portions:
    requests do make cycles, and to free 50,000 objects at once was 90 ms in which nobody was answered; and a second pass over the million of
    them that as many tasks make was 300 ms."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(5_000, 10, 2_000)
    sys.setswitchinterval(0.000_5)


def _signals() -> asyncio.Event:
    """Set by the first SIGTERM or SIGINT; the second ends the process."""
    stop = asyncio.Event()

    def received(number: int) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, received, number)
    return stop


async def _tidy(plane: ControlPlane, settings: Settings) -> None:
    """Drop what ended long ago, as `styx gc` does."""
    from styx.telemetry import log as telemetry

    logger = telemetry.get("server")
    while True:
        await asyncio.sleep(TIDY)
        try:
            dropped = await plane.gc(days=settings.keep / DAY, keep_bytes=settings.keep_bytes)
        except StoreError as error:
            logger.warning("old jobs could not be dropped", reason=error.message)
        else:
            if dropped["jobs"]:
                logger.info("old jobs dropped", **dropped)


def _tls(options: Options) -> ssl.SSLContext | None:
    """TLS, or nothing for loopback, or a refusal: whoever can read the wire can take the tokens off it."""
    from styx.server.serve import is_loopback, tls_context

    if options.tls_cert:
        return tls_context(options.tls_cert, options.tls_key)
    if options.tls_key:
        raise UsageError("--tls-key needs --tls-cert", hint="give both, or neither")
    host = options.settings.server_host
    if not is_loopback(host) and options.insecure < 2:
        raise UsageError(
            f"{host or 'every address'} can be reached from outside, and tokens would cross the network in the clear",
            hint="give --tls-cert and --tls-key, or --insecure twice if something else encrypts",
        )
    return None


def _read(argv: Sequence[str] | None) -> Options:
    parser = argparse.ArgumentParser(
        prog="styx-server",
        description="The control plane: database, scheduler, HTTP API, and the hub that agents connect to.",
        epilog="Environment: STYX_HOME, STYX_SERVER_PORT, STYX_SERVER_HOST, STYX_LOG_LEVEL, STYX_CONFIG.",
        allow_abbrev=False,
    )
    parser.add_argument("--host", metavar="H", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", metavar="P", type=int, help="port to listen on (8080; 0: a free one)")
    parser.add_argument("--home", metavar="DIR", help="folder for everything (STYX_HOME)")
    parser.add_argument("--log-level", metavar="L", choices=("debug", "info", "warning", "error"))
    parser.add_argument("--allow-host", metavar="NAME", action="append", default=[], help="a further name to answer to")
    parser.add_argument("--tls-cert", metavar="FILE", default="", help="certificate chain, PEM")
    parser.add_argument("--tls-key", metavar="FILE", default="", help="its private key, PEM")
    parser.add_argument("--insecure", action="count", default=0, help="twice: listen off loopback without TLS")
    parser.add_argument("--version", action="version", version=f"styx-server {release()}")
    given = parser.parse_args(argv)
    settings = load()
    if given.port is not None and not 0 <= given.port <= 65_535:
        raise UsageError(f"--port must be from 0 to 65535, got {given.port}")
    changes = {
        "server_host": given.host,
        "server_port": given.port,
        "home": Path(os.path.abspath(given.home)) if given.home else None,
        "log_level": given.log_level,
    }
    settings = msgspec.structs.replace(
        settings, **{name: value for name, value in changes.items() if value is not None}
    )
    return Options(settings, tuple(given.allow_host), given.tls_cert, given.tls_key, given.insecure)


if __name__ == "__main__":
    raise SystemExit(main())
