"""The hub: which agent is connected over which link, and what their messages mean.

Effects name nodes, so the core never sees a link. A node has at most one: a second connection of the same agent replaces the
first, which is how a half-open connection ends. Heartbeats are answered here, at once; they never enter the core, whose
only news of an agent is that it connected, is suspect, or is lost.

Every frame counts as a sign of life: the agent's own lease counts from the heartbeats that we acknowledged, so ours can
only be the longer one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from functools import partial
from typing import Any

from styx.core.events import AgentConnected, AgentDrained, AgentLost, AgentSuspected, AttemptEnding, AttemptsReported
from styx.core.states import Outcome
from styx.errors import ProtocolError, StoreError
from styx.protocol.codec import decode_agent, encode
from styx.protocol.messages import (
    VERSION,
    Bye,
    Heartbeat,
    Hello,
    Output,
    Refused,
    Report,
    ServerMessage,
    Welcome,
)
from styx.runtime.clock import Clock
from styx.runtime.collector import Collector
from styx.runtime.credentials import Credentials
from styx.runtime.handshakes import Handshakes, read_hello, unfit
from styx.runtime.leases import Leases
from styx.runtime.link import Link, LinkSettings
from styx.runtime.loop import Entry, Loop
from styx.runtime.peers import Peer, Peers
from styx.runtime.transport import Transport
from styx.store.base import ReportMark
from styx.telemetry.log import get
from styx.telemetry.metrics import Family

__all__ = ["Hub"]

log = get("links")

_PORTION = 200  # attempts of a report that the core hears of in one event
COME_BACK = 5_000  # milliseconds until an agent may come back to a server that cannot have it now


class Hub:
    def __init__(
        self,
        loop: Loop,
        clock: Clock,
        output: Collector,
        *,
        incarnation: str,
        settings: LinkSettings,
        marks: Iterable[ReportMark] = (),
        handshakes: Family,
        peers: Peers,
        credentials: Credentials,
    ) -> None:
        self._peers = peers
        self.credentials = credentials
        self._loop = loop
        self._clock = clock
        self._output = output
        self._incarnation = incarnation
        self._settings = settings
        self._handshakes = Handshakes(settings.handshakes, max(1, int(settings.handshakes)))
        self.leases = Leases(suspect=settings.suspect, lost=settings.lost, tick=max(1, settings.suspect // 45))
        self._seen = {mark.agent: (mark.session, mark.number) for mark in marks}
        self._acked = dict(self._seen)
        self._by_agent: dict[str, Link] = {}
        self._by_node: dict[int, Link] = {}
        self._closing = ""
        self.handshakes = handshakes
        self.joined = asyncio.Event()  # some agent was let in since the start
        self._handlers: dict[type, Callable[[Link, Any], None]] = {
            Heartbeat: self._heartbeat,
            Report: self._report,
            Output: Link.put_aside,
            Bye: self._bye,
        }

    def link(self, node: int) -> Link | None:
        """The link of a node that is connected now."""
        return self._by_node.get(node)

    def beat(self, node: int) -> Heartbeat | None:
        """The latest figures of a node that is connected; None until its first heartbeat."""
        link = self._by_node.get(node)
        return link.beat if link is not None and link.beat.number else None

    def silence(self, node: int, seen_at: int) -> float:
        """Seconds since the last sign of life; `seen_at` (epoch milliseconds) counts when it has no lease."""
        silence = self.leases.silence(node, self._clock.elapsed())
        return max(0, silence if silence >= 0 else self._clock.now() - seen_at) / 1_000

    def send(self, node: int, message: ServerMessage, size: int, held: int = 0) -> None:
        """Queue a message (see `Outbox.put`). Without a link it is dropped: the next Hello puts it right."""
        link = self._by_node.get(node)
        if link is not None:
            link.outbox.put(message, size, held)
            if link.outbox.overflowed:
                self._end(link, "more waited for it than may")

    def give_up(self, node: int, attempts: Iterable[int], reason: str) -> None:
        """These cannot be sent to their node, now or ever: they have failed."""
        endings = tuple(AttemptEnding(attempt, Outcome.EXITED, 1, reason=reason) for attempt in attempts)
        self._loop.post(AttemptsReported(node, (), endings))

    def recover(self) -> None:
        """Begin the leases of all nodes anew: nobody has been heard of since this server started."""
        at = self._clock.elapsed()
        for node in self._loop.engine.world.nodes.values():
            if node.agent and not node.lost:
                self.leases.watch(node.id, at)

    async def connect(
        self, transport: Transport, peer: Peer | None = None, renewed: Callable[[int], None] = lambda token: None
    ) -> None:
        """Serve one connection until it ends. Errors of the peer end the link, and never leave here. `peer` is whose token opened
        it, None for an agent within this process; `renewed` hears of each token that takes its place."""
        frames = aiter(transport)
        try:
            hello, rest = await read_hello(frames)
            self._knocked(hello)
            refusal = unfit(hello)
            if refusal is None and peer is not None:
                refusal = await self._peers.refusal(peer, hello)
            refusal = refusal or self._refusal()
            if refusal is not None:
                self.handshakes.add("refused")
                log.warning("agent refused", agent=hello.agent, reason=refusal.reason)
                await transport.send(encode([refusal]))
                return
            labels = hello.labels if peer is None else peer.labels(hello.labels)
            link = self._admit(hello, labels, transport)
            if peer is None or not peer.parent:
                await self._serve(link, frames, rest)
                return
            renewing = asyncio.create_task(self.credentials.keep(link, peer, renewed), name=f"credential {link.agent}")
            try:
                await self._serve(link, frames, rest)
            finally:
                renewing.cancel()
                await asyncio.wait([renewing])
        except ProtocolError as error:
            self.handshakes.add("refused")
            log.warning("agent refused", reason=error.message)
            await self._tell(transport, Refused(error.message))
        except StoreError as error:
            await self._tell(transport, Refused(error.message, retry=COME_BACK))
        except (ConnectionError, TimeoutError):
            return
        finally:
            await transport.close()

    async def _serve(self, link: Link, frames: AsyncIterator[bytes], rest: list[Any]) -> None:
        writer = asyncio.create_task(link.write(), name=f"link-write {link.agent}")
        collecting = asyncio.create_task(self._collect(link), name=f"link-output {link.agent}")
        try:
            await self._read(link, frames, rest)
        except ProtocolError as error:
            self._blame(link, error)
        finally:
            self._end(link, "the agent closed the link")
            collecting.cancel()
            await asyncio.wait([writer, collecting])
        await writer

    async def _collect(self, link: Link) -> None:
        try:
            async for message in link.intake():
                await self._output.write(link, message)
        except ProtocolError as error:
            self._blame(link, error)
        except StoreError as error:
            self._end(link, f"its output cannot be stored: {error.message}")

    def _blame(self, link: Link, error: ProtocolError) -> None:
        """The agent broke the protocol: tell it so, and close. It may come back, since its programs need it."""
        link.outbox.put(Refused(error.message, retry=COME_BACK))
        self._end(link, error.message)

    def tick(self) -> None:
        """Look at the leases; called every `leases.interval` milliseconds. While a commit waits for room no agent can come back, and
        that is not its fault: the leases stand still."""
        for event in self.leases.tick(self._clock.elapsed(), paused=self._loop.committer.blocked):
            self._loop.post(event)
            log.warning("agent lost" if isinstance(event, AgentLost) else "agent suspect", node=event.node)
            link = self._by_node.get(event.node)
            if link is not None:
                # It was silent for too long. Only a new Hello makes it trusted again, so that both sides agree.
                self._end(link, "no heartbeat came")

    def close(self, reason: str = "the server is going down") -> None:
        """Say goodbye to every agent. Their programs go on; they come back when the server does."""
        self._closing = reason
        for link in list(self._by_agent.values()):
            link.outbox.put(Bye(reason=reason))
            link.end(reason)

    def _refusal(self) -> Refused | None:
        if self._closing:
            return Refused(self._closing, retry=COME_BACK)
        if self._loop.committer.blocked:
            return Refused(f"the server cannot write: {self._loop.committer.full}", retry=COME_BACK)
        wait = self._handshakes.admit(self._clock.elapsed())
        return Refused("too many agents connect at once", retry=wait) if wait else None

    def _knocked(self, hello: Hello) -> None:
        """A hello is a sign of life even if the agent cannot be let in now, and before it is on disk."""
        node = self._loop.engine.world.by_agent.get(hello.agent)
        if node is not None and node in self.leases:
            self.leases.beat(node, self._clock.elapsed())

    def _admit(self, hello: Hello, labels: tuple[tuple[str, str], ...], transport: Transport) -> Link:
        link = Link(hello, transport, outbox_limit=self._settings.outbox)
        before = self._by_agent.get(hello.agent)
        if before is not None:
            self._forget(before)
            before.end("the agent connected again")
        self._by_agent[hello.agent] = link
        session, number = self._seen.get(hello.agent, ("", 0))
        link.seen = number if session == hello.session else 0
        foreign = bool(hello.incarnation) and hello.incarnation != self._incarnation
        event = AgentConnected(
            hello.agent,
            hello.name,
            hello.host,
            hello.boot,
            hello.release,
            hello.capacity,
            labels,
            () if foreign else hello.held,
        )
        self._loop.put(Entry(event, committed=partial(self._welcome, link)))
        known = self._loop.engine.world.by_agent.get(hello.agent)
        if hello.draining and known is not None:
            self._loop.post(AgentDrained(known))  # in the same turn as its hello, before anything is placed
        return link

    def _welcome(self, link: Link) -> None:
        """The agent's hello is on disk: bind its node, and let it in before any order goes out."""
        node = self._loop.engine.world.by_agent[link.agent]
        self.leases.beat(node, self._clock.elapsed())
        current = self._by_agent.get(link.agent)
        if current is not link:
            if current is None:  # the link broke while its hello was on its way to the disk
                self._suspect(node)
            return
        link.node = node
        self._by_node[node] = link
        session, number = self._acked.get(link.agent, ("", 0))
        settings = self._settings
        link.outbox.put(
            Welcome(
                VERSION,
                self._incarnation,
                link.node,
                number if session == link.session else 0,
                settings.heartbeat,
                settings.lost,
                settings.release,
            )
        )
        if link.draining:
            self._loop.post(AgentDrained(node))
        self.handshakes.add("let in")
        log.info("agent connected", agent=link.agent, node=node)
        self.joined.set()
        if not link.welcomed.done():
            link.welcomed.set_result(True)

    async def _read(self, link: Link, frames: AsyncIterator[bytes], rest: list[Any]) -> None:
        if not await link.welcomed:
            return
        self._deal(link, rest)
        async for frame in frames:
            if link.ended:
                return
            self.leases.beat(link.node, self._clock.elapsed())
            self._deal(link, decode_agent(frame))

    def _deal(self, link: Link, messages: list[Any]) -> None:
        handlers = self._handlers
        for message in messages:
            handler = handlers.get(type(message))
            if handler is None:
                raise ProtocolError("an agent says hello only once")
            handler(link, message)

    def _heartbeat(self, link: Link, message: Heartbeat) -> None:
        link.beat = message
        link.outbox.beat(message.number)

    def _report(self, link: Link, message: Report) -> None:
        if message.number <= link.seen:
            return  # sent again because its Ack did not arrive; the Ack is on its way, or was in Welcome
        link.seen = message.number
        self._seen[link.agent] = (link.session, message.number)
        started, ended = message.started, message.ended
        while len(started) + len(ended) > _PORTION:  # no step is to work longer than others can wait
            self._loop.post(AttemptsReported(link.node, started[:_PORTION], () if started else ended[:_PORTION]))
            started, ended = started[_PORTION:], ended if started else ended[_PORTION:]
        self._loop.put(
            Entry(
                AttemptsReported(link.node, started, ended),
                mark=ReportMark(link.agent, link.session, message.number),
                committed=partial(self._reported, link.agent, link.session, message.number),
            )
        )

    def _reported(self, agent: str, session: str, number: int) -> None:
        self._acked[agent] = (session, number)
        link = self._by_agent.get(agent)
        if link is not None and link.session == session:
            link.outbox.ack(number)

    def _bye(self, link: Link, message: Bye) -> None:
        link.gone = message.gone
        self._loop.post(AgentDrained(link.node, message.gone))

    def _end(self, link: Link, reason: str) -> None:
        """Close a link; if it is still the agent's one, nothing new is to be placed there."""
        if self._by_agent.get(link.agent) is link:
            self._forget(link)
            log.info("link closed", agent=link.agent, reason=reason)
            if link.gone and not self._loop.engine.world.nodes[link.node].held:
                self.leases.drop(link.node)  # it left for good, and nothing of ours is there
            elif link.node:
                self._suspect(link.node)
        link.end(reason)

    def _suspect(self, node: int) -> None:
        self.leases.suspected(node)
        self._loop.post(AgentSuspected(node))

    def _forget(self, link: Link) -> None:
        if self._by_agent.get(link.agent) is link:
            del self._by_agent[link.agent]
        if self._by_node.get(link.node) is link:
            del self._by_node[link.node]

    async def _tell(self, transport: Transport, message: ServerMessage) -> None:
        try:
            await transport.send(encode([message]))
        except ConnectionError:
            return
