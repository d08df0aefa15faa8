"""What is known of one pod, and what is to become of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from styx.core.events import AttemptEnding
from styx.core.states import Outcome
from styx.providers.kubernetes.objects import Pod
from styx.providers.kubernetes.outcome import Finding
from styx.providers.kubernetes.pod import Noted

__all__ = ["Entry", "Verdict"]

Verdict = tuple[Outcome, int, str]
"""How it ends if its end is our doing: outcome, exit code where no program gave one, reason."""


class Entry:
    """`pod` is the latest seen, None before one was. `final` is set once nothing more will come of the pod but its log."""

    __slots__ = (
        "alarms", "attempt", "created", "ended", "ending", "final", "finished_here", "keep_until", "name", "note", "pod", "reading", "started",
        "started_at", "unsure_at", "verdict", "written",
    )  # fmt: skip

    def __init__(self, attempt: int, name: str, note: Noted) -> None:
        self.attempt = attempt
        self.name = name
        self.note = note
        self.pod: Pod | None = None
        self.created = False  # the pod, and its Secret if it needs one, are known to be there
        self.unsure_at = 0.0  # when the answer to its creation was last lost
        self.keep_until = 0.0  # until when a creation that was asked for before may still be carried out
        self.started = False  # the sink has heard so
        self.started_at = 0  # milliseconds, of the clock here
        self.verdict: Verdict | None = None
        self.final: Finding | None = None
        self.ended = asyncio.Event()  # with `final`, for whoever reads the log
        self.ending: AttemptEnding | None = None  # told
        self.finished_here = False  # it had come to its end before this process saw it
        self.written = [0, 0]  # bytes told of each stream
        self.reading: asyncio.Task[None] | None = None
        self.alarms: dict[str, asyncio.TimerHandle] = {}

    @property
    def uid(self) -> str:
        return self.pod.metadata.uid if self.pod is not None else ""

    def alarm(self, name: str, seconds: float, act: Callable[[Entry], None]) -> None:
        """Do that in so many seconds. One of this name that is set already is put off."""
        self.disarm(name)
        self.alarms[name] = asyncio.get_running_loop().call_later(max(0.0, seconds), act, self)

    def disarm(self, name: str) -> None:
        alarm = self.alarms.pop(name, None)
        if alarm is not None:
            alarm.cancel()

    def quiet(self) -> None:
        """Nothing more is to happen by itself."""
        for alarm in self.alarms.values():
            alarm.cancel()
        self.alarms.clear()
