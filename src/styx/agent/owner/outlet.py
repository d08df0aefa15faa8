"""What the agent is owed: starts, output in turn, and each end after the last of its output.

Nothing is kept only here. Everything is told again on a new connection from what the attempts hold, so a frame that was lost with
its connection needs no repair. All that gathers in a turn of the loop goes out in one frame.
"""

from __future__ import annotations

from styx.agent.owner.attempt import ENDED, Attempt
from styx.agent.owner.frames import Gathered
from styx.agent.owner.link import Link
from styx.protocol.codec import MAX_CHUNK
from styx.protocol.owner import OwnerEnded, OwnerStarted

__all__ = ["Outlet"]

STREAM_WINDOW = 1 << 20  # bytes of a stream that are sent and not released
WINDOW = 6 << 20  # of all; below what an agent keeps, so that it never stops reading us and hears of ends meanwhile
_LEAST = (
    64 << 10
)  # rather than less of what there is, nothing is sent until there is room for as much: pieces cost by their number
_FRAME = 256 << 10  # what fits into a core's cache is copied at a third of the price
_QUEUED = 2 << 20
_PER_FRAME = 4_096  # ends


class Outlet:
    """`inflight` counts bytes sent on the present connection and not released. `pressing`: so much output waits that it should go now."""

    __slots__ = ("_due", "_started", "inflight", "link", "moved", "pressing")

    def __init__(self) -> None:
        self.link: Link | None = None
        self.inflight = 0
        self.pressing = False
        self.moved: list[Attempt] = []  # what `flush` has sent output of
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
        if attempt.spool.unsent >= _LEAST:
            self.pressing = True

    def drop(self, attempt: Attempt) -> None:
        self._due.pop(attempt, None)

    def released(self, attempt: Attempt, landed: int) -> None:
        self.inflight -= landed
        if attempt.spool.owed or attempt.state == ENDED:
            self.due(attempt)

    def flush(self, now: int) -> bool:
        """Send what may be sent. False when the connection is over."""
        link = self.link
        self.pressing = False
        if link is None or not link.configured:
            return True
        if link.queued and not link.flush():
            return False
        while (self._due or self._started) and link.queued < _QUEUED:
            frame = self._frame(now)
            if not frame:
                break
            if not link.send_gathered(frame):
                return False
        return True

    def _frame(self, now: int) -> Gathered:
        frame = Gathered()
        if self._started:
            frame.add(OwnerStarted(tuple(self._started)))
            self._started.clear()
        ended: list[Attempt] = []
        size = 0
        for attempt in list(self._due):
            size += self._output(attempt, frame)
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
            frame.add(OwnerEnded(tuple(attempt.ending(now) for attempt in ended)))
        return frame

    def _output(self, attempt: Attempt, frame: Gathered) -> int:
        """One chunk of each of its streams, as far as the windows allow."""
        size = 0
        for number, stream in enumerate(attempt.spool.streams, 1):
            size_wanted = min(MAX_CHUNK, stream.total - stream.sent, STREAM_WINDOW - (stream.sent - stream.released))
            room = WINDOW - self.inflight
            if size_wanted > 0 and room >= min(size_wanted, _LEAST):
                try:
                    data = stream.read(stream.sent, min(size_wanted, room))
                except OSError:
                    stream.sent = stream.total  # the jump in the offsets shows that it is missing
                    continue
                taken = sum(map(len, data))
                frame.output(attempt.number, number, stream.sent, data, taken)
                stream.sent += taken
                self.inflight += taken
                size += taken
                self.moved.append(attempt)
        return size

    def _blocked(self, attempt: Attempt) -> bool:
        """Whether only a release of its own lets it go on; with the window of all used up, any release does."""
        return all(
            stream.sent == stream.total or stream.sent - stream.released >= STREAM_WINDOW
            for stream in attempt.spool.streams
        )
