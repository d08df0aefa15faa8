"""One namespace of a cluster as a Runner: each attempt is a pod.

What is so comes from the watch, and from nothing else; calls only ask for changes. An attempt's entry here is made before its pod is asked
for, so whatever the watch shows of it finds its place. The ways an attempt ends:

    the program ended                     its exit code, its last words as the result
    stopped, or its timeout is over       the pod is deleted with its grace, the end is what the pod then says
    an image that cannot be had, and such after a while the pod is deleted, and the attempt has failed with 126 or 127
    evicted, deleted by others, node gone LOST, so that it runs again

Only when its end is on the server's disk is a pod let go of.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import quote

import msgspec

from styx.core.events import AttemptEnding
from styx.core.resources import Resources
from styx.core.states import Outcome
from styx.providers.base import CLUSTER_TAG, Context, Found, Kind, Refused, RunOrder, Sink
from styx.providers.kubernetes.api import Cluster
from styx.providers.kubernetes.beginnings import Beginnings
from styx.providers.kubernetes.calls import LATE, Calls
from styx.providers.kubernetes.entry import Entry
from styx.providers.kubernetes.objects import Pod, Secret, instant
from styx.providers.kubernetes.outcome import ENDED, RUNNING, Finding, judge
from styx.providers.kubernetes.pod import ATTEMPT, CannotMake, name_of, note_of, noted, pod_of, secret_of, values_of
from styx.providers.kubernetes.reader import LogReader
from styx.providers.kubernetes.settings import Place
from styx.providers.kubernetes.strangers import Strangers, insist
from styx.providers.kubernetes.watch import PodWatch
from styx.telemetry.log import get

__all__ = ["Pods"]

log = get("kubernetes")

_AGAIN = 5.0  # seconds until a watch is begun again that a bug has ended


class Pods:
    """See `base.Runner`."""

    adopts = True

    def __init__(self, cluster: Cluster, place: Place, context: Context) -> None:
        self._cluster = cluster
        self._place = place
        self._context = context
        self._calls = Calls(cluster, place.namespace)
        beginnings = Beginnings(context.home / "providers" / "kubernetes-logs" / quote(place.name, safe=""))
        self._reader = LogReader(cluster, place.namespace, place.logs, beginnings)
        self._entries: dict[int, Entry] = {}
        self._strangers = Strangers(self._calls, context, self._entries.__contains__, self._begin)
        self._tasks: set[asyncio.Task[None]] = set()
        self._sink: Sink | None = None
        self._tag = ""
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
        self._tag, self._sink = cluster, sink
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
            attempt = _attempt(pod)
            entry = Entry(attempt, pod.metadata.name, noted(pod))
            secret = secrets.get(pod.metadata.uid)
            if attempt < 0 or (entry.note.secret and secret is None and not _begun(pod)):
                continue  # it cannot have started: its order comes again
            entry.created = True
            self._entries[attempt] = entry
            found.append(self._found(entry, pod, secret))
        self._watch = watch
        self._begin_watch()
        self._begin("first look", self._first_look(pods))
        if before and before != cluster:
            self._begin("another database", self._strangers.of_another_database(before))
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
            self._never(entry, Outcome.LOST, 0, "its pod came late, and was removed")
            return
        try:
            manifest = pod_of(order, self._place)
            secret_of(order, "")
        except CannotMake as error:
            self._never(entry, Outcome.EXITED, 126, str(error))
            return
        try:
            pod = await self._calls.create(entry, manifest)
            await self._calls.create_secret(entry, order, pod)
        except Refused as error:
            entry.pod = None
            if error.kind is not Kind.INVALID:
                raise
            self._never(entry, Outcome.EXITED, 126, error.message)
            return
        entry.created = True
        if entry.pod is None or entry.uid != pod.metadata.uid:
            entry.pod = pod
        self._look(entry, entry.pod)

    async def stop(self, attempt: int, grace: float) -> None:
        entry = self._entries.get(attempt)
        if entry is None or entry.final is not None:
            return
        entry.verdict = entry.verdict or (Outcome.KILLED, 0, "stopped")
        await self._delete(entry, grace)

    async def forget(self, attempt: int) -> None:
        entry = self._entries.get(attempt)
        if entry is None:
            return
        left = max(entry.keep_until, self._careful_until) - asyncio.get_running_loop().time()
        if left > 0:
            self._alarm(entry, "let go", left, self._let_go_later)
        else:
            await self._let_go_of(entry)

    def _let_go_later(self, entry: Entry) -> None:
        self._begin("let go", insist("a pod that has ended", lambda: self._let_go_of(entry), self._context))

    async def _let_go_of(self, entry: Entry) -> None:
        if entry.pod is not None:
            await self._reader.forget(entry.name)  # first: once the pod is gone, no server would know of this any more
            await self._calls.remove(entry.pod)
        self._drop(entry)

    async def close(self) -> None:
        self._sink = None
        for entry in self._entries.values():
            entry.quiet()
        self._strangers.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- what the watch shows -------------------------------------------------------------------------------------

    def _listing(self) -> Callable[[list[Pod]], None]:
        """All is to be listed again: what is made by now must be in it."""
        made = [entry for entry in self._entries.values() if entry.created]

        def hear(pods: list[Pod]) -> None:
            there = {pod.metadata.uid for pod in pods}
            for pod in pods:
                self._changed(pod)
            for entry in made:
                if entry.uid not in there and self._entries.get(entry.attempt) is entry:
                    self._gone(entry)

        return hear

    async def _first_look(self, pods: list[Pod]) -> None:
        for pod in pods:
            self._changed(pod)

    def _changed(self, pod: Pod) -> None:
        attempt = _attempt(pod)
        entry = self._entries.get(attempt)
        if entry is None:
            self._strangers.seen(attempt, pod)
            return
        if not entry.created:
            entry.pod = pod  # whoever makes it now will see
        elif entry.uid == pod.metadata.uid:
            entry.pod = pod
            self._look(entry, pod)

    def _deleted(self, pod: Pod) -> None:
        entry = self._entries.get(_attempt(pod))
        if entry is None:
            self._strangers.settled(_attempt(pod))
            return
        if entry.uid != pod.metadata.uid:
            return
        if not entry.created:
            entry.pod = None
            return
        entry.pod = pod
        self._look(entry, pod)
        self._gone(entry)

    def _gone(self, entry: Entry) -> None:
        if entry.final is None:
            self._finish(entry, Finding(ENDED, killed=True, reason="its pod is gone, and nothing says how it ended"))

    def _look(self, entry: Entry, pod: Pod) -> None:
        """Draw what follows from a pod's status."""
        if entry.final is not None or self._sink is None:
            return
        finding = judge(pod)
        if finding.state == ENDED:
            self._finish(entry, finding)
            return
        if finding.state == RUNNING:
            self._started(entry)
            self._read(entry)
        else:
            self._waits(entry, finding)
        if pod.metadata.deletion_timestamp is not None:
            self._watch_over_deletion(entry, pod)

    def _started(self, entry: Entry) -> None:
        entry.alarms.pop("stuck", _NO_ALARM).cancel()
        if entry.started or self._sink is None:
            return
        entry.started = True
        entry.started_at = entry.started_at or self._context.now()
        self._sink.started(entry.attempt)
        if entry.note.timeout:
            left = entry.note.timeout - (self._context.now() - entry.started_at)
            self._alarm(entry, "timeout", left / 1_000, self._time_out)

    def _waits(self, entry: Entry, finding: Finding) -> None:
        assert self._sink is not None
        self._sink.waiting(entry.attempt, finding.waiting)
        if not finding.stuck:
            entry.alarms.pop("stuck", _NO_ALARM).cancel()
        elif "stuck" not in entry.alarms:
            wait = 0.0 if finding.waiting.startswith("InvalidImageName") else self._place.image_wait
            self._alarm(entry, "stuck", wait, self._give_up)

    def _give_up(self, entry: Entry) -> None:
        """It will not start, and that is not the place's fault."""
        if entry.pod is None:
            return
        finding = judge(entry.pod)
        if finding.stuck:
            entry.verdict = entry.verdict or (Outcome.EXITED, finding.stuck, finding.waiting)
            self._end(entry)

    def _time_out(self, entry: Entry) -> None:
        if entry.verdict is None:
            entry.verdict = (Outcome.TIMED_OUT, 0, f"timed out after {entry.note.timeout / 1_000:g} s")
            self._end(entry)

    def _watch_over_deletion(self, entry: Entry, pod: Pod) -> None:
        """A node that is gone never says that the program ended. An exclusive one is waited for all the same."""
        if not entry.note.exclusive and "deletion" not in entry.alarms:
            left = (instant(pod.metadata.deletion_timestamp) - self._context.now()) / 1_000
            self._alarm(entry, "deletion", max(0.0, left) + self._place.node_wait, self._give_up_node)

    def _give_up_node(self, entry: Entry) -> None:
        if entry.final is None and entry.pod is not None:
            reason = f"its node {entry.pod.spec.node_name} does not say that it has ended"
            if entry.verdict is None:
                entry.verdict = (Outcome.LOST, 0, f"its pod was deleted, and {reason}")
            self._finish(entry, Finding(ENDED, killed=True, reason=reason))

    # -- ending ---------------------------------------------------------------------------------------------------

    def _finish(self, entry: Entry, finding: Finding) -> None:
        """Nothing more will come of it but its log, and that is read first."""
        entry.final = finding
        entry.quiet()
        entry.ended.set()
        if finding.started_at and entry.pod is not None and entry.pod.spec.node_name:
            self._started(entry)
            entry.quiet()
            self._read(entry)
        if entry.reading is None:
            self._tell_end(entry)

    def _read(self, entry: Entry) -> None:
        if entry.reading is None:
            entry.reading = self._begin("log", self._read_log(entry))

    async def _read_log(self, entry: Entry) -> None:
        sink = self._sink
        assert sink is not None
        await self._reader.read(
            entry.name,
            entry.ended,
            lambda data: self._write(entry, 1, data),
            lambda: sink.room(entry.attempt),
            lambda: sink.cut(entry.attempt, 1),
        )
        self._tell_end(entry)

    def _write(self, entry: Entry, stream: int, data: bytes) -> None:
        if self._sink is not None:
            self._sink.output(entry.attempt, stream, entry.written[stream - 1], data)
            entry.written[stream - 1] += len(data)

    def _tell_end(self, entry: Entry) -> None:
        final = entry.final
        if final is None or entry.ending is not None:
            return
        outcome, code, reason, result = final.outcome, final.code, final.reason, final.result
        if entry.verdict is not None and (final.killed or not final.started_at):
            outcome, own, reason = entry.verdict
            code, result = code or own, b""
        elif final.killed:
            outcome, reason = Outcome.LOST, f"its pod was deleted by somebody else{f': {reason}' if reason else ''}"
        if outcome is Outcome.EXITED and not final.started_at and code:
            self._write(entry, 2, f"styx: {reason}\n".encode())
        ago = max(0, self._context.now() - final.finished_at) if entry.finished_here and final.finished_at else 0
        self._say_end(entry, AttemptEnding(entry.attempt, outcome, code, final.ran, ago, reason[:4_000], result))

    def _say_end(self, entry: Entry, ending: AttemptEnding) -> None:
        entry.ending = msgspec.structs.replace(ending, stdout=entry.written[0], stderr=entry.written[1])
        entry.quiet()
        if self._sink is not None:
            self._sink.ended(entry.ending)

    def _never(self, entry: Entry, outcome: Outcome, code: int, reason: str) -> None:
        """It has no pod, and never had one."""
        entry.final = Finding(ENDED)
        entry.ended.set()
        if outcome is Outcome.EXITED:
            self._write(entry, 2, f"styx: {reason}\n".encode())
        self._say_end(entry, AttemptEnding(entry.attempt, outcome, code, reason=reason))

    def _end(self, entry: Entry) -> None:
        """Bring it to its end by ourselves."""
        self._begin("end", insist("a pod's end", lambda: self._delete(entry, _grace(entry.pod)), self._context))

    async def _delete(self, entry: Entry, grace: float) -> None:
        if entry.final is None and entry.pod is not None and not await self._calls.delete(entry.pod, grace):
            self._gone(entry)

    def _drop(self, entry: Entry) -> None:
        self._entries.pop(entry.attempt, None)
        entry.quiet()
        if entry.reading is not None and not entry.reading.done():
            entry.reading.cancel()
        self._strangers.let_go(entry.uid)

    # -- within ---------------------------------------------------------------------------------------------------

    def _found(self, entry: Entry, pod: Pod, secret: Secret | None) -> Found:
        entry.pod = pod
        finding = judge(pod)
        ran = 0
        if finding.state == RUNNING:
            ran = max(0, self._context.now() - finding.started_at)
            entry.started_at = self._context.now() - ran
        entry.finished_here = finding.state == ENDED
        values = values_of(secret) if secret is not None else ()
        return Found(entry.attempt, finding.state, ran, entry.note.resources, values, _grace(pod))

    def _begin_watch(self) -> None:
        if self._watch is not None and self._sink is not None:
            self._watching = self._begin("watch", self._watch.run())

    def _alarm(self, entry: Entry, name: str, seconds: float, act: Callable[[Entry], None]) -> None:
        entry.alarms.pop(name, _NO_ALARM).cancel()
        entry.alarms[name] = asyncio.get_running_loop().call_later(max(0.0, seconds), act, entry)

    def _begin(self, name: str, body: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(body, name=f"kubernetes {name}")
        self._tasks.add(task)
        task.add_done_callback(self._over)
        return task

    def _over(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        log.crash(f"{task.get_name()} failed", error)
        if task is self._watching and self._watch is not None and self._sink is not None:
            self._watch.version = ""  # whatever it was: without a watch nothing would be heard any more
            asyncio.get_running_loop().call_later(_AGAIN, self._begin_watch)


class _NoAlarm:
    def cancel(self) -> None:
        return


_NO_ALARM = _NoAlarm()


def _attempt(pod: Pod) -> int:
    """-1: it is none of ours."""
    text = (pod.metadata.labels or {}).get(ATTEMPT, "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else -1


def _begun(pod: Pod) -> bool:
    return judge(pod).state == RUNNING or judge(pod).started_at > 0


def _grace(pod: Pod | None) -> float:
    seconds = pod.spec.termination_grace_period_seconds if pod is not None else None
    return float(10 if seconds is None else seconds)
