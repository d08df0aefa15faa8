"""One namespace of a cluster as a Runner: each attempt is a pod.

What is so comes from the watch, and from nothing else; calls only ask for changes. An attempt's entry here is made before its pod is asked
for, so whatever the watch shows of it finds its place; what follows from that for the attempt is its `course`. Only when its end is on
the server's disk is a pod let go of.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from urllib.parse import quote

from styx.core.resources import Resources
from styx.core.states import Outcome
from styx.providers.base import CLUSTER_TAG, Context, Found, Kind, Refused, RunOrder, Sink
from styx.providers.kubernetes.api import Cluster
from styx.providers.kubernetes.background import Background, insist
from styx.providers.kubernetes.beginnings import Beginnings
from styx.providers.kubernetes.calls import LATE, Calls
from styx.providers.kubernetes.course import Course
from styx.providers.kubernetes.entry import Entry
from styx.providers.kubernetes.objects import Pod
from styx.providers.kubernetes.outcome import RUNNING, judge
from styx.providers.kubernetes.pod import CannotMake, attempt_of, name_of, note_of, noted, pod_of, secret_of
from styx.providers.kubernetes.reader import LogReader
from styx.providers.kubernetes.settings import Place
from styx.providers.kubernetes.strangers import Strangers
from styx.providers.kubernetes.watch import PodWatch

__all__ = ["Pods"]

_AGAIN = 5.0  # seconds until a watch is begun again that a bug has ended


class Pods:
    """See `base.Runner`."""

    adopts = True

    def __init__(self, cluster: Cluster, place: Place, context: Context) -> None:
        self._cluster = cluster
        self._place = place
        self._context = context
        self._background = Background()
        self._calls = Calls(cluster, place.namespace)
        beginnings = Beginnings(context.home / "providers" / "kubernetes-logs" / quote(place.name, safe=""))
        self._reader = LogReader(cluster, place.namespace, place.logs, beginnings)
        self._course = Course(self._calls, self._reader, place, context, self._background)
        self._entries: dict[int, Entry] = {}
        self._strangers = Strangers(self._calls, context, self._entries.__contains__, self._background.begin)
        self._careful_until = 0.0
        self._watch: PodWatch | None = None
        self._watching: asyncio.Task[None] | None = None

    @property
    def capacity(self) -> Resources:
        return self._place.capacity

    @property
    def at_once(self) -> int:
        return self._place.pods

    @property
    def labels(self) -> tuple[tuple[str, str], ...]:
        place = self._place
        return (("provider", "kubernetes"), ("region", place.context), ("runs", "image"), ("zone", place.namespace))

    @property
    def trouble(self) -> str:
        """Why the cluster is not heard of at present; "" while it is."""
        return self._watch.trouble if self._watch is not None else ""

    # -- the port -------------------------------------------------------------------------------------------------

    async def open(self, cluster: str, sink: Sink) -> list[Found]:
        self._course.sink = sink
        self._entries.clear()  # of a call before, which failed
        selector = f"{CLUSTER_TAG}={cluster}"
        watch = PodWatch(self._cluster, self._place.namespace, selector, self._listing, self._changed, self._deleted)
        pods = await watch.list()
        secrets = await self._calls.secrets(selector)
        before = await asyncio.to_thread(self._strangers.remember, self._place.name, cluster)
        # What a server before this one asked for may be on its way still, so names are kept taken for as long as that can be.
        self._careful_until = asyncio.get_running_loop().time() + LATE if before in {None, cluster} else 0.0
        found = []
        for pod in pods:
            attempt = attempt_of(pod)
            entry = Entry(attempt, pod.metadata.name, noted(pod))
            secret = secrets.get(pod.metadata.uid)
            if attempt < 0 or (entry.note.secret and secret is None and not _begun(pod)):
                continue  # it cannot have started: its order comes again
            entry.created = True
            self._entries[attempt] = entry
            found.append(self._course.found(entry, pod, secret))
        self._watch = watch
        self._begin_watch()
        self._background.begin("first look", self._first_look(pods))
        if before and before != cluster:
            self._background.begin("another database", self._strangers.of_another_database(before))
        return found

    async def start(self, order: RunOrder) -> None:
        attempt = order.run.attempt
        entry = self._entries.get(attempt)
        if entry is not None and (entry.created or entry.ending is not None):
            return
        self._strangers.settled(attempt)
        if entry is None:
            entry = self._entries[attempt] = Entry(attempt, name_of(order.cluster, attempt), note_of(order))
        if attempt in self._strangers.late:
            self._course.never(entry, Outcome.LOST, 0, "its pod came late, and was removed")
            return
        try:
            manifest = pod_of(order, self._place)
            secret_of(order, "")
        except CannotMake as error:
            self._course.never(entry, Outcome.EXITED, 126, str(error))
            return
        try:
            pod = await self._calls.create(entry, manifest)
            await self._calls.create_secret(entry, order, pod)
        except Refused as error:
            entry.pod = None
            if error.kind is not Kind.INVALID:
                raise
            self._course.never(entry, Outcome.EXITED, 126, error.message)
            return
        entry.created = True
        if entry.pod is None or entry.uid != pod.metadata.uid:
            entry.pod = pod
        self._course.look(entry, entry.pod)

    async def stop(self, attempt: int, grace: float) -> None:
        entry = self._entries.get(attempt)
        if entry is not None:
            await self._course.stop(entry, grace)

    async def forget(self, attempt: int) -> None:
        entry = self._entries.get(attempt)
        if entry is None:
            return
        left = max(entry.keep_until, self._careful_until) - asyncio.get_running_loop().time()
        if left > 0:
            entry.alarm("let go", left, self._let_go_later)
        else:
            await self._let_go_of(entry)

    def _let_go_later(self, entry: Entry) -> None:
        let_go = insist("a pod that has ended", lambda: self._let_go_of(entry), self._context)
        self._background.begin("let go", let_go)

    async def _let_go_of(self, entry: Entry) -> None:
        if entry.pod is not None:
            await self._reader.forget(entry.name)  # first: once the pod is gone, no server would know of this any more
            await self._calls.remove(entry.pod)
        self._drop(entry)

    def _drop(self, entry: Entry) -> None:
        self._entries.pop(entry.attempt, None)
        entry.quiet()
        if entry.reading is not None and not entry.reading.done():
            entry.reading.cancel()
        self._strangers.let_go(entry.uid)

    async def close(self) -> None:
        self._course.sink = None
        for entry in self._entries.values():
            entry.quiet()
        self._strangers.close()
        await self._background.close()

    # -- what the watch shows -------------------------------------------------------------------------------------

    def _begin_watch(self) -> None:
        if self._watch is not None and self._course.sink is not None:
            self._watching = self._background.begin("watch", self._watch.run())
            self._watching.add_done_callback(self._watch_over)

    def _watch_over(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or task.exception() is None:
            return
        if task is self._watching and self._watch is not None and self._course.sink is not None:
            self._watch.version = ""  # whatever it was: without a watch nothing would be heard any more
            asyncio.get_running_loop().call_later(_AGAIN, self._begin_watch)

    def _listing(self) -> Callable[[list[Pod]], None]:
        """All is to be listed again: what is made by now must be in it."""
        made = [entry for entry in self._entries.values() if entry.created]

        def hear(pods: list[Pod]) -> None:
            there = {pod.metadata.uid for pod in pods}
            for pod in pods:
                self._changed(pod)
            for entry in made:
                if entry.uid not in there and self._entries.get(entry.attempt) is entry:
                    self._course.gone(entry)

        return hear

    async def _first_look(self, pods: list[Pod]) -> None:
        for pod in pods:
            self._changed(pod)

    def _changed(self, pod: Pod) -> None:
        attempt = attempt_of(pod)
        entry = self._entries.get(attempt)
        if entry is None:
            self._strangers.seen(attempt, pod)
            return
        if not entry.created:
            entry.pod = pod  # whoever makes it now will see
        elif entry.uid == pod.metadata.uid:
            entry.pod = pod
            self._course.look(entry, pod)

    def _deleted(self, pod: Pod) -> None:
        entry = self._entries.get(attempt_of(pod))
        if entry is None:
            self._strangers.settled(attempt_of(pod))
            return
        if entry.uid != pod.metadata.uid:
            return
        if not entry.created:
            entry.pod = None
            return
        entry.pod = pod
        self._course.look(entry, pod)
        self._course.gone(entry)


def _begun(pod: Pod) -> bool:
    return judge(pod).state == RUNNING or judge(pod).started_at > 0
