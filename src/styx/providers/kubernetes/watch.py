"""One list and one watch for all pods of one cluster tag in one namespace, for as long as it lasts.

The list gives a version, the watch everything since; bookmarks move the version on while nothing happens. A watch that ends is begun again from
the last version; when that is no longer in the history (410), all is listed again, and what is not in the list is gone. Nothing is
polled: an idle namespace costs a bookmark a minute.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

import msgspec

from styx.aiokit.backoff import Backoff
from styx.errors import StyxError
from styx.providers.base import Refused, Unsure
from styx.providers.kubernetes.api import Cluster
from styx.providers.kubernetes.errors import Gone, translated
from styx.providers.kubernetes.objects import Pod, Status, WatchEvent
from styx.telemetry.log import get

__all__ = ["PodWatch"]

T = TypeVar("T")

log = get("kubernetes")

LASTS = 300  # seconds after which the server ends a watch
SILENCE = 100.0  # seconds without a bookmark, after which the connection may be half open
_LONGEST = 16 << 20  # bytes of one event


class PodWatch:
    """`listing` is called before a list is asked for and gives what hears of its pods; `changed` and `deleted` hear of one pod each."""

    def __init__(
        self,
        cluster: Cluster,
        namespace: str,
        selector: str,
        listing: Callable[[], Callable[[list[Pod]], None]],
        changed: Callable[[Pod], None],
        deleted: Callable[[Pod], None],
    ) -> None:
        self._cluster = cluster
        self._path = f"/api/v1/namespaces/{namespace}/pods"
        self._selector = ("labelSelector", selector)
        self._listing = listing
        self._changed = changed
        self._deleted = deleted
        self.version = ""  # from where to watch; "" when all must be listed first
        self.trouble = ""  # why nothing is heard at present

    async def list(self) -> list[Pod]:
        """All pods now; the watch goes on from here. Raises Refused, Unsure."""
        waits = Backoff(0.1, 5.0)
        while True:
            try:
                raw, version = await self._cluster.pages(self._path, [self._selector])
            except Gone:  # between two pages
                await asyncio.sleep(waits.next())
                continue
            try:
                pods = [msgspec.json.decode(one, type=Pod) for one in raw]
            except msgspec.MsgspecError as error:
                raise Unsure(f"its list of pods cannot be read: {error}") from None
            self.version = version
            return pods

    async def run(self) -> None:
        """Until cancelled."""
        waits = Backoff(0.1, 30.0)
        while True:
            try:
                if not self.version:
                    hear = self._listing()
                    hear(await self.list())
                heard = False
                async for event in self._events():
                    waits.reset()
                    self.trouble, heard = "", True
                    self._take(event)
                if heard:
                    continue  # it came to its end, as it does every few minutes
            except Gone:
                self.version = ""
            except (Refused, Unsure) as error:
                self._note(error)
            await asyncio.sleep(waits.next())

    async def _events(self) -> AsyncIterator[WatchEvent]:
        query = [
            self._selector,
            ("watch", "true"),
            ("allowWatchBookmarks", "true"),
            ("resourceVersion", self.version),
            ("timeoutSeconds", str(LASTS)),
        ]
        async with self._cluster.stream(self._path, query, SILENCE) as pieces:
            rest = b""
            async for piece in pieces:
                *lines, rest = (rest + piece).split(b"\n") if b"\n" in piece else (rest + piece,)
                for line in lines:
                    if line.strip():
                        yield _decoded(line, WatchEvent)
                if len(rest) > _LONGEST:
                    raise Unsure("an event of its watch is longer than any should be")

    def _take(self, event: WatchEvent) -> None:
        if event.type == "ERROR":
            self.version = ""
            said = _decoded(event.object, Status)
            raise translated(self._cluster.context, said.code, msgspec.json.encode(said), {})
        pod = _decoded(event.object, Pod)
        if event.type == "DELETED":
            self._deleted(pod)
        elif event.type in {"ADDED", "MODIFIED"}:
            self._changed(pod)
        self.version = pod.metadata.resource_version or self.version

    def _note(self, error: StyxError) -> None:
        if self.trouble != error.message:
            log.warning("pods cannot be watched at present", reason=error.message)
        self.trouble = error.message


def _decoded(data: bytes | msgspec.Raw, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.MsgspecError as error:
        raise Unsure(f"an event of its watch cannot be read: {error}") from None
