"""A world that a Runner runs in, as the contract of Runners asks for it, and the sink that it is told everything by.

The worlds are the tests' own, one for each provider; the suite itself is `runner`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import StrEnum
from typing import Protocol

from styx.core.events import AttemptEnding
from styx.providers.base import Found, Promises, Runner, RunOrder

__all__ = ["GAP", "LINES", "WHOLE", "Fault", "RunnerWorld", "Told", "Work"]

LINES = 1_000
WHOLE = b"".join(b"line %d of a long output\n" % number for number in range(LINES))
GAP = b"[styx: "  # how what marks a gap begins


class Work(StrEnum):
    SUCCEEDS = "succeeds"  # prints "hello\n", and gives the result "result"
    FAILS = "fails"  # ends with an exit code that is not 0
    WRITES = "writes"  # prints WHOLE, and succeeds
    GOES_ON = "goes on"  # writes "up\n", then runs until it is stopped, or `let_go`


class Fault(StrEnum):
    """What happens to the next request that would make something."""

    BUSY = "busy"  # it is refused for now, and nothing is made
    DROPPED = "dropped"  # the connection ends before anything is made
    LOST = "lost"  # it is made, and the answer is lost
    BROKEN = "broken"  # a gateway fails, and it is made all the same


class RunnerWorld(Protocol):
    """`promises` are the provider's, `faults` what can be made to go wrong. What a program prints and leaves is told in the way of the
    place: on the stream `prints`, and as `result` (a function's is JSON)."""

    promises: Promises
    faults: tuple[Fault, ...]
    prints: int
    result: bytes

    async def begin(self, sink: Told) -> tuple[Runner, list[Found]]:
        """A runner on the same place as before, opened; the one before is gone from one moment to the next."""
        ...

    def work(self, attempt: int, kind: Work) -> RunOrder: ...

    async def let_go(self, attempt: int) -> None:
        """Let work that goes on come to its end."""
        ...

    def fault(self, kind: Fault) -> None: ...

    async def runs(self, attempt: int) -> int:
        """How often the place has begun to run it."""
        ...

    async def until_clean(self) -> None:
        """Until nothing of all attempts is left at the place."""
        ...


class Told:
    """A Sink that keeps all it is told, and insists on what a Sink may be told."""

    def __init__(self) -> None:
        self.running: set[int] = set()
        self.ends: dict[int, AttemptEnding] = {}
        self.text: dict[tuple[int, int], bytes] = {}
        self.reasons: dict[int, str] = {}
        self.cuts: set[tuple[int, int]] = set()
        self.open = True
        self._news = asyncio.Event()

    def started(self, attempt: int) -> None:
        assert self.open, "a runner that is gone says nothing"
        assert attempt not in self.running, "started is told once"
        assert attempt not in self.ends, "started is told before the end"
        self.running.add(attempt)
        self._news.set()

    def output(self, attempt: int, stream: int, offset: int, data: bytes) -> None:
        assert self.open, "a runner that is gone says nothing"
        assert attempt not in self.ends, "output is told before the end"
        before = self.text.get((attempt, stream), b"")
        assert offset <= len(before), "no byte is passed over"
        assert before[offset : offset + len(data)] == data[: len(before) - offset], "the same bytes at the same offsets"
        self.text[attempt, stream] = before[:offset] + data + before[offset + len(data) :]
        self._news.set()

    def cut(self, attempt: int, stream: int) -> None:
        assert (attempt, stream) not in self.text, "a beginning is missing before anything was told"
        self.cuts.add((attempt, stream))

    async def room(self, attempt: int) -> None:
        return

    def ended(self, ending: AttemptEnding) -> None:
        assert self.open, "a runner that is gone says nothing"
        known = self.ends.setdefault(ending.attempt, ending)
        assert (known.outcome, known.code, known.result) == (ending.outcome, ending.code, ending.result), (
            "an end is told again as it was"
        )
        self._news.set()

    def waiting(self, attempt: int, reason: str) -> None:
        self.reasons[attempt] = reason
        self._news.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._news.clear()
            await self._news.wait()

    async def end(self, attempt: int) -> AttemptEnding:
        await self.until(lambda: attempt in self.ends)
        return self.ends[attempt]
