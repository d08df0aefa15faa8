"""A way back: a port on the machine that leads to the server, for an agent whose server has no address that it could reach.

It is a process of its own (`python -m styx.providers.ssh.tunnel`), so that it outlives the command that made it, and it goes on through
broken connections, on the same port, since the agent was told of that one. DIR/ssh/NAME.json says which process it is and which
port it has; the process ends by SIGTERM, or when that file is gone.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from styx.aiokit.backoff import Backoff
from styx.errors import StyxError, UsageError
from styx.providers.base import Kind, Refused, Unsure
from styx.providers.ssh.connection import connect
from styx.providers.ssh.settings import Target, target_of

__all__ = ["Tunnel", "dug", "end", "open_tunnel"]

PATIENCE = 30.0  # seconds until a new one has its port
_LOOK = 5.0  # seconds between two looks at the connection and at the file


class Tunnel(msgspec.Struct, frozen=True):
    """`port` on the machine's loopback leads to the server; `born` tells the process from a later one with the same pid."""

    pid: int
    born: float
    port: int


def dug(file: Path) -> Tunnel | None:
    """The tunnel of a file, if it lives."""
    try:
        tunnel = msgspec.json.decode(file.read_bytes(), type=Tunnel)
        return tunnel if abs(_born(tunnel.pid) - tunnel.born) < 1 else None
    except (OSError, msgspec.MsgspecError):
        return None


def open_tunnel(
    file: Path, target: Target, server: str, *, port: int = 0, identity: str = "", known_hosts: str = ""
) -> Tunnel:
    """Start one, unless the one of this file lives. Blocks until it has its port. Raises StyxError with its own words when it does not."""
    living = dug(file)
    if living is not None:
        return living
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    log = file.with_suffix(".log")
    command = [sys.executable, "-m", "styx.providers.ssh.tunnel", str(file), str(target), server, "--port", str(port)]
    command += ["--identity", identity] if identity else []
    command += ["--known-hosts", known_hosts] if known_hosts else []
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)
    until = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < until:
        living = dug(file)
        if living is not None:
            return living
        time.sleep(0.05)
    if process.poll() is None:
        process.terminate()
    said = log.read_text(errors="replace").strip().splitlines()
    raise StyxError(f"there is no way back from {target}: {said[-1] if said else 'it took too long'}")


def end(file: Path) -> bool:
    """End the tunnel of a file; False when there was none."""
    living = dug(file)
    file.unlink(missing_ok=True)
    if living is None:
        return False
    with suppress(ProcessLookupError):
        os.kill(living.pid, signal.SIGTERM)
    return True


def _born(pid: int) -> float:
    """When a process started, seconds since boot. Raises OSError."""
    fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    return int(fields[19]) / os.sysconf("SC_CLK_TCK")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="styx-tunnel", description="Keep a port on a machine that leads to a server.")
    parser.add_argument("file", type=Path)
    parser.add_argument("target")
    parser.add_argument("server")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--identity", default="")
    parser.add_argument("--known-hosts", default="")
    given = parser.parse_args(argv)
    try:
        return asyncio.run(_keep(given))
    except StyxError as error:
        print(error.message, file=sys.stderr, flush=True)
        return 1


async def _keep(given: argparse.Namespace) -> int:
    parts = urlsplit(given.server)
    if not parts.hostname:
        raise UsageError(f"not a server address: {given.server!r}")
    leads_to = (parts.hostname, parts.port or (443 if parts.scheme == "https" else 80))
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    target = target_of(given.target)
    port, waits, first = given.port, Backoff(1.0, 30.0, jitter=1.0), True
    while not stop.is_set() and (first or await asyncio.to_thread(given.file.exists)):
        try:
            async with connect(target, identity=given.identity, known_hosts=given.known_hosts) as connection:
                listener = await connection.opened.forward_remote_port("127.0.0.1", port, *leads_to)
                port = listener.get_port()
                if first:
                    await asyncio.to_thread(_tell, given.file, port)
                    first = False
                waits.reset()
                await _while_open(connection.opened, stop, given.file)
        except (Refused, Unsure, OSError) as error:
            if first or (isinstance(error, Refused) and error.kind is Kind.INVALID):
                raise StyxError(str(error)) from None
            print(error, file=sys.stderr, flush=True)
        except _no_port() as error:  # the old connection may still have it there
            if first:
                raise StyxError(f"{target} gives no port: {error}") from None
            print(error, file=sys.stderr, flush=True)
        with suppress(TimeoutError):
            async with asyncio.timeout(waits.next()):
                await stop.wait()
    return 0


def _no_port() -> type[Exception]:
    import asyncssh

    return asyncssh.Error


async def _while_open(opened: object, stop: asyncio.Event, file: Path) -> None:
    """Until the connection ends, or this is to end."""
    gone = asyncio.ensure_future(opened.wait_closed())  # type: ignore[attr-defined]
    stopped = asyncio.ensure_future(stop.wait())
    try:
        while not (gone.done() or stopped.done()) and await asyncio.to_thread(file.exists):
            await asyncio.wait({gone, stopped}, timeout=_LOOK, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for part in (gone, stopped):
            part.cancel()
        await asyncio.gather(gone, stopped, return_exceptions=True)


def _tell(file: Path, port: int) -> None:
    fresh = file.with_suffix(".new")
    fresh.write_bytes(msgspec.json.encode(Tunnel(os.getpid(), _born(os.getpid()), port)))
    fresh.replace(file)


if __name__ == "__main__":
    sys.exit(main())
