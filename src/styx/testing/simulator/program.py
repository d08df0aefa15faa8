"""The programs of a simulated machine: what they are written to do, and who sees it.

What a program does is written in its command, so the script of a run can be read:

    program MILLISECONDS CODES BYTES [stubborn] [result]

CODES are the exit codes of its attempts 1, 2, ... (the last one counts for all that follow), BYTES is how much it writes to stdout;
a stubborn one does not listen to SIGTERM; one with a result writes $STYX_RESULT.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from styx.core.states import Outcome
from styx.protocol.messages import Run, Spec

if TYPE_CHECKING:
    from styx.testing.simulator.owner import Owner

__all__ = ["ENDED", "QUEUED", "RUNNING", "Program", "Witness", "output_of", "result_of"]

QUEUED, RUNNING, ENDED = 0, 1, 2


def output_of(attempt: int, length: int) -> bytes:
    """What an attempt prints: bytes that no other attempt prints at the same place."""
    line = b"%d of attempt %d\n" % (attempt * 7919 % 1_000_003, attempt)
    return (line * (length // len(line) + 1))[:length]


def result_of(spec: Spec, run: Run) -> bytes:
    return b"%s[%d] by attempt %d" % (spec.name.encode(), run.index, run.attempt)


class Witness:
    """Who sees programs start and end, to judge whether they may."""

    def started(self, program: Program, machine: str) -> None: ...

    def ended(self, program: Program, machine: str) -> None: ...


class Program:
    """An attempt as its owner holds it."""

    def __init__(self, owner: Owner, spec: Spec, run: Run, results: str) -> None:
        self.owner = owner
        self.spec = spec
        self.run = run
        self.results = results
        self.state = QUEUED
        self.began = 0
        self.ended_at = 0
        self.outcome: Outcome | None = None
        self.code = 0
        self.reason = ""
        self.result = b""
        self.written = 0
        self.told = 0  # bytes sent on the present connection
        self.released = 0
        self.forgotten = False
        self.timers: list[asyncio.TimerHandle] = []
        words = spec.command
        self.duration = int(words[1])
        codes = words[2].split(",")
        self.exit_code = int(codes[min(run.number, len(codes)) - 1])
        self.bytes = int(words[3])
        self.stubborn = "stubborn" in words
        self.leaves_result = "result" in words

    @property
    def attempt(self) -> int:
        return self.run.attempt
