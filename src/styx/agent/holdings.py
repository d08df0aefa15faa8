"""Which attempts an agent holds, and how far each is.

An attempt is QUEUED, RUNNING, ENDED (the owner has said so, but not yet how) or REPORTED (the server has been told, or will
be: the report is kept until it is acknowledged). Only the server's Forget takes it out. Beside these are three kinds
of attempts that need memory: those that ended without the owner ever having had them, those that the server wants
nothing of while they still run (doomed), and the latest that were forgotten, since what the owner says of them may have
been on its way, or the order to forget may have been lost with a connection.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from styx.core.events import Held
from styx.core.states import Outcome
from styx.protocol.owner import OwnerWatching

__all__ = ["ENDED", "QUEUED", "REPORTED", "RUNNING", "Holdings"]

QUEUED, RUNNING, ENDED, REPORTED = range(4)

MEMORY = 4_096  # attempts that are remembered after they were forgotten


class Holdings:
    __slots__ = ("_forgotten", "_here", "_since", "_states", "doomed")

    def __init__(self) -> None:
        self._states: dict[int, int] = {}
        self._since: dict[int, int] = {}  # running ones: when they started
        self._here: set[int] = set()  # reported, and unknown to the owner
        self._forgotten: dict[int, None] = {}
        self.doomed: set[int] = set()

    def __contains__(self, attempt: int) -> bool:
        return attempt in self._states

    def __bool__(self) -> bool:
        return bool(self._states or self.doomed)

    def count(self, state: int) -> int:
        return sum(each == state for each in self._states.values())

    def told(self, now: int) -> tuple[Held, ...]:
        """As a Hello says it."""
        return tuple(
            Held(attempt, min(state, ENDED), now - self._since[attempt] if state == RUNNING else 0)
            for attempt, state in self._states.items()
        )

    def queued(self, among: Iterable[int] | None = None) -> tuple[int, ...]:
        """Those (of these) that have not started, as far as is known here."""
        states = self._states
        if among is None:
            return tuple(attempt for attempt, state in states.items() if state == QUEUED)
        return tuple(attempt for attempt in among if states.get(attempt) == QUEUED)

    def live(self, among: Iterable[int] | None = None) -> tuple[int, ...]:
        """Those (of these) that have not ended."""
        if among is None:
            return tuple(attempt for attempt, state in self._states.items() if state < ENDED)
        return tuple(attempt for attempt in among if self._states.get(attempt, REPORTED) < ENDED)

    def unwanted(self, attempt: int) -> bool:
        """The server does not want to hear of it."""
        return attempt in self.doomed or attempt in self._forgotten

    # -- what happens to them -----------------------------------------------------------------------------------

    def queue(self, attempts: Iterable[int]) -> None:
        self._states.update(dict.fromkeys(attempts, QUEUED))

    def run(self, attempt: int, now: int) -> bool:
        """It started; False when that is no news."""
        if self._states.get(attempt) != QUEUED:
            return False
        self._states[attempt] = RUNNING
        self._since[attempt] = now
        return True

    def end(self, attempt: int) -> bool:
        """The owner says how it ended; False when that was reported already."""
        if self._states.get(attempt) == REPORTED:
            return False
        self._states[attempt] = REPORTED
        self._since.pop(attempt, None)
        return True

    def end_here(self, attempt: int) -> None:
        """It ended, and the owner knows nothing of it."""
        self.end(attempt)
        self._here.add(attempt)

    def forget(self, attempt: int) -> int | None:
        """The server wants no more of it. Returns its state, or None when the owner need not be told anything."""
        state = self._states.pop(attempt, None)
        self._since.pop(attempt, None)
        if attempt in self._here:
            self._here.discard(attempt)
            return None
        if state is not None and state != REPORTED:
            self.doomed.add(attempt)
        return state

    def let_go(self, attempts: list[int]) -> None:
        """The owner is told to forget these."""
        self.doomed.difference_update(attempts)
        forgotten = self._forgotten
        forgotten.update(dict.fromkeys(attempts))
        for attempt in list(islice(forgotten, max(0, len(forgotten) - MEMORY))):
            del forgotten[attempt]

    def compare(
        self, watched: Iterable[OwnerWatching], coming: Iterable[int], now: int
    ) -> tuple[list[int], list[tuple[int, Outcome]]]:
        """The owner's word on what it holds is the truth, except that it cannot know what was reported or forgotten. `coming`
        are starts that it has not been sent. Returns what it is to forget again, and what it never got or has lost."""
        known = set(coming)
        again: list[int] = []
        for watching in watched:
            attempt = watching.attempt
            known.add(attempt)
            if attempt in self._forgotten:
                again.append(attempt)
            elif attempt not in self.doomed and self._states.get(attempt) != REPORTED:
                self._states[attempt] = watching.state
                if watching.state == RUNNING:
                    self._since[attempt] = now - watching.ran
        missing = [
            (attempt, Outcome.REJECTED if state == QUEUED else Outcome.LOST)
            for attempt, state in self._states.items()
            if state != REPORTED and attempt not in known
        ]
        self.doomed &= known
        return again, missing

    def lose_owner(self) -> list[int]:
        """Everything but what it never had is gone with its owner; which."""
        lost = [attempt for attempt in self._states if attempt not in self._here]
        for attempt in lost:
            del self._states[attempt]
        self._since.clear()
        self._forgotten.clear()
        self.doomed.clear()
        return lost

    def clear(self) -> None:
        self._states.clear()
        self._since.clear()
        self._here.clear()
        self._forgotten.clear()
        self.doomed.clear()
