"""`styx up`: a server and a local agent in the foreground, for one machine."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

from styx.cli.app import App
from styx.cli.emit import note

if TYPE_CHECKING:
    from styx.providers.local.child import Child
    from styx.server.daemon import Options

RESTART = 2.0  # seconds before an agent that ended is started again


@click.command()
@click.option("--host", metavar="H", help="Address to listen on. [default: 127.0.0.1]")
@click.option(
    "--port", metavar="P", type=click.IntRange(0, 65_535), help="Port to listen on. [default: 8080; 0: a free one]"
)
@click.option("--cpus", metavar="N", help="CPUs that the agent gives to tasks. [default: all]")
@click.option("--memory", metavar="SIZE", help="Memory that the agent gives to tasks. [default: all]")
@click.option("--label", "labels", metavar="K=V", multiple=True, help="A label that the agent carries.")
@click.pass_obj
def command(
    app: App, host: str | None, port: int | None, cpus: str | None, memory: str | None, labels: tuple[str, ...]
) -> int:
    """Start a server and a local agent. Ctrl-C stops both; programs that run then go on, and the next `styx up` finds them."""
    from msgspec.structs import replace

    from styx.agent.options import read
    from styx.server.daemon import Options

    settings = app.settings
    changes: dict[str, Any] = {"server_host": host, "server_port": port}
    settings = replace(settings, **{name: value for name, value in changes.items() if value is not None})
    agent_log = settings.log_level
    if settings.log_level == "info":  # the foreground of a person, not the log of a daemon
        settings = replace(settings, log_level="warning")
        agent_log = "error"  # that its server goes, and comes, is told by the server
    arguments = [word for name, value in (("--cpus", cpus), ("--memory", memory)) if value for word in (name, value)]
    arguments += [word for label in labels for word in ("--label", label)]
    read(arguments, dict(app.environ), "")  # what is wrong is said before anything starts
    beside = _Beside(app, arguments, agent_log)
    return _loop(beside.run(Options(settings, announce=beside.announce)))


def _loop(body: Any) -> int:
    factory = None
    with suppress(ImportError):
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return int(runner.run(body))


class _Beside:
    """The agent beside the server: started when the server answers, started again when it ends, stopped with it."""

    def __init__(self, app: App, arguments: list[str], log_level: str) -> None:
        self._app = app
        self._arguments = arguments
        self._environ = {**os.environ, "STYX_LOG_LEVEL": log_level}
        self._process: Child | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def run(self, options: Options) -> int:
        from styx.server import daemon

        try:
            return await daemon.run(options)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await asyncio.to_thread(self._stop)

    def announce(self, url: str) -> None:
        note(f"the server is at {url}")
        self._tasks = [asyncio.create_task(self._keep(url)), asyncio.create_task(self._welcome(url))]

    async def _keep(self, url: str) -> None:
        while True:
            self._process = self._spawn(url)
            code = await asyncio.to_thread(self._process.wait)
            note(f"the agent ended with {code}; starting it again")
            await asyncio.sleep(RESTART)

    def _spawn(self, url: str) -> Child:
        from styx.providers.local.child import Child

        # Ctrl-C in the terminal reaches the server alone, which then stops the agent in order.
        return Child([sys.executable, "-m", "styx.cli.beside", "--server", url, *self._arguments], self._environ)

    async def _welcome(self, url: str) -> None:
        from styx.cli.words import size
        from styx.errors import StyxError

        async with self._app.connect(url) as verbs:
            while True:
                try:
                    here = [agent for agent in await verbs.agents() if agent.state == "UP"]
                except StyxError:
                    here = []
                if here:
                    break
                await asyncio.sleep(0.1)
        agent = here[0]
        note(f"the agent {agent.name} has {agent.capacity.cpus:g} CPUs and {size(agent.capacity.memory)} of memory")
        note("in another terminal: styx run echo hello; styx status; styx agents")
        note("Ctrl-C stops both; programs that run then go on, and the next `styx up` finds them")

    def _stop(self) -> None:
        if self._process is not None:
            self._process.stop()
