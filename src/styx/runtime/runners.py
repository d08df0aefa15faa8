"""The host of Runners: each is an agent like any other to the hub, over a pipe within this process.

    hub <- pipe -> AgentRunner and Session <- OwnerPort -> RunnerOwner (order, output, ends) <- Carrier -> the provider's Runner

So fences, reports, acknowledgements and leases are those of every agent. The node's name and identity come of the provider's name and the
runner's alone, and so does its boot where the runner finds its attempts again: a server that starts anew then takes up what runs, and what
was never placed is placed again. Another runner's boot is drawn at each start: what it had in hand is lost with the server.
"""

from __future__ import annotations

import asyncio
import shutil
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path

from styx.agent.cellar import NoParcel
from styx.agent.link import LocalLink
from styx.agent.ports import OwnerPort, ServerPort
from styx.agent.runner import AgentRunner
from styx.agent.session import Profile, Session
from styx.aiokit.backoff import Backoff
from styx.core.states import Outcome
from styx.errors import StyxError
from styx.protocol.messages import Run, Spec
from styx.providers.base import Found, Provider, Refused, Runner, RunOrder, Unsure
from styx.runtime.archives import Archives
from styx.runtime.runner_attempt import Hosted
from styx.runtime.runner_carrier import Carrier
from styx.runtime.runner_owner import RunnerOwner
from styx.runtime.shell import Shell
from styx.runtime.transport import pipe
from styx.telemetry.log import get

__all__ = ["FOLDER", "Host", "Runners", "open_runners"]

log = get("runners")

FOLDER = "runners"
OPEN_LIMIT = 120.0  # seconds for a runner to say what it has


class Runners:
    """All runners of a server."""

    def __init__(self, shell: Shell, hosts: Iterable[Host]) -> None:
        self.hosts = tuple(hosts)
        self._tasks = [shell.supervisor.start(f"runner {host.name}", host.run()) for host in self.hosts]

    def waiting_reason(self, attempt: int) -> str:
        """Why an attempt has not started, in the words of the place that has it; "" when nothing is known, or it has started."""
        return next((reason for host in self.hosts if (reason := host.owner.why(attempt))), "")

    def leave(self) -> None:
        """The server goes down: hang up, and let run what runs."""
        for task in self._tasks:
            task.cancel()


def open_runners(
    shell: Shell,
    providers: Mapping[str, Provider],
    home: Path,
    archives: Archives | None = None,
    *,
    public_url: str = "",
    ca: str = "",
) -> Runners:
    """Bring the runners of all providers in, in the background: each is a node as soon as it has said what it has. `home` is the server's
    folder. Pods fetch packed working folders from `public_url`, checking its certificate against `ca` (PEM) where that is given."""
    hosts = [
        Host(shell, f"{name}/{key}", runner, home, Tickets(archives, public_url, ca))
        for name, provider in providers.items()
        for key, runner in provider.runners.items()
    ]
    return Runners(shell, hosts)


class Tickets:
    """How what runs elsewhere comes by its packed working folder: not through the server's hands, but by a ticket for one attempt. To the
    session it is a source of parcels that has each at once."""

    def __init__(self, archives: Archives | None, public_url: str, ca: str) -> None:
        self._archives = archives
        self._url = public_url.rstrip("/")
        self._ca = ca

    async def fetch(self, sha256: str, /) -> str:
        if self._archives is None or not self._url:
            raise NoParcel(
                "no public_url is set, so its working folder cannot be fetched from where it would run; "
                "set [places] public_url in styx.toml",
                Outcome.EXITED,
            )
        return sha256

    def tidy(self, used: Iterable[str], /, *, idle: bool) -> list[str]:
        return []

    async def of(self, sha256: str, attempt: int) -> tuple[str, str, str]:
        """Where it is fetched, by which token, and the certificates."""
        assert self._archives is not None  # else `fetch` let nothing pass
        path = self._archives.ticket_path(sha256, attempt)
        return self._url + path, await self._archives.ticket(sha256, attempt), self._ca


class Host:
    """One runner."""

    def __init__(self, shell: Shell, name: str, runner: Runner, home: Path, tickets: Tickets) -> None:
        self.name = name
        self._shell = shell
        self._runner = runner
        self._tickets = tickets
        self._results = home / FOLDER / name.replace("/", "_") / "results"
        self.carrier = Carrier(name, runner, shell.supervisor, shell.clock, self._order, self._never)
        self.owner = RunnerOwner(
            runner.capacity,
            runner.at_once,
            name if runner.adopts else uuid.uuid4().hex,
            shell.clock.elapsed,
            self.carrier.place,
            self.carrier.end,
            self.carrier.leave,
        )

    async def run(self) -> None:
        """Until cancelled."""
        shutil.rmtree(self._results, ignore_errors=True)  # files come again before what needs them
        found = await self._open()
        self.owner.adopt(found, await self._known(found))
        self.owner.incarnation = self._shell.incarnation
        profile = Profile(
            str(uuid.uuid5(uuid.NAMESPACE_URL, f"styx:{self._shell.incarnation}/{self.name}")),
            self.name,
            f"runner:{self.name}",
            "runner",
            uuid.uuid4().hex,
            "",
            self._runner.capacity,
            self._runner.labels,
            (),
            str(self._results),
        )
        agent = AgentRunner(
            Session(profile), self._open_owner, self._dial, clock=self._shell.clock.elapsed, parcels=self._tickets
        )
        try:
            await agent.run()
        except StyxError as error:
            log.error("runner not let in", runner=self.name, reason=error.message)

    async def _open(self) -> list[Found]:
        """What it has, however long it takes to hear that: before, nobody may be told what it does not have."""
        waits = Backoff(1.0, 30.0)
        while True:
            try:
                return await self._look()
            except (Refused, Unsure) as error:
                if self.carrier.trouble != error.message:
                    log.warning("runner cannot be used yet", runner=self.name, reason=error.message)
                self.carrier.trouble = error.message
                await asyncio.sleep(waits.next())

    async def _known(self, found: Iterable[Found]) -> dict[tuple[int, int], int]:
        """How much output of these is on disk: what a write of nothing answers."""
        output = self._shell.output
        return {(one.attempt, at): await output.write(one.attempt, at, 0, b"") for one in found for at in (1, 2)}

    async def _look(self) -> list[Found]:
        """Raises Refused and Unsure, whatever the runner does."""
        try:
            async with asyncio.timeout(OPEN_LIMIT):
                return await self._runner.open(self._shell.incarnation, self.owner)
        except (Refused, Unsure):
            raise
        except TimeoutError:
            raise Unsure(f"{self.name} did not answer within {OPEN_LIMIT:g} s") from None
        except Exception as error:  # a plug-in's bug must not take the control plane down
            log.crash(f"runner {self.name!r} failed", error)
            raise Unsure(f"{type(error).__name__}: {error}") from error

    async def _open_owner(self) -> OwnerPort:
        return await self.owner.open()

    async def _dial(self) -> ServerPort:
        server, mine = pipe()
        self._shell.supervisor.start("link", self._shell.hub.connect(server))
        return LocalLink(mine)

    async def _order(self, held: Hosted) -> RunOrder:
        """Raises StyxError for what cannot be made."""
        spec, run = held.spec, held.run
        assert spec is not None
        assert run is not None  # of whatever is placed; what was found never is
        files = await asyncio.to_thread(_read, Path(held.results)) if held.results else ()
        order = RunOrder(self._shell.incarnation, spec, run, held.secrets, files)
        return await self._with_archive(order, spec, run)

    async def _with_archive(self, order: RunOrder, spec: Spec, run: Run) -> RunOrder:
        if not spec.archive or spec.workdir:
            return order
        url, token, ca = await self._tickets.of(spec.archive, run.attempt)
        return RunOrder(order.cluster, spec, run, order.secrets, order.results, spec.archive, url, token, ca)

    def _never(self, held: Hosted, outcome: Outcome, reason: str, code: int) -> None:
        self.owner.never(held, outcome, reason, code)


def _read(folder: Path) -> tuple[tuple[str, bytes], ...]:
    try:
        return tuple((path.name, path.read_bytes()) for path in sorted(folder.iterdir()) if path.is_file())
    except OSError as error:
        raise StyxError(f"the results it needs cannot be read: {error.strerror or error}") from None
