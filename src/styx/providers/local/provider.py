"""The Provisioner of this machine: one offer, free of charge, and as many agents of it as the settings allow.

    [providers.local]
    cpus = 4            # of each agent; by default all that this machine has
    memory = "8GB"
    agents = 1          # at most, at a time

Each agent has a folder under DIR/providers/local, named by cluster and token, with a note of which process it is; a server that was
started again finds its agents by these. Agents outlive the server as they do on any machine, and end by their own dead-man's switch.
"""

from __future__ import annotations

import asyncio
import os
import platform
import re
import shutil
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from styx.core.offers import Offer
from styx.core.resources import Resources
from styx.core.suggest import did_you_mean, one_of
from styx.core.units import byte_count, got, thousandths
from styx.errors import Problem, SpecError
from styx.providers.base import (
    Check,
    Context,
    Kind,
    Listing,
    Machine,
    MachineState,
    Order,
    Promises,
    Provisioner,
    Refused,
    Runner,
)
from styx.providers.bootstrap import order_of
from styx.providers.local.child import Child, born

__all__ = ["LocalProvider", "Settings", "read"]

_KEYS = ("cpus", "memory", "agents")
_NAME = re.compile(r"(?P<cluster>[0-9a-f]{8,64})\.(?P<token>[a-z][a-z0-9-]{0,39})")
_TYPE = "this-machine"
_NOTE = "process.json"
_GO = 12.0  # seconds for an agent, its owner and its programs to go, which are killed then
_MOST = 1_000


class Settings(msgspec.Struct, frozen=True):
    """`cpus` in thousandths and `memory` in bytes of one agent, 0: all there is."""

    cpus: int = 0
    memory: int = 0
    agents: int = 1


class _Process(msgspec.Struct, frozen=True):
    pid: int
    born: float


def read(given: Mapping[str, Any]) -> Settings:
    """The table as it stands in styx.toml. Raises SpecError with everything that is wrong."""
    problems: list[Problem] = []
    values: dict[str, int] = {}
    for key, value in given.items():
        path = f"$.providers.local.{key}"
        try:
            if key == "cpus":
                values[key] = thousandths(value)
            elif key == "memory":
                values[key] = byte_count(value)
            elif key == "agents":
                values[key] = _count(value)
            else:
                hint = did_you_mean(key, _KEYS) or f"it may be {one_of(_KEYS)}"
                problems.append(Problem(path, f"unknown setting {key!r}", hint))
        except ValueError as error:
            problems.append(Problem(path, f"{key} must be {error}"))
    if problems:
        raise SpecError(problems, source="styx.toml")
    return Settings(**values)


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _MOST:
        raise ValueError(f"a whole number from 1 to {_MOST:,}, got {got(value)}")
    return value


class LocalProvider:
    """A Provider."""

    name = "local"
    promises = Promises(idempotent=True, settles=0.0)
    runners: Mapping[str, Runner] = {}

    def __init__(self, settings: Settings, context: Context) -> None:
        self._settings = settings
        self._context = context
        self._folder = context.home / "providers" / "local"
        self._children: dict[int, Child] = {}

    @property
    def provisioner(self) -> Provisioner:
        return self

    def catalog(self) -> tuple[Sequence[Offer], str]:
        return [self._offer()], "this machine"

    async def check(self) -> Check:
        return Check(True, f"{platform.node()}, at most {self._settings.agents} at a time")

    async def close(self) -> None:
        return

    async def launch(self, order: Order) -> Machine:
        return await asyncio.to_thread(self._launch, order)

    async def find(self, order: Order) -> Machine | None:
        found = await asyncio.to_thread(self._machine, self._folder / f"{order.cluster}.{order.token}")
        return None if found is None or found.state is MachineState.ENDED else found

    async def listing(self, cluster: str) -> Listing:
        machines = await asyncio.to_thread(self._machines)
        return Listing(tuple(machine for machine in machines if cluster in {"", machine.cluster}), True)

    async def terminate(self, refs: Sequence[str]) -> None:
        await asyncio.gather(*(asyncio.to_thread(self._end, ref) for ref in refs))

    async def stop(self, refs: Sequence[str]) -> None:
        raise Refused(Kind.INVALID, "agents on this machine are not stopped")

    async def start(self, refs: Sequence[str]) -> None:
        raise Refused(Kind.INVALID, "agents on this machine are not started again")

    async def offers(self) -> list[Offer]:
        return [self._offer()]

    # -- below here everything blocks ---------------------------------------------------------------------------------

    def _offer(self) -> Offer:
        given = self._settings
        cpus = given.cpus or 1_000 * (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1)
        memory = given.memory or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        try:
            disk = shutil.disk_usage(self._context.home).free
        except OSError:  # the folder is not there before the server is
            disk = 0
        arch = {"aarch64": "arm64"}.get(platform.machine(), platform.machine())
        return Offer("local", "", "", _TYPE, False, 0, Resources(cpus, memory, disk), arch, 0)

    def _launch(self, order: Order) -> Machine:
        folder = self._folder / f"{order.cluster}.{order.token}"
        there = self._machine(folder)
        if there is not None and (_lives(_noted(folder)) or any(self._processes(folder).values())):
            return there
        living = [m for m in self._machines() if m.state is not MachineState.ENDED and m.token != order.token]
        if len(living) >= self._settings.agents:
            raise Refused(
                Kind.CAPACITY,
                f"{len(living)} agents run on this machine, as many as may",
                hint="[providers.local] agents",
            )
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            child = self._spawn(order, folder)
            fresh = folder / f"{_NOTE}.new"
            fresh.write_bytes(msgspec.json.encode(_Process(child.pid, born(child.pid))))
            fresh.replace(folder / _NOTE)
        except OSError as error:
            raise Refused(Kind.INVALID, f"no agent can be started here: {error.strerror or error}") from None
        self._children[child.pid] = child
        found = self._machine(folder)
        assert found is not None  # since its folder is there
        return found

    def _spawn(self, order: Order, folder: Path) -> Child:
        """The agent alone: nothing is fetched, and what would end a machine ends the agent."""
        given = order_of(order.user_data)
        (folder / "join").write_text(given.join_token)
        (folder / "contact").unlink(missing_ok=True)  # its time begins anew
        command = [sys.executable, "-m", "styx.agent.main", "--server", given.server_url, "--home", str(folder)]
        command += ["--token-file", str(folder / "join"), "--name", order.token]
        if given.ca:
            (folder / "ca.pem").write_text(given.ca)
            command += ["--ca", str(folder / "ca.pem")]
        for key, value in given.labels:
            command += ["--label", f"{key}={value}"]
        wanted = order.offer.resources
        command += ["--cpus", f"{wanted.cpus}m"]
        command += ["--memory", str(wanted.memory)] if wanted.memory else []
        command += ["--end-machine-after-idle", f"{given.idle_seconds}s", "--end-command", "kill -TERM $PPID"]
        command += ["--end-machine-after-busy", f"{given.busy_seconds}s", "--contact-file", str(folder / "contact")]
        environ = {name: value for name, value in self._context.environ.items() if not name.startswith("STYX_")}
        return Child(command, {**environ, "STYX_AGENT_ID": given.token or order.token}, log=folder / "log")

    def _machines(self) -> list[Machine]:
        for child in self._children.values():
            child.poll()
        found = [self._machine(path) for path in sorted(self._folder.glob("*"))] if self._folder.is_dir() else []
        return [machine for machine in found if machine is not None]

    def _machine(self, folder: Path) -> Machine | None:
        name = _NAME.fullmatch(folder.name)
        if name is None or not folder.is_dir():
            return None
        noted = _noted(folder)
        # the note may be missing, of an agent that was started when the server died; or of the owner of its programs alone
        alive = _lives(noted) or bool(self._processes(folder))
        state = MachineState.RUNNING if alive else MachineState.ENDED
        launched = int(noted.born * 1_000) if noted is not None else 0
        return Machine(
            f"{platform.node()}/{folder.name}",
            name["token"],
            name["cluster"],
            state,
            instance_type=_TYPE,
            launched_at=launched,
        )

    def _end(self, ref: str) -> None:
        folder = self._folder / ref.rpartition("/")[2]
        if _NAME.fullmatch(folder.name) is None or not folder.is_dir():
            return
        until = time.monotonic() + _GO
        told = 0
        while processes := self._processes(folder):
            number = signal.SIGTERM if told < 2 else signal.SIGKILL if time.monotonic() > until else 0
            told += 1
            for pid in processes:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
            time.sleep(0.2)
        shutil.rmtree(folder, ignore_errors=True)

    def _processes(self, folder: Path) -> dict[int, bool]:
        """The agent (True) and the owner of its programs, which ends those when it is asked to go."""
        import psutil

        mark = f"{folder}"
        found: dict[int, bool] = {}
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                words = process.cmdline()
                mine = any(word == mark or word.startswith(f"{mark}/") for word in words)
                if mine and process.status() != psutil.STATUS_ZOMBIE and any("styx.agent" in word for word in words):
                    found[process.pid] = "styx.agent.main" in words
        noted = _noted(folder)
        if noted is not None and noted.pid in self._children:
            self._children[noted.pid].poll()
        return found


def _lives(noted: _Process | None) -> bool:
    """Whether the agent that was started last is there, be it that it has only just begun."""
    return noted is not None and abs(born(noted.pid) - noted.born) < 1


def _noted(folder: Path) -> _Process | None:
    try:
        return msgspec.json.decode((folder / _NOTE).read_bytes(), type=_Process)
    except (OSError, msgspec.MsgspecError):
        return None
