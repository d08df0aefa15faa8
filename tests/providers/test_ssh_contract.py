"""Machines by SSH are held to the contract of all Provisioners: real sshds, one a machine, each with a home of its own.

Faults are made at the far end. The `sh` that commands are run with there is a script that, when told to, takes the sshd that serves the
connection away, before the command or after it. The agent that is put there does nothing: what it does is not what is asked here.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import signal
import tarfile
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, suppress
from pathlib import Path

import psutil
import pytest
from boot_kit import BootedMachine
from sshd_kit import Sshd, needs_sshd

from styx.core.offers import Offer
from styx.core.resources import Resources
from styx.providers.base import Context, Kind, Order, Promises, Provisioner, Refused
from styx.providers.bootstrap import BootstrapOrder, user_data
from styx.providers.bootstrap.bundle import own
from styx.providers.local.child import born
from styx.providers.ssh import make
from styx.testing.cluster import eventually
from styx.testing.contracts.provisioner import CLUSTER, CloudWorld, FaultyProvisionerContract, order_for

pytestmark = [needs_sshd, pytest.mark.e2e]

HOSTS = 3
AGENT = {
    "styx/__init__.py": "",
    "styx/agent/__init__.py": "",
    "styx/agent/main.py": "import time\n\ndef main(words):\n    time.sleep(3_600)\n",
}
SH = """#!/bin/sh
case "$1 $2" in
"-c "*STYX_BOOT_PYTHON=*) CALL=launch ;;
"-c "*'rm -rf "$F"'*) CALL=terminate ;;
"-c "*'cd "$HOME/$1"'*) CALL=listing ;;
*) exec /bin/sh "$@" ;;
esac
cut() {
  PID=$PPID
  while read -r NAME </proc/$PID/comm; do
    case $NAME in sshd*) kill -KILL $PID; exit ;; esac
    read -r _ _ _ PID _ </proc/$PID/stat
  done
}
WHAT=
if mv "FOLDER/$CALL" "FOLDER/$CALL.$$" 2>/dev/null; then read -r WHAT <"FOLDER/$CALL.$$"; fi
case $WHAT in
dropped | partial) cut ;;
lost) /bin/sh "$@" >/dev/null; cut ;;
esac
exec /bin/sh "$@"
"""


def archive(folder: Path) -> tuple[tuple[str, str, str], ...]:
    """The agent that does nothing, where the server keeps what goes to machines."""
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w:gz") as packed:
        for name, text in AGENT.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            packed.addfile(member, io.BytesIO(text.encode()))
    digest = hashlib.sha256(held.getvalue()).hexdigest()
    tag, arch = own()
    folder.mkdir(parents=True)
    (folder / f"{tag}-{arch}-{digest}.tar.gz").write_bytes(held.getvalue())
    return ((tag, arch, digest),)


class Place:
    """See `CloudWorld`. Each offer is the next machine, since each holds one agent."""

    def __init__(self, folder: Path) -> None:
        self._faults = folder / "faults"
        self._faults.mkdir()
        shell = self._faults / "sh"
        shell.write_text(SH.replace("FOLDER", str(self._faults)))
        shell.chmod(0o755)
        self.hosts = [Sshd(folder / f"host-{number}", before=self._faults) for number in range(HOSTS)]
        known = folder / "known_hosts"
        known.write_text("".join(host.known_hosts.read_text() for host in self.hosts))
        for host in self.hosts:
            host.folder.joinpath("authorized_keys").write_text(self.hosts[0].key.with_suffix(".pub").read_text())
        context = Context(folder / "server", os.environ, lambda: time.time_ns() // 1_000_000, asyncio.sleep)
        settings = {
            "hosts": [host.target for host in self.hosts],
            "identity": str(self.hosts[0].key),
            "known_hosts": str(known),
        }
        self._provider = make(settings, context)
        self._archives = archive(context.home / "bootstrap")
        self._given = 0

    @property
    def provisioner(self) -> Provisioner:
        assert self._provider.provisioner is not None
        return self._provider.provisioner

    @property
    def promises(self) -> Promises:
        return self._provider.promises

    def offer(self) -> Offer:
        host = self.hosts[self._given % HOSTS]
        self._given += 1
        return Offer("ssh", "127.0.0.1", "", host.target, False, 0, Resources(1_000, 1 << 30))

    async def alive(self) -> set[str]:
        """By the processes that are there; every loop that keeps an agent counts."""
        found = await asyncio.to_thread(self.kept)
        assert len(found) == len(set(found)), f"an agent is kept by two: {found}"
        return set(found)

    def kept(self) -> list[str]:
        loops: dict[int, tuple[int, str]] = {}
        for process in psutil.process_iter():
            try:
                line, parent = process.cmdline(), process.ppid()
            except psutil.Error:
                continue
            for host in self.hosts:
                boot = [word for word in line if word.startswith(f"{host.home}/") and word.endswith("/boot")]
                if boot and line[-1] in {"start", "run"}:  # one that was only just started still has the first name
                    loops[process.pid] = (parent, f"{host.target}/{Path(boot[0]).parent.name}")
        return [ref for parent, ref in loops.values() if parent not in loops]  # else it is about to become the agent

    def fault(self, call: str, what: str) -> None:
        last = self.hosts[(self._given - 1) % HOSTS]
        if what == Kind.CAPACITY:
            (last.home / f".styx/machines/{CLUSTER}.styx-somebody").mkdir(parents=True)
        elif what == Kind.DENIED:
            (last.folder / "authorized_keys").write_text("")
        elif what == Kind.UNREACHABLE:
            last.stop()
        else:
            (self._faults / call).write_text(f"{what}\n")

    async def settle(self) -> None:
        """What was about to become an agent when its machine was ended finds nothing to run, and goes."""
        await asyncio.to_thread(eventually, "what was ended has gone", lambda: all(map(self._there, self.kept())))

    def _there(self, ref: str) -> bool:
        target, _, name = ref.rpartition("/")
        return any(host.target == target and (host.home / ".styx/machines" / name).exists() for host in self.hosts)

    def user_data(self, token: str) -> str:
        return user_data(BootstrapOrder("http://127.0.0.1:9", "styx_join_nobody", self._archives, token=token))


def _power_off(folder: Path) -> None:
    """Everything that runs on the machines, without waiting for who buries it."""
    while found := BootedMachine(folder).processes():
        for process in found:
            with suppress(psutil.NoSuchProcess):
                process.kill()


@needs_sshd
class TestSsh(FaultyProvisionerContract):
    many = HOSTS
    kinds = (Kind.CAPACITY, Kind.DENIED, Kind.UNREACHABLE)

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def world(self) -> AbstractAsyncContextManager[CloudWorld]:
        @asynccontextmanager
        async def opened() -> AsyncIterator[CloudWorld]:
            place = Place(self.folder)
            with ExitStack() as stack:
                stack.callback(_power_off, self.folder)
                for host in place.hosts:
                    stack.callback(host.stop)
                    host.start()
                yield place

        return opened()

    def test_of_two_orders_at_once_for_one_machine_one_is_told_that_it_is_in_use(self) -> None:
        async def body(world: CloudWorld) -> None:
            one = order_for(world, "a")
            other = Order(one.token.replace("-a", "-b"), one.cluster, one.offer, one.user_data)
            answers = await asyncio.gather(*map(world.provisioner.launch, (one, other)), return_exceptions=True)
            (refused,) = [answer for answer in answers if isinstance(answer, BaseException)]
            assert isinstance(refused, Refused)
            assert refused.kind is Kind.CAPACITY
            assert len(await world.alive()) == 1

        self.run(body)

    def test_what_two_servers_start_at_once_for_one_order_comes_to_be_one(self) -> None:
        """One that was killed in the middle of a launch, whose command goes on over there, and the next one."""

        async def body(world: CloudWorld) -> None:
            assert isinstance(world, Place)
            order = order_for(world, "a")
            await world.provisioner.launch(order)
            (ref,) = await world.alive()
            folder = world.hosts[0].home / ".styx/machines" / ref.rpartition("/")[2]
            loop = int((folder / "pid").read_text())
            os.kill(loop, signal.SIGSTOP)
            (folder / "pid").unlink()  # as the other sees it, which looked before there was one
            await world.provisioner.launch(order)
            os.kill(loop, signal.SIGCONT)
            await asyncio.to_thread(eventually, "the earlier one ends", lambda: not born(loop), within=50)
            await asyncio.to_thread(eventually, "the other stays alone", lambda: world.kept() == [ref], within=50)
            await world.provisioner.terminate([ref])
            await world.settle()
            assert await world.alive() == set()

        self.run(body)
