"""One attempt as its owner holds it, from the order to start it until its end and output have been collected."""

from __future__ import annotations

import time

from styx.agent.owner.masking import Masker
from styx.agent.owner.spool import Budget, Spool
from styx.core.events import AttemptEnding
from styx.core.states import Outcome
from styx.protocol.messages import Run, Secret, Spec

__all__ = ["ENDED", "QUEUED", "RUNNING", "Attempt", "clock"]

QUEUED, RUNNING, ENDED = 0, 1, 2
_MILLISECOND = 1_000_000
_REASON = 500  # characters
_NO_OUTPUT = Spool(Budget(), "")  # of all that wait: most of what is held may be waiting, so it has to be small


def clock() -> int:
    """Nanoseconds on the clock that runs through suspend, as timeouts and durations must."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class Attempt:
    """`ordinal` counts the attempts of this owner and is what its processes are marked with; `number` is the server's.

    The program (the leader of the attempt's session) may be gone (`exited` > 0) while `state` is still RUNNING: other
    processes of it live, or its output is not read to the end.
    """

    __slots__ = (
        "alone", "code", "device_ids", "discarded", "ending_sent", "exited", "fds", "forgotten", "masks", "number", "ordinal", "outcome",
        "parcel", "pid", "reason", "result", "result_name", "results", "room", "run", "secrets", "settled", "spec", "spool", "started", "state",
    )  # fmt: skip

    def __init__(
        self, ordinal: int, spec: Spec, run: Run, results: str, secrets: tuple[Secret, ...] = (), parcel: str = ""
    ) -> None:
        self.ordinal = ordinal
        self.number = run.attempt
        self.spec = spec
        self.run = run
        self.results = results
        self.secrets = secrets
        self.parcel = parcel  # the file that its private folder is filled from
        self.masks: tuple[Masker, Masker] | None = None  # of its stdout and stderr, while it runs
        self.spool = _NO_OUTPUT
        self.state = QUEUED
        self.pid = 0
        self.fds = [-1, -1]  # our ends of its stdout and stderr, -1 when closed
        self.started = 0
        self.exited = 0
        self.alone = False  # no process was left in its own group when it exited
        self.code = 0
        self.outcome: Outcome | None = None  # set when it is being stopped, or has ended
        self.reason = ""
        self.result = b""
        self.room = ""  # the private folder
        self.result_name = ""
        self.device_ids: tuple[tuple[str, tuple[str, ...]], ...] = ()
        self.settled = False  # no process of it is left
        self.ending_sent = False  # on the present connection
        self.forgotten = False
        self.discarded = False  # nobody wants to hear of it any more

    @property
    def reading(self) -> bool:
        return self.fds[0] >= 0 or self.fds[1] >= 0

    def ran(self, now: int) -> int:
        """Milliseconds from its start to its exit, or to `now`."""
        return ((self.exited or now) - self.started) // _MILLISECOND if self.started else 0

    def ending(self, now: int) -> AttemptEnding:
        """How it ended, told at `now`. Only for one in state ENDED."""
        assert self.outcome is not None
        stdout, stderr = self.spool.streams
        return AttemptEnding(
            attempt=self.number,
            outcome=self.outcome,
            code=self.code,
            ran=self.ran(now),
            ago=max(0, now - self.exited) // _MILLISECOND,
            reason=self.reason[:_REASON],
            result=self.result,
            stdout=stdout.total,
            stderr=stderr.total,
            pid=self.pid,
        )
