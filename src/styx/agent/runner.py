"""The shell around a session: two conversations, a clock, and the disk.

Each of the two ports has a reader that feeds the session and a writer that sends what has gathered; the session's answers
are carried out in one place, `_perform`. When a connection ends it is opened again after a wait that grows, with jitter
added after the cap so that agents that lost one server together do not come back together.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any

from styx.agent.cellar import NoParcel, ParcelSource
from styx.agent.clock import boottime
from styx.agent.folders import apply
from styx.agent.outbox import Outbox
from styx.agent.ports import Dial, OpenOwner, Port
from styx.agent.results import DropResults, WriteResults
from styx.agent.session import LinkState, Out, Session, Vitals
from styx.aiokit.backoff import Backoff
from styx.aiokit.stall import Stall
from styx.core.states import Outcome
from styx.errors import Busy, NotAllowed, ProtocolError, Revoked, StyxError, Unreachable
from styx.protocol.messages import AgentMessage
from styx.protocol.owner import AgentToOwner, OwnerStart

__all__ = ["AgentRunner", "Refusal"]

SEND_LIMIT = 30.0  # seconds for one batch; a peer that takes longer is gone
PARDON = 600.0  # seconds that a server which had welcomed this agent may refuse its token before that is believed
PARTING = 5.0  # seconds for the last messages of an agent that has drained

log = logging.getLogger("styx.agent")


class Refusal(StyxError):
    """The server, or the owner, will never have this agent."""

    exit_code = 1
    code = "refused"


class AgentRunner:
    """Runs a session with an owner and a server until it has drained. To leave without draining, cancel `run`: programs stay
    with the owner, unless it is tied to this process."""

    def __init__(
        self,
        session: Session,
        open_owner: OpenOwner,
        dial: Dial,
        *,
        vitals: Callable[[], Vitals] = Vitals,
        clock: Callable[[], int] = boottime,
        backoff: Callable[[], Backoff] = lambda: Backoff(0.2, 30.0, jitter=1.0),
        files: Callable[[Iterable[WriteResults | DropResults]], None] = apply,
        parcels: ParcelSource | None = None,
    ) -> None:
        self.session = session
        self._open_owner = open_owner
        self._dial = dial
        self._vitals = vitals
        self._clock = clock
        self._files = files
        self._parcels = parcels
        self._fetching: dict[str, asyncio.Task[None]] = {}
        self._server_backoff = backoff()
        self._owner_backoff = backoff()
        self._to_server: Outbox[AgentMessage] = Outbox()
        self._to_owner: Outbox[AgentToOwner] = Outbox()
        self._redial = asyncio.Event()
        self._reopen = asyncio.Event()
        self._room = asyncio.Event()  # the window has room for more output
        self._room.set()
        self._alarm = asyncio.Event()
        self._alarm_at: int | None = None
        self._retry = 0
        self._unreachable = ""  # the last complaint, so that it is made once
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self) -> None:
        """Returns once drained. Raises NotAllowed, Refusal, or what kept the owner from starting."""
        parts = [
            asyncio.create_task(self._own(), name="agent-owner"),
            asyncio.create_task(self._serve(), name="agent-server"),
            asyncio.create_task(self._watch(), name="agent-clock"),
        ]
        try:
            await asyncio.wait([*parts, self._over], return_when=asyncio.FIRST_COMPLETED)
            for part in parts:
                if part.done():
                    part.result()
            self._over.result()
            await self._part()
        finally:
            parts += self._fetching.values()
            for part in parts:
                part.cancel()
            await asyncio.gather(*parts, return_exceptions=True)

    def drain(self, reason: str = "the agent was asked to stop") -> None:
        """Take nothing new; `run` returns when what runs has ended and all is handed over."""
        self._perform(self.session.drain(self._clock(), reason))

    def preempt(self, reason: str) -> None:
        """The machine is about to be taken away: stop what runs; `run` returns when that is handed over."""
        self._perform(self.session.preempt(self._clock(), reason))

    async def _part(self) -> None:
        """The last words: goodbye to the server, and the owner may go."""
        try:
            async with asyncio.timeout(PARTING):
                if self.session.state is LinkState.WELCOME:
                    await self._to_server.sent()
                await self._to_owner.sent()
        except TimeoutError:
            log.warning("left without having said goodbye to everybody")

    # -- the two conversations ----------------------------------------------------------------------------------

    async def _own(self) -> None:
        while True:
            try:
                port = await self._open_owner()
            except (OSError, StyxError) as error:
                if not self._owner_backoff.failures:
                    log.error("the owner process cannot be reached: %s", error)
                if self._owner_backoff.failures >= 3:
                    raise Refusal(f"the owner process cannot be started: {error}") from error
                await asyncio.sleep(self._owner_backoff.next())
                continue
            self._reopen.clear()
            reason = await self._converse(port, self._to_owner, self._hear_owner, self._reopen, self._room)
            self._perform(self.session.owner_gone(self._clock()))
            self._to_owner.clear()
            if reason:
                log.warning("the owner process is gone: %s", reason)
                await asyncio.sleep(self._owner_backoff.next())

    async def _serve(self) -> None:
        always = asyncio.Event()
        always.set()
        while True:
            port = await self._reach()
            self._redial.clear()
            self._to_server.clear()
            self.session.vitals = self._vitals()  # for the heartbeat that follows the welcome
            self._perform(self.session.connected(self._clock()))
            reason = await self._converse(port, self._to_server, self._hear_server, self._redial, always)
            self._perform(self.session.disconnected(self._clock()))
            wait = self._retry / 1_000 + self._server_backoff.next()
            self._retry = 0
            log.warning(
                "the link to the server ended%s; dialling again in %.1f s", f": {reason}" if reason else "", wait
            )
            await asyncio.sleep(wait)

    async def _reach(self) -> Any:
        """A connection to the server, however long it takes. A token that was good, and is not known now, may be again: a proxy
        stands in between, or the server was restored from a backup and somebody is mending it."""
        refused_at: int | None = None
        while True:
            try:
                port = await self._dial()
            except (Unreachable, Busy, NotAllowed) as error:
                if isinstance(error, NotAllowed):
                    now = self._clock()
                    refused_at = now if refused_at is None else refused_at
                    known = self.session.heard_at is not None
                    if not known or isinstance(error, Revoked) or now - refused_at >= PARDON * 1_000:
                        raise
                wait = self._server_backoff.next()
                if isinstance(error, Busy):
                    wait += error.retry_after
                if error.message != self._unreachable:
                    self._unreachable = error.message
                    log.warning("%s; trying on", error.message)
                await asyncio.sleep(wait)
            else:
                self._unreachable = ""
                return port

    async def _converse(
        self,
        port: Port[Any, Any],
        outbox: Outbox[Any],
        hear: Callable[[list[Any]], None],
        hang_up: asyncio.Event,
        may_read: asyncio.Event,
    ) -> str:
        """Read and write until the other side is gone, or until told to hang up; says why it ended."""

        async def read() -> None:
            while True:
                await may_read.wait()
                hear(await port.recv())

        async def write() -> None:
            with Stall(SEND_LIMIT) as sending:
                while True:
                    batch = await outbox.take()
                    sending.begins()
                    await port.send(batch)
                    sending.ends()

        parts = [asyncio.create_task(part) for part in (read(), write(), _until(hang_up))]
        try:
            done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            for part in done:
                part.result()
        except TimeoutError:
            return f"it took nothing for {SEND_LIMIT:g} s"
        except (ConnectionError, ProtocolError) as error:
            return str(error) or type(error).__name__
        finally:
            for part in parts:
                part.cancel()
            await asyncio.gather(*parts, return_exceptions=True)
            await port.close()
        return ""

    def _hear_server(self, messages: list[Any]) -> None:
        self._perform(self.session.received_all(messages, self._clock()))
        if self.session.state is LinkState.WELCOME:
            self._server_backoff.reset()

    def _hear_owner(self, messages: list[Any]) -> None:
        self._owner_backoff.reset()
        self._perform(self.session.owner_said_all(messages, self._clock()))

    # -- time, and what the session answers ---------------------------------------------------------------------

    async def _watch(self) -> None:
        """Call `tick` when the session wants it."""
        while True:
            self._alarm.clear()
            self._alarm_at = at = self.session.wake_at
            try:
                async with asyncio.timeout(None if at is None else max(0, at - self._clock()) / 1_000):
                    await self._alarm.wait()
            except TimeoutError:
                now = self._clock()
                if self.session.beat_due(now):
                    self.session.vitals = self._vitals()
                self._perform(self.session.tick(now))

    def _perform(self, out: Out) -> None:
        for note in out.notes:
            log.info("%s", note)
        if out.refused and not self._over.done():
            self._over.set_exception(Refusal(out.refused))
        if out.files:
            try:
                self._files(out.files)
            except OSError as error:
                self._give_back(out, f"the results it needs cannot be written: {error}")
        if out.reopen:
            self._to_owner.clear()
            self._reopen.set()
        if out.to_owner:
            self._to_owner.put(out.to_owner)
        for sha256 in out.fetch:
            self._begin_fetch(sha256)
        if out.redial:
            self._retry = max(self._retry, out.retry)
            self._redial.set()
        elif out.to_server:
            self._to_server.put(out.to_server)
        if self.session.paused:
            self._room.clear()
        else:
            self._room.set()
        if self.session.finished and not self._over.done():
            self._over.set_result(None)
        at = self.session.wake_at
        if at is not None and (self._alarm_at is None or at < self._alarm_at):
            self._alarm.set()

    def _begin_fetch(self, sha256: str) -> None:
        under_way = self._fetching.get(sha256)
        if under_way is None or under_way.done():
            self._fetching[sha256] = asyncio.create_task(self._fetch(sha256), name="agent-parcel")

    async def _fetch(self, sha256: str) -> None:
        """Get one parcel, however long it takes, as long as anything waits for it."""
        waits = Backoff(0.2, 10.0)
        while self.session.parcels.wanted(sha256):
            try:
                if self._parcels is None:
                    raise NoParcel("packed working folders do not come to this agent", Outcome.REJECTED)
                path = await self._parcels.fetch(sha256)
            except NoParcel as error:
                self._perform(self.session.unfetched(sha256, error.outcome, error.message, self._clock()))
                break
            except (Unreachable, Busy, NotAllowed) as error:
                if not waits.failures:
                    log.warning("%s; trying on", error.message)
                await asyncio.sleep(waits.next())
            else:
                for gone in self._parcels.tidy(self.session.parcels.used, idle=not self.session.holdings):
                    self.session.parcels.dropped(gone)
                self._perform(self.session.fetched(sha256, path, self._clock()))
                break
        self._fetching.pop(sha256, None)

    def _give_back(self, out: Out, reason: str) -> None:
        """The disk did not take the files: what needs them is not started."""
        folders = {order.folder for order in out.files}
        starts = [order for order in out.to_owner if isinstance(order, OwnerStart) and order.results in folders]
        out.to_owner = [order for order in out.to_owner if order not in starts]
        for start in starts:
            answer = self.session.unable(start, reason, self._clock())
            out.to_server += answer.to_server
            out.to_owner += answer.to_owner


async def _until(event: asyncio.Event) -> None:
    await event.wait()
