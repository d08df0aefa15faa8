"""A server as a process of its own with EC2 behind it (moto, behind the proxy that makes faults), and machines without a hypervisor: what
dials the server is an agent that speaks the whole protocol and runs nothing.

    async with clouded(folder) as it:
        await it.start()
        await it.until("it runs", lambda: it.at_work(job))

An agent joins as the one on a real machine does: its user data is read back from EC2, the join token in it is spent for a credential, and
it comes back with that however often the server is gone. It ends when its machine does.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from faults_kit import faulty

from styx.agent.dial import Socket, open_socket
from styx.agent.joining import Joined
from styx.agent.link import endpoint
from styx.core.resources import Resources
from styx.errors import StyxError
from styx.protocol.messages import Run, Spec
from styx.providers.base import CLUSTER_TAG, TOKEN_TAG
from styx.providers.bootstrap import BootstrapOrder, order_of
from styx.runtime.transport import Transport
from styx.testing.agents import Act, FakeAgent
from styx.testing.cluster import PATIENCE, Cluster

sys.path.insert(0, str(Path(__file__).parents[1] / "providers"))

from aws_proxy import Asked
from aws_world import KEYS, AwsWorld

__all__ = ["Clouded", "Machine", "clouded"]

T = TypeVar("T")

REGION = "us-east-1"
LEASES = {"STYX_HEARTBEAT": "500ms", "STYX_SUSPECT": "20s", "STYX_LOST": "60s"}
_PAUSE = 0.05  # seconds between two looks at anything


class Machine:
    """One that EC2 has, and its agent, which dials whatever server there is once the machine may boot."""

    def __init__(self, ref: str, order: BootstrapOrder, folder: Path, may_boot: asyncio.Event) -> None:
        folder.mkdir(parents=True)
        self.ref = ref
        self.agent = FakeAgent(self, name=order.token, cpus=order.cpus / 1_000, memory=order.memory, script=_goes_on)
        self.agent.id = order.token
        self.agent.capacity = Resources(order.cpus, order.memory, 1 << 40)  # the disk is as large as any offer says
        self._server = order.server_url
        self._joined = Joined(folder, order.token, order.server_url, lambda: order.join_token)
        self._may_boot = may_boot
        self._life = asyncio.create_task(self._live(), name=f"machine {ref}")

    async def connect(self, transport: Transport) -> None:
        """The agent dials: the websocket of the real server, for as long as both sides are there."""
        try:
            token, _ = await self._joined.token()
            socket = await open_socket(self._server, endpoint(self._server), token)
        except StyxError:  # nobody is there just now
            await transport.close()
            return
        back = asyncio.create_task(_down(socket, transport))
        with suppress(ConnectionError):
            async for frame in transport:
                await socket.send(frame)
        await socket.close()
        await back

    async def end(self) -> None:
        """The machine is switched off."""
        self._life.cancel()
        with suppress(asyncio.CancelledError):
            await self._life
        await self.agent.disconnect()

    async def _live(self) -> None:
        await self._may_boot.wait()
        while True:
            if self.agent.connected:
                await self.agent.beat()
            else:
                try:
                    async with asyncio.timeout(10):
                        await self.agent.connect()
                except (ConnectionError, TimeoutError):
                    await self.agent.disconnect()
            await asyncio.sleep(0.1)


class Clouded:
    """`machines` are those that exist now, by ref; `may_boot` holds back the agents of new ones until it is set."""

    def __init__(self, cluster: Cluster, world: AwsWorld, folder: Path) -> None:
        self.cluster = cluster
        self.world = world
        self.machines: dict[str, Machine] = {}
        self.may_boot = asyncio.Event()
        self._folder = folder

    async def start(self) -> None:
        """A server on the same folder, whether or not there was one before."""
        await asyncio.to_thread(self.cluster.start_server)

    async def kill(self) -> None:
        await asyncio.to_thread(self.cluster.kill_server)

    async def again(self) -> None:
        """Killed, and the next one started."""
        await self.kill()
        await self.start()

    async def api(self, method: str, path: str, body: Any = None) -> Any:
        status, answer = await asyncio.to_thread(self.cluster.api, method, path, body)
        assert status < 300, answer
        return answer

    async def submit(self, name: str, **resources: Any) -> str:
        """A job of one task that fills a machine of EC2, and goes on until `finish`."""
        wanted = {"provider": "aws", "instance_type": "t3.small", "cpus": 2, **resources}
        made = await self.api("POST", "/api/v1/jobs", {"name": name, "command": ["true"], "resources": wanted})
        return str(made["job_id"])

    async def states(self, *, gone: bool = False) -> list[str]:
        """Of all machines that the server believes in."""
        listed = await self.api("GET", f"/api/v1/instances{'?gone=true' if gone else ''}")
        return sorted(instance["state"] for instance in listed["items"])

    @property
    def at_work(self) -> list[Machine]:
        """Machines on which something runs now and whose agents the server knows to be here."""
        return [machine for machine in self.machines.values() if machine.agent.connected and machine.agent.running]

    async def finish(self, machine: Machine) -> None:
        (attempt,) = machine.agent.running
        await machine.agent.finish(attempt)

    def asked(self, action: str) -> list[Asked]:
        """Every request of this kind that came, answered or not."""
        return [call for call in self.world.proxy.calls if call.action == action]

    async def until(self, what: str, condition: Callable[[], T | Awaitable[T]]) -> T:
        """The first true value of it; fails, naming `what`, when there is none."""
        try:
            async with asyncio.timeout(PATIENCE):
                while True:
                    found = condition()
                    value: T = await found if isinstance(found, Awaitable) else found
                    if value:
                        return value
                    await asyncio.sleep(_PAUSE)
        except TimeoutError:
            log = await asyncio.to_thread(self.cluster.log, "server")
            raise AssertionError(f"not within {PATIENCE:g} s: {what}\n{log[-6_000:]}") from None

    async def look(self) -> None:
        """Machines that EC2 has come to life, and those that it has ended are switched off; until cancelled."""
        while True:
            there = await self.world.alive()
            for ref in there - self.machines.keys():
                order = order_of(await self.world.user_data(ref))
                self.machines[ref] = Machine(ref, order, self._folder / ref.replace("/", "_"), self.may_boot)
            for ref in self.machines.keys() - there:
                await self.machines.pop(ref).end()
            await asyncio.sleep(_PAUSE)

    async def ever(self) -> dict[str, list[str]]:
        """The refs of all machines there ever were, by the token of the intent that they were brought up for."""
        found: dict[str, list[str]] = {}
        for ref, (_, tags) in (await self.world.machines()).items():
            assert tags.get(CLUSTER_TAG), f"{ref} does not carry our mark"
            found.setdefault(tags.get(TOKEN_TAG, ""), []).append(ref)
        return found


@asynccontextmanager
async def clouded(folder: Path) -> AsyncIterator[Clouded]:
    """Nothing is started yet. At the end no process may be left."""
    config = folder / "styx.toml"
    async with AwsWorld((REGION,)) as world:
        with faulty(folder, STYX_CONFIG=str(config), **LEASES, **KEYS) as cluster:
            config.write_text(
                f'[places]\npublic_url = "{cluster.url}"\nidle_timeout = "10ms"\n'
                f'[providers.aws]\nregions = ["{REGION}"]\nendpoint_url = "{world.proxy.url}"\n'
            )
            it = Clouded(cluster, world, folder / "machines")
            looking = asyncio.create_task(it.look(), name="look at EC2")
            try:
                yield it
                if looking.done():
                    looking.result()
            finally:
                looking.cancel()
                with suppress(asyncio.CancelledError):
                    await looking
                for machine in it.machines.values():
                    await machine.end()


async def _down(socket: Socket, transport: Transport) -> None:
    with suppress(ConnectionError):
        while True:
            await transport.send(await socket.receive())
    await transport.close()


def _goes_on(spec: Spec, run: Run) -> Act:
    return Act(hold=True, stdout=b"at work\n")
