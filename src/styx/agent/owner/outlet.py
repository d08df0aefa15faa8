"""What the agent is owed: starts, output in turn, and each end after the last of its output.

Nothing is kept only here. Everything is told again on a new connection from what the attempts hold, so a frame that was lost with
its connection needs no repair. All that gathers in a turn of the loop goes out in one frame.
"""

from __future__ import annotations

from styx.agent.owner.attempt import ENDED, Attempt
from styx.agent.owner.link import Link
from styx.protocol.codec import MAX_CHUNK
from styx.protocol.owner import OwnerEnded, OwnerOutput, OwnerStarted, OwnerToAgent

__all__ = ["Outlet"]

STREAM_WINDOW = 1 << 20  # bytes of a stream that are sent and not released
WINDOW = 6 << 20  # of all; below what an agent keeps, so that it never stops reading us and hears of ends meanwhile
_FRAME = 1 << 20
_QUEUED = 2 << 20
_PER_FRAME = 4_096  # ends


class Outlet:
    """`inflight` counts bytes sent on the present connection and not released."""

    __slots__ = ("_due", "_started", "inflight", "link")

    def __init__(self) -> None:
        self.link: Link | None = None
        self.inflight = 0
        self._started: list[int] = []
        self._due: dict[Attempt, None] = {}  # attempts with something to tell, in turn

    def attach(self, link: Link | None) -> None:
        """A new connection, or none: nothing has been told on it."""
        self.link = link
        self.inflight = 0
        self._started.clear()
        self._due.clear()

    def tell_all(self, attempts: dict[int, Attempt]) -> None:
        """Everything that is held is due again."""
        for attempt in attempts.values():
            attempt.ending_sent = False
            for stream in attempt.spool.streams:
                stream.sent = stream.released
            if attempt.state == ENDED or attempt.spool.owed:
                self._due[attempt] = None

    def started(self, attempt: Attempt) -> None:
        self._started.append(attempt.number)

    def due(self, attempt: Attempt) -> None:
        """It has new output, or has ended, or room to send it was made."""
        self._due[attempt] = None

    def drop(self, attempt: Attempt) -> None:
        self._due.pop(attempt, None)

    def released(self, attempt: Attempt, landed: int) -> None:
        self.inflight -= landed
        if attempt.spool.owed or attempt.state == ENDED:
            self._due[attempt] = None

    def flush(self, now: int) -> bool:
        """Send what may be sent. False when the connection is over."""
        link = self.link
        if link is None or not link.configured:
            return True
        if link.queued and not link.flush():
            return False
        while (self._due or self._started) and link.queued < _QUEUED:
            messages = self._frame(now)
            if not messages:
                break
            if not link.send(messages):
                return False
        return True

    def _frame(self, now: int) -> list[OwnerToAgent]:
        messages: list[OwnerToAgent] = []
        if self._started:
            messages.append(OwnerStarted(tuple(self._started)))
            self._started.clear()
        ended: list[Attempt] = []
        size = 0
        for attempt in list(self._due):
            size += self._output(attempt, messages)
            if attempt.spool.all_sent:
                del self._due[attempt]
                if attempt.state == ENDED and not attempt.ending_sent and not attempt.forgotten:
                    attempt.ending_sent = True
                    ended.append(attempt)
                    size += len(attempt.result)
            elif self._blocked(attempt):
                del self._due[attempt]  # a release makes it due again
            else:
                del self._due[attempt]
                self._due[attempt] = None
            if size >= _FRAME or len(ended) >= _PER_FRAME:
                break
        if ended:
            messages.append(OwnerEnded(tuple(attempt.ending(now) for attempt in ended)))
        return messages

    def _output(self, attempt: Attempt, messages: list[OwnerToAgent]) -> int:
        """One chunk of each of its streams, as far as the windows allow."""
        size = 0
        for number, stream in enumerate(attempt.spool.streams, 1):
            room = min(MAX_CHUNK, STREAM_WINDOW - (stream.sent - stream.released), WINDOW - self.inflight)
            if room > 0 and stream.sent < stream.total:
                try:
                    data = stream.read(stream.sent, room)
                except OSError:
                    stream.sent = stream.total  # the jump in the offsets shows that it is missing
                    continue
                messages.append(OwnerOutput(attempt.number, number, stream.sent, data))
                stream.sent += len(data)
                self.inflight += len(data)
                size += len(data)
        return size

    def _blocked(self, attempt: Attempt) -> bool:
        """Whether only a release of its own lets it go on; with the window of all used up, any release does."""
        return all(
            stream.sent == stream.total or stream.sent - stream.released >= STREAM_WINDOW
            for stream in attempt.spool.streams
        )
