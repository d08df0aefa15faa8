"""What is done to the cluster of a plan: callers that submit, cancel and retry, and every fault.

Each kind of item has one verb here. A verb returns when its fault is over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from random import Random
from typing import Any

from styx.errors import Busy, StoreError, StyxError, Unreachable
from styx.testing.simulator.disk import Disk
from styx.testing.simulator.listening import Listening
from styx.testing.simulator.machine import Machine
from styx.testing.simulator.network import Network
from styx.testing.simulator.plan import Item
from styx.testing.simulator.server import Server, Verbs
from styx.testing.simulator.timeloop import TimeLoop

__all__ = ["Deeds"]


class Deeds:
    """`last_look` is taken at the server just before it is killed; `note` and `wrong` write the script of the run."""

    def __init__(
        self,
        loop: TimeLoop,
        chance: Random,
        server: Server,
        machines: dict[str, Machine],
        network: Network,
        disk: Disk,
        listening: Listening,
        *,
        last_look: Callable[[], None],
        note: Callable[..., None],
        wrong: Callable[[str], None],
    ) -> None:
        self._loop = loop
        self._chance = chance
        self._server = server
        self._machines = machines
        self._network = network
        self._disk = disk
        self._listening = listening
        self._last_look = last_look
        self._note = note
        self._wrong = wrong
        self._crash_in = 0  # crash points until the server is killed
        self._jobs: dict[int, str] = {}  # submission -> the job's id
        self.callers: list[asyncio.Task[None]] = []
        self._acts: dict[str, Callable[[Item], Coroutine[Any, Any, None]]] = {
            "submit": self._submit,
            "cancel": self._cancel,
            "retry": self._retry,
            "cut": self._cut,
            "break": self._break,
            "crash agent": self._crash_agent,
            "kill owner": self._kill_owner,
            "break owner": self._break_owner,
            "reboot": self._reboot,
            "drain": self._drain,
            "crash server": self._crash_server,
            "stop server": self._stop_server,
            "stall server": self._stall_server,
            "suspend": self._suspend,
            "disk full": self._disk_full,
            "slow disk": self._slow_disk,
        }

    def begin(self, item: Item) -> None:
        """Its time has come."""
        self._note("> %s", item)
        self.callers.append(self._loop.create_task(self._acts[item.kind](item)))

    async def _ask(self, what: str, verb: Callable[[Verbs], Awaitable[Any]], again: bool) -> Any:
        """A caller that tries until it has an answer, if it may; None when it has none."""
        said, wait = "", 1.0
        while True:
            try:
                answer = await self._server.call(verb)
            except (Unreachable, Busy, StoreError) as error:
                if str(error) != said:
                    said = str(error)
                    self._note("%s: %s", what, error)
                if not again:
                    return None
                await asyncio.sleep(wait + self._chance.random())
                wait = min(wait * 1.5, 15.0)
            except StyxError as error:
                self._note("%s: refused: %s", what, error)
                return None
            else:
                return answer

    async def _submit(self, item: Item) -> None:
        job = item.job
        assert job is not None
        created = await self._ask(job.name, lambda verbs: verbs.submissions.submit(job, key=item.key), bool(item.key))
        if created is None:
            return
        self._note("%s is job %s", job.name, created.job_id)
        if self._jobs.setdefault(item.number, created.job_id) != created.job_id:
            self._wrong(f"submission {item.number} became {self._jobs[item.number]} and {created.job_id}")
        if await self._disk.find_jobs(created.job_id.replace("-", "")[:31]) == []:
            self._wrong(f"job {created.job_id} was answered and is not on the disk")

    async def _cancel(self, item: Item) -> None:
        reference = self._reference(item)
        if reference:
            done = await self._ask(f"cancel {reference}", lambda verbs: verbs.wishes.cancel(reference, ""), True)
            self._note("cancel %s: %s", reference, done)

    async def _retry(self, item: Item) -> None:
        reference = self._reference(item)
        if reference:
            reference = reference.partition(".")[0]
            failed = item.how == "failed"
            count = await self._ask(
                f"retry {reference}", lambda verbs: verbs.wishes.retry(reference, failed=failed, start=""), False
            )
            self._note("retry %s: %s", reference, count)

    def _reference(self, item: Item) -> str:
        submission, task, index = item.target
        job = self._jobs.get(submission, "")
        if not job or task < 0:
            return job
        return f"{job}/t{task}" if index < 0 else f"{job}/t{task}.{index}"

    async def _cut(self, item: Item) -> None:
        for name in item.who:
            self._network.sever(name)
        await asyncio.sleep(item.lasts / 1_000)
        for name in item.who:
            self._network.heal(name)
        self._note("< cut of %s", item.who)

    async def _break(self, item: Item) -> None:
        for name in item.who:
            for wire in self._network.of(name):
                wire.reset(self._chance, item.how)

    async def _crash_agent(self, item: Item) -> None:
        for name in item.who:
            self._machines[name].crash()
        await asyncio.sleep(item.lasts / 1_000)
        self._back(item)

    async def _kill_owner(self, item: Item) -> None:
        for name in item.who:
            self._machines[name].kill_owner()

    async def _break_owner(self, item: Item) -> None:
        for name in item.who:
            self._machines[name].snap_owner()

    async def _reboot(self, item: Item) -> None:
        for name in item.who:
            self._machines[name].reboot()
        await asyncio.sleep(item.lasts / 1_000)
        self._back(item)

    async def _drain(self, item: Item) -> None:
        for name in item.who:
            self._machines[name].drain()

    def _back(self, item: Item) -> None:
        for name in item.who:
            self._note("< %s starts again", name)
            self._machines[name].start()

    async def _crash_server(self, item: Item) -> None:
        if item.number:
            self._crash_in = item.number
            await asyncio.sleep(5)
            if not self._crash_in:  # it came to that point, and was killed
                await asyncio.sleep(item.lasts / 1_000)
                self.start_server()
            self._crash_in = 0
            return
        self._kill_server("at once")
        await asyncio.sleep(item.lasts / 1_000)
        self.start_server()

    async def _stop_server(self, item: Item) -> None:
        await self._server.stop()
        self._listening.pause(self._loop.now())
        self._note("the server has shut down")
        await asyncio.sleep(item.lasts / 1_000)
        self.start_server()

    async def _stall_server(self, item: Item) -> None:
        process = self._server.process
        if process is None or not process.alive or process.stalled:
            return
        process.stalled = True
        self._listening.pause(self._loop.now())
        await asyncio.sleep(item.lasts / 1_000)
        if process.alive:
            self._listening.begin(self._loop.now())
            process.resume(self._chance)
            self._note("< the server goes on")

    async def _suspend(self, item: Item) -> None:
        now = self._loop.now()
        listening = self._server.up
        self._listening.pause(now)
        self._loop.jump(item.lasts)
        if listening:
            self._listening.begin(self._loop.now())

    async def _disk_full(self, item: Item) -> None:
        self._disk.full += 1
        await asyncio.sleep(item.lasts / 1_000)
        self._disk.full -= 1
        self._note("< the disk has room again")

    async def _slow_disk(self, item: Item) -> None:
        self._disk.slow, before = 4.0, self._disk.slow
        await asyncio.sleep(item.lasts / 1_000)
        self._disk.slow = before

    def start_server(self) -> None:
        if self._server.process is None or not self._server.process.alive:
            self._note("< the server starts")
            self._server.start()

    def _kill_server(self, where: str) -> None:
        if self._server.process is None or not self._server.process.alive:
            return
        self._note("the server is killed %s", where)
        self._last_look()
        self._listening.pause(self._loop.now())
        self._server.kill()

    def point(self, where: str) -> None:
        """The server may be killed here."""
        if self._crash_in:
            self._crash_in -= 1
            if not self._crash_in:
                self._kill_server(where)
                raise asyncio.CancelledError
