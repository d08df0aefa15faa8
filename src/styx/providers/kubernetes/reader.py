"""Reads the logs of pods to their ends, some at a time.

A running pod has one connection that follows its log. There are so many slots; where more pods run, each gives its slot up after a turn and
lines up again, so that all come on. A pod that has ended is read once more from where its log stood, without following, since a connection that broke may
look like one that came to its end. If the node has removed the container by then, as it does soon after a deletion, the end that was seen
must do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from styx.aiokit.backoff import Backoff
from styx.errors import StyxError
from styx.providers.base import Kind, Refused, Unsure
from styx.providers.kubernetes.api import Cluster
from styx.providers.kubernetes.beginnings import LARGE, Beginnings
from styx.providers.kubernetes.errors import Absent, Gone
from styx.providers.kubernetes.logs import LogPosition, missing
from styx.providers.kubernetes.pod import TASK

__all__ = ["LogReader"]

SILENCE = 300.0  # seconds without a byte, after which a connection is made anew: it may be half open
TURN = 10.0  # seconds that a pod keeps its slot while others wait
PARTING = 5.0  # seconds in which the connection of a pod that has ended should have come to its end
PATIENCE = 30.0  # seconds in which the log of a pod that has ended is tried for


class LogReader:
    def __init__(self, cluster: Cluster, namespace: str, slots: int, beginnings: Beginnings) -> None:
        self._beginnings = beginnings
        self._cluster = cluster
        self._namespace = namespace
        self._slots = asyncio.Semaphore(slots)
        self._waiting = 0

    async def read(
        self,
        name: str,
        ended: asyncio.Event,
        out: Callable[[bytes], None],
        room: Callable[[], Awaitable[None]],
        cut: Callable[[], None],
    ) -> None:
        """All of a pod's log, until it has `ended` and is read to its end. What cannot be read is marked in it; `cut` is called first
        when that is its beginning."""
        position = LogPosition(await asyncio.to_thread(self._beginnings.of, name))
        waits = Backoff(0.2, 10.0)
        tried_since, came_to_end = 0.0, False
        loop = asyncio.get_running_loop()
        while True:
            last = ended.is_set()
            before = position.total
            try:
                came_to_end = await self._in_turn(name, position, ended, out, room, cut)
            except (Refused, Unsure, Gone) as error:
                tried_since = tried_since or loop.time()
                if last and (_removed(error) or loop.time() - tried_since > PATIENCE):
                    if not came_to_end or not _removed(error):
                        out(missing(error.message))
                    return
                trouble: StyxError | None = error
                came_to_end = came_to_end and position.total == before
            else:
                trouble = None
                tried_since = 0.0
                if last:
                    return
            if position.total > before:
                waits.reset()
            if trouble is not None and last:
                await asyncio.sleep(waits.next())
            elif not last:
                await _until(ended, waits.next())

    async def forget(self, name: str) -> None:
        """Nobody will read it again."""
        await asyncio.to_thread(self._beginnings.drop, name)

    async def _in_turn(
        self,
        name: str,
        position: LogPosition,
        ended: asyncio.Event,
        out: Callable[[bytes], None],
        room: Callable[[], Awaitable[None]],
        cut: Callable[[], None],
    ) -> bool:
        """One connection; whether it came to its end by itself."""
        self._waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self._waiting -= 1
        try:
            follow = not ended.is_set()
            query = [("container", TASK), ("timestamps", "true")]
            if follow:
                query.append(("follow", "true"))
            if position.since:
                query.append(("sinceTime", position.since))
            position.resume()
            path = f"/api/v1/namespaces/{self._namespace}/pods/{name}/log"
            async with asyncio.timeout(None) as limit:
                cutting = asyncio.create_task(self._cut(limit, ended)) if follow else None
                try:
                    async with self._cluster.stream(path, query, SILENCE) as pieces:
                        async for piece in pieces:
                            for data in position.feed(piece):
                                if position.late and position.total == len(data):
                                    cut()
                                out(data)
                            if position.total > LARGE and not position.noted:
                                position.noted = True
                                await asyncio.to_thread(self._beginnings.keep, name, position.begun)
                            await room()
                finally:
                    if cutting is not None:
                        cutting.cancel()
        except TimeoutError:
            return False  # its turn is over, or it has ended
        finally:
            self._slots.release()
        return True

    async def _cut(self, limit: asyncio.Timeout, ended: asyncio.Event) -> None:
        """End a connection that follows when its turn is over, or its pod has ended and it does not notice."""
        while not await _until(ended, TURN):
            if self._waiting:
                limit.reschedule(0)
                return
        limit.reschedule(asyncio.get_running_loop().time() + PARTING)


def _removed(error: StyxError) -> bool:
    """Whether the pod, or its container, is not there any more."""
    return isinstance(error, Absent) or (isinstance(error, Refused) and error.kind is Kind.INVALID)


async def _until(event: asyncio.Event, seconds: float) -> bool:
    """Wait for it, at most so long; whether it has come."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
