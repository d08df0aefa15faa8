"""The Provisioner of machines by SSH: each host is one offer, free of charge, and holds one agent at a time.

To launch is to put an agent there, to terminate is to take it away; the machine itself is never touched. What is there is seen by asking
every host, side by side: a listing is complete only when all of them answered. The token of an order names the folder on the
host, so repeating it finds what it made before, and cluster and token are read from the names.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

import msgspec

from styx.core.offers import Offer
from styx.core.resources import Resources
from styx.errors import StyxError
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
    Unsure,
)
from styx.providers.bootstrap import order_of
from styx.providers.ssh import install
from styx.providers.ssh.connection import Connection, connect
from styx.providers.ssh.settings import Settings, Target, target_of

__all__ = ["SshProvider"]

T = TypeVar("T")

_ROOT = ".styx/machines"
_AT_ONCE = 16  # hosts asked at a time
_CHECK = 2.5  # seconds
_KNOWN = "offers.json"
_LINE = re.compile(r"(?P<cluster>[0-9a-f]{8,64})\.(?P<token>[a-z][a-z0-9-]{0,39}) (?P<state>running|stopped|ended)")
_GPU = re.compile(r"\b(A100|H100|H200|B200|A10G|A10|L40S|L40|L4|T4|V100|P100|P4|K80|RTX ?\d{4})\b")
_STATES = {"running": MachineState.RUNNING, "stopped": MachineState.STOPPED, "ended": MachineState.ENDED}

_LIST = r"""
cd "$HOME/$1" 2>/dev/null || exit 0
for F in *.*; do
  [ -d "$F" ] || continue
  STATE=stopped
  if [ -f "$F/ended" ]; then STATE=ended
  elif read -r PID 2>/dev/null <"$F/pid" && kill -0 "$PID" 2>/dev/null && grep -q "$F/boot" "/proc/$PID/cmdline" 2>/dev/null; then STATE=running
  fi
  echo "$F $STATE"
done
"""


class SshProvider:
    """A Provider. Nothing is opened before it is asked something."""

    name = "ssh"
    promises = Promises(idempotent=True, settles=0.0, output=True)
    runners: Mapping[str, Runner] = {}

    def __init__(self, settings: Settings, context: Context) -> None:
        self._settings = settings
        self._context = context
        self._folder = context.home / "providers" / "ssh"
        self._putting = {host: asyncio.Lock() for host in settings.hosts}

    @property
    def provisioner(self) -> Provisioner:
        return self

    def catalog(self) -> tuple[Sequence[Offer], str]:
        """What the hosts were when they were last asked; one that never was has no offer."""
        try:
            offers = msgspec.json.decode((self._folder / _KNOWN).read_bytes(), type=list[Offer])
        except (OSError, msgspec.MsgspecError):
            offers = []
        names = {str(host) for host in self._settings.hosts}
        return [offer for offer in offers if offer.instance_type in names], "the machines themselves"

    async def check(self) -> Check:
        if not self._settings.hosts:
            hint = '[providers.ssh] hosts = ["user@host"]'
            return Check(False, problems=("no hosts are configured",), hints=(hint,), lasting=True)
        answers = await asyncio.gather(*(self._reached(host) for host in self._settings.hosts))
        wrong = [answer for answer in answers if answer is not None]
        who = f"{len(answers) - len(wrong)} of {len(answers)} machines answer"
        return Check(
            len(wrong) < len(answers),
            who,
            tuple(error.message for error in wrong),
            tuple(dict.fromkeys(error.hint for error in wrong if error.hint)),
        )

    async def close(self) -> None:
        return

    # -- Provisioner ------------------------------------------------------------------------------------------------

    async def launch(self, order: Order) -> Machine:
        host = self._host(order.offer.instance_type)
        name = f"{order.cluster}.{order.token}"

        async def put(connection: Connection) -> Machine:
            for machine in await self._on(connection, host, ""):
                if machine.state is MachineState.ENDED:
                    continue
                if machine.token == order.token and machine.cluster == order.cluster:
                    if machine.state is MachineState.RUNNING:
                        return machine
                else:
                    raise Refused(Kind.CAPACITY, f"{host} is in use for {machine.token} already", retry_after=60.0)
            about = await install.probe(connection)
            python, sha256, archive = await asyncio.to_thread(self._archive, order, about)
            folder = f"{about.home}/{_ROOT}/{name}"
            await install.start(connection, folder, order.user_data, python, archive, sha256)
            return self._machine(host, order.cluster, order.token, MachineState.RUNNING)

        async with self._putting[host]:  # between the look and the start nobody else may start anything there
            return await self._with(host, put)

    async def find(self, order: Order) -> Machine | None:
        host = self._host(order.offer.instance_type)

        async def look(connection: Connection) -> Machine | None:
            found = await self._on(connection, host, order.cluster)
            return next((m for m in found if m.token == order.token and m.state is not MachineState.ENDED), None)

        try:
            return await self._with(host, look)
        except Refused as error:
            raise Unsure(f"whether {host} has it is not known: {error.message}") from None

    async def listing(self, cluster: str) -> Listing:
        async def on(host: Target) -> list[Machine] | StyxError:
            try:
                return await self._with(host, lambda connection: self._on(connection, host, cluster))
            except (Refused, Unsure) as error:
                return error

        machines: list[Machine] = []
        problems: list[StyxError] = []
        for answer in await self._all(on):
            if isinstance(answer, StyxError):
                problems.append(answer)
            else:
                machines += answer
        if problems and len(problems) == len(self._settings.hosts):
            raise problems[0]
        return Listing(tuple(machines), not problems, tuple(error.message for error in problems))

    async def terminate(self, refs: Sequence[str]) -> None:
        for ref in refs:
            host, name = self._parts(ref)
            await self._with(host, lambda connection, name=name: self._remove(connection, name))  # type: ignore[misc]

    async def stop(self, refs: Sequence[str]) -> None:
        raise Refused(Kind.INVALID, "machines that are reached by SSH are not stopped")

    async def start(self, refs: Sequence[str]) -> None:
        raise Refused(Kind.INVALID, "machines that are reached by SSH are not started")

    async def offers(self) -> list[Offer]:
        async def of(host: Target) -> Offer | StyxError:
            try:
                about = await self._with(host, install.probe)
            except (Refused, Unsure) as error:
                return error
            return _offer(host, about)

        answers = await self._all(of)
        offers = [answer for answer in answers if isinstance(answer, Offer)]
        if answers and not offers:
            raise next(answer for answer in answers if isinstance(answer, StyxError))
        await asyncio.to_thread(self._keep, offers)
        return offers

    # -- hosts ------------------------------------------------------------------------------------------------------

    async def _with(self, host: Target, act: Callable[[Connection], Awaitable[T]]) -> T:
        known = self._settings
        async with connect(host, identity=known.identity, known_hosts=known.known_hosts) as connection:
            return await act(connection)

    async def _all(self, ask: Callable[[Target], Awaitable[T]]) -> list[T]:
        limit = asyncio.Semaphore(_AT_ONCE)

        async def one(host: Target) -> T:
            async with limit:
                return await ask(host)

        return list(await asyncio.gather(*(one(host) for host in self._settings.hosts)))

    async def _reached(self, host: Target) -> Refused | Unsure | None:
        async def nothing(connection: Connection) -> None:
            return None

        try:
            async with asyncio.timeout(_CHECK):
                await self._with(host, nothing)
        except TimeoutError:
            return Refused(Kind.UNREACHABLE, f"{host} does not answer within {_CHECK:g} s")
        except (Refused, Unsure) as error:
            return error
        return None

    async def _on(self, connection: Connection, host: Target, cluster: str) -> list[Machine]:
        code, said, wrong = await connection.run(_LIST, _ROOT)
        if code:
            raise Unsure(f"{host} did not say what runs there: {wrong.strip()[:200]}")
        found = [_LINE.fullmatch(line) for line in said.splitlines()]
        return [
            self._machine(host, line["cluster"], line["token"], _STATES[line["state"]])
            for line in found
            if line is not None and cluster in {"", line["cluster"]}
        ]

    async def _remove(self, connection: Connection, name: str) -> None:
        about = await connection.run('printf %s "$HOME"')
        await install.remove(connection, f"{about[1]}/{_ROOT}/{name}")

    def _machine(self, host: Target, cluster: str, token: str, state: MachineState) -> Machine:
        return Machine(f"{host}/{cluster}.{token}", token, cluster, state, region=host.host, instance_type=str(host))

    def _host(self, name: str) -> Target:
        host = next((host for host in self._settings.hosts if str(host) == name), None)
        if host is None:
            raise Refused(Kind.INVALID, f"{name} is no host of [providers.ssh]")
        return host

    def _parts(self, ref: str) -> tuple[Target, str]:
        """A machine that was taken out of the settings can still be ended."""
        host, _, name = ref.rpartition("/")
        return target_of(host), name

    def _archive(self, order: Order, about: install.Probe) -> tuple[str, str, bytes]:
        """(Python there, hash, archive) for the first Python there that the order has an archive for. The server has made them; they
        lie in DIR/bootstrap."""
        known = {(tag, arch): sha256 for tag, arch, sha256 in order_of(order.user_data).archives}
        for tag, python in about.pythons:
            sha256 = known.get((tag, about.arch))
            if sha256 is not None:
                path = self._context.home / "bootstrap" / f"{tag}-{about.arch}-{sha256}.tar.gz"
                try:
                    return python, sha256, path.read_bytes()
                except OSError as error:
                    raise Refused(Kind.INVALID, f"{path} cannot be read: {error.strerror or error}") from None
        tag = about.pythons[0][0]
        raise Refused(
            Kind.INVALID,
            f"there is no archive for Python {tag[2]}.{tag[3:]} on {about.arch}",
            hint=f"styx bootstrap fetch --python {tag[2]}.{tag[3:]} --arch {about.arch}",
        )

    def _keep(self, offers: list[Offer]) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = self._folder / f"{_KNOWN}.new"
        fresh.write_bytes(msgspec.json.encode(offers))
        fresh.replace(self._folder / _KNOWN)


def _offer(host: Target, about: install.Probe) -> Offer:
    kinds: dict[str, int] = {}
    for name in about.gpus:
        found = _GPU.search(name)
        kind = found[1].replace(" ", "") if found else name.split()[-1]
        kinds[kind] = kinds.get(kind, 0) + 1
    resources = Resources(about.cpus * 1_000, about.memory, about.disk, tuple(sorted(kinds.items())))
    arch = "arm64" if about.arch == "aarch64" else about.arch
    return Offer("ssh", host.host, "", str(host), False, 0, resources, arch, 0)
