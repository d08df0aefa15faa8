"""The only wiring: which store, which shell, which agent make a control plane.

async with ControlPlane.open() as plane: ...                 # in memory, with an agent of its own, in the caller's loop
async with ControlPlane.open(Path("here")) as plane: ...     # on disk: what was accepted is there the next time
async with open_server_plane(settings) as plane: ...         # the daemon's: no agent of its own
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from styx.aiokit import Crash
from styx.config.settings import Settings
from styx.core.resources import Resources
from styx.core.settings import CoreSettings
from styx.errors import Problem, SpecError
from styx.protocol.handles import Submits
from styx.runtime import archives, bundles
from styx.runtime.archives import Archives
from styx.runtime.bundles import Bundles
from styx.runtime.clock import Clock
from styx.runtime.link import LinkSettings
from styx.runtime.plane import Plane
from styx.runtime.shell import Shell, ShellSettings
from styx.runtime.transport import PipeEnd, pipe
from styx.runtime.vault import Vault
from styx.store.base import Store

if TYPE_CHECKING:
    from styx.agent.runner import AgentRunner

__all__ = ["ControlPlane", "open_server_plane"]


class ControlPlane(Plane, Submits):
    """A whole control plane in this process, in the caller's event loop. Made by `open`; it offers the verbs of
    `styx.protocol.verbs` and `submit`. `bundles` are the archives that machines run their agents from."""

    bundles: Bundles

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        folder: Path | str | None = None,
        *,
        agent: bool = True,
        name: str = "",
        resources: Resources | None = None,
        labels: tuple[tuple[str, str], ...] = (),
        no_work: bool = False,
        store: Store | None = None,
        settings: ShellSettings | None = None,
        clock: Clock | None = None,
        places: Callable[[ControlPlane, Vault], None] | None = None,
    ) -> AsyncIterator[ControlPlane]:
        """Open a control plane, and close it at the end of the block.

        With a `folder`, jobs and output are kept there and go on the next time; without one everything is in memory, and output
        in a folder that is removed at the end. An agent for this machine comes with it unless `agent` is False: its programs
        end with the block. `resources` and `labels` say what that agent offers instead of what the machine has. `places` puts
        providers behind it, which only a server that machines can find has. Raises StoreLocked when another process uses the folder, and StoreError.
        """
        async with AsyncExitStack() as stack:
            home = Path(folder) if folder is not None else Path(stack.enter_context(_temporary()))
            if store is None:
                store = _store(None if folder is None else home)
            vault = Vault(None if folder is None else home)
            shell = await Shell.open(store, home / "output", clock=clock, settings=settings or _settings(), vault=vault)
            stack.push_async_callback(shell.close, "the control plane was closed")
            plane = cls(shell, version=_version())
            plane.offering.home = home
            plane.bundles = Bundles(home / bundles.FOLDER)
            plane.archives = Archives(home / archives.FOLDER, shell.store, shell.engine.world, vault)
            if places is not None:
                places(plane, vault)
            if agent:
                await stack.enter_async_context(
                    _embedded(shell, home, name=name, resources=resources, labels=labels, no_work=no_work)
                )
            yield plane


@asynccontextmanager
async def open_server_plane(settings: Settings, *, home: Path | None = None) -> AsyncIterator[ControlPlane]:
    """The daemon's control plane, in `settings.home` unless `home` says otherwise. Whoever runs it watches
    `plane.shell.fatal` and hands links of agents to `plane.shell.hub.connect`."""
    core = CoreSettings(
        max_live=settings.max_live,
        max_instances=settings.max_instances,
        hourly_cap=settings.hourly_cap,
        idle_timeout=settings.idle_timeout,
    )
    links = LinkSettings(heartbeat=settings.heartbeat, suspect=settings.suspect, lost=settings.lost, release=_version())
    shell_settings = ShellSettings(core=core, links=links)
    places = _places(settings, home or settings.home) if settings.providers else None
    async with ControlPlane.open(home or settings.home, agent=False, settings=shell_settings, places=places) as plane:
        yield plane


def _places(settings: Settings, home: Path) -> Callable[[ControlPlane, Vault], None]:
    """The providers that are in the settings, to be put behind the plane. Raises SpecError for settings of theirs that are wrong."""
    import os
    import time

    from styx.providers.base import Context
    from styx.providers.registry import make_all
    from styx.runtime.provisioner import Provisioner
    from styx.runtime.runners import open_runners

    context = Context(home, os.environ, lambda: time.time_ns() // 1_000_000, asyncio.sleep)
    providers = make_all(settings.providers, context)
    ca = _certificates(settings.public_ca)

    def put(plane: ControlPlane, vault: Vault) -> None:
        if plane.archives is not None:
            plane.archives.provisions = True  # tasks may run where no folder of the submitter is
        known = plane.bundles.known
        url, shell = settings.public_url, plane.shell
        Provisioner.open(shell, providers, home, vault, known, public_url=url, ca=ca)
        shell.runners = open_runners(shell, providers, home, plane.archives, public_url=url, ca=ca)

    return put


def _certificates(path: str) -> str:
    if not path:
        return ""
    try:
        return Path(path).read_text("ascii")
    except (OSError, UnicodeDecodeError) as error:
        problem = Problem(
            "$.places.public_ca", f"{path} cannot be read: {error}", "name a file with certificates (PEM)"
        )
        raise SpecError([problem], source="styx.toml") from None


def _settings() -> ShellSettings:
    return ShellSettings(links=LinkSettings(release=_version()))


def _store(folder: Path | None) -> Store:
    if folder is None:
        from styx.store.memory import MemoryStore

        return MemoryStore()
    from styx.store.sqlite import SqliteStore

    return SqliteStore(folder)


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("styx-orchestrator")
    except PackageNotFoundError:
        return "unknown"


def _temporary() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="styx-", ignore_cleanup_errors=True)


@asynccontextmanager
async def _embedded(
    shell: Shell,
    home: Path,
    *,
    name: str,
    resources: Resources | None,
    labels: tuple[tuple[str, str], ...],
    no_work: bool,
) -> AsyncIterator[None]:
    """An agent in this process; it is let in before the block begins, and its programs have ended when the block has."""
    from styx.agent.embedded import run_embedded

    runners: list[AgentRunner] = []

    async def connect() -> PipeEnd:
        server, mine = pipe()
        shell.supervisor.start("link", shell.hub.connect(server))
        return mine

    running = shell.supervisor.start(
        "agent",
        run_embedded(
            connect,
            home=home,
            name=name,
            capacity_override=resources,
            labels=labels,
            no_work=no_work,
            on_start=runners.append,
        ),
    )
    joined = asyncio.ensure_future(shell.hub.joined.wait())
    try:
        any_of: set[asyncio.Future[Any]] = {running, joined, shell.fatal}
        await asyncio.wait(any_of, return_when=asyncio.FIRST_COMPLETED)
        if not joined.done():
            raise _why(running, shell.fatal)
        yield
    finally:
        joined.cancel()
        running.cancel()
        await asyncio.wait({running})


def _why(running: asyncio.Task[None], fatal: asyncio.Future[None]) -> BaseException:
    """What kept the agent from starting."""
    error = fatal.exception() if fatal.done() else None
    if isinstance(error, Crash):
        return error.error
    if running.done() and not running.cancelled() and (ended := running.exception()) is not None:
        return ended
    return RuntimeError("the embedded agent ended before it had begun")
