"""The course of an attempt: what its pod shows, as what the server is to hear of it. The ways it ends:

    the program ended                     its exit code, its last words as the result
    stopped, or its timeout is over       the pod is deleted with its grace, the end is what the pod then says
    an image that cannot be had, and such after a while the pod is deleted, and the attempt has failed with 126 or 127
    evicted, deleted by others, node gone LOST, so that it runs again

An end is told when the log is read to its end, since nothing of an attempt is heard after its end.
"""

from __future__ import annotations

import msgspec

from styx.core.events import AttemptEnding
from styx.core.states import Outcome
from styx.providers.base import Context, Found, Sink
from styx.providers.kubernetes.background import Background, insist
from styx.providers.kubernetes.calls import Calls
from styx.providers.kubernetes.entry import Entry
from styx.providers.kubernetes.objects import Pod, Secret, instant
from styx.providers.kubernetes.outcome import ENDED, RUNNING, Finding, judge
from styx.providers.kubernetes.pod import values_of
from styx.providers.kubernetes.reader import LogReader
from styx.providers.kubernetes.settings import Place

__all__ = ["Course"]


class Course:
    """`sink` hears of it; None while nobody listens, and then nothing follows from what pods show."""

    def __init__(self, calls: Calls, reader: LogReader, place: Place, context: Context, background: Background) -> None:
        self.sink: Sink | None = None
        self._calls = calls
        self._reader = reader
        self._place = place
        self._context = context
        self._background = background

    def found(self, entry: Entry, pod: Pod, secret: Secret | None) -> Found:
        """What a server that starts anew has to know of a pod that it finds."""
        entry.pod = pod
        finding = judge(pod)
        ran = 0
        if finding.state == RUNNING:
            ran = max(0, self._context.now() - finding.started_at)
            entry.started_at = self._context.now() - ran
        entry.finished_here = finding.state == ENDED
        values = values_of(secret) if secret is not None else ()
        return Found(entry.attempt, finding.state, ran, entry.note.resources, values, _grace(pod))

    # -- what its pod shows ---------------------------------------------------------------------------------------

    def look(self, entry: Entry, pod: Pod) -> None:
        """Draw what follows from a pod's status."""
        if entry.final is not None or self.sink is None:
            return
        finding = judge(pod)
        if finding.state == ENDED:
            self._finish(entry, finding)
            return
        if finding.state == RUNNING:
            self._started(entry)
            self._read(entry)
        else:
            self._waits(entry, finding, self.sink)
        if pod.metadata.deletion_timestamp is not None:
            self._watch_over_deletion(entry, pod)

    def gone(self, entry: Entry) -> None:
        """Its pod is not there any more."""
        if entry.final is None:
            self._finish(entry, Finding(ENDED, killed=True, reason="its pod is gone, and nothing says how it ended"))

    def _started(self, entry: Entry) -> None:
        entry.disarm("stuck")
        if entry.started or self.sink is None:
            return
        entry.started = True
        entry.started_at = entry.started_at or self._context.now()
        self.sink.started(entry.attempt)
        if entry.note.timeout:
            left = entry.note.timeout - (self._context.now() - entry.started_at)
            entry.alarm("timeout", left / 1_000, self._time_out)

    def _waits(self, entry: Entry, finding: Finding, sink: Sink) -> None:
        sink.waiting(entry.attempt, finding.waiting)
        if not finding.stuck:
            entry.disarm("stuck")
        elif "stuck" not in entry.alarms:
            wait = 0.0 if finding.waiting.startswith("InvalidImageName") else self._place.image_wait
            entry.alarm("stuck", wait, self._give_up)

    # -- ends that are our doing ----------------------------------------------------------------------------------

    async def stop(self, entry: Entry, grace: float) -> None:
        if entry.final is None:
            entry.verdict = entry.verdict or (Outcome.KILLED, 0, "stopped")
            await self._delete(entry, grace)

    def never(self, entry: Entry, outcome: Outcome, code: int, reason: str) -> None:
        """It has no pod, and never had one."""
        entry.final = Finding(ENDED)
        entry.ended.set()
        if outcome is Outcome.EXITED:
            self._write(entry, 2, f"styx: {reason}\n".encode())
        self._say_end(entry, AttemptEnding(entry.attempt, outcome, code, reason=reason))

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
            entry.alarm("deletion", max(0.0, left) + self._place.node_wait, self._give_up_node)

    def _give_up_node(self, entry: Entry) -> None:
        if entry.final is None and entry.pod is not None:
            reason = f"its node {entry.pod.spec.node_name} does not say that it has ended"
            if entry.verdict is None:
                entry.verdict = (Outcome.LOST, 0, f"its pod was deleted, and {reason}")
            self._finish(entry, Finding(ENDED, killed=True, reason=reason))

    def _end(self, entry: Entry) -> None:
        """Bring it to its end by ourselves."""
        delete = insist("a pod's end", lambda: self._delete(entry, _grace(entry.pod)), self._context)
        self._background.begin("end", delete)

    async def _delete(self, entry: Entry, grace: float) -> None:
        if entry.final is None and entry.pod is not None and not await self._calls.delete(entry.pod, grace):
            self.gone(entry)

    # -- output, and the end that is told -------------------------------------------------------------------------

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
            entry.reading = self._background.begin("log", self._read_log(entry))

    async def _read_log(self, entry: Entry) -> None:
        sink = self.sink
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
        if self.sink is not None:
            self.sink.output(entry.attempt, stream, entry.written[stream - 1], data)
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
        if self.sink is not None:
            self.sink.ended(entry.ending)


def _grace(pod: Pod | None) -> float:
    seconds = pod.spec.termination_grace_period_seconds if pod is not None else None
    return float(10 if seconds is None else seconds)
