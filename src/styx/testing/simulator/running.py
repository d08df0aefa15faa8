"""What programs really do, where they run, held against the books: whether each may start, there and then, and finds what it needs.

Whatever does not add up is told to `wrong`.
"""

from __future__ import annotations

from collections.abc import Callable

from styx.core.resources import Resources
from styx.core.states import Outcome
from styx.testing.simulator.books import Books, Entry
from styx.testing.simulator.program import Program, Witness

__all__ = ["Running"]


class Running(Witness):
    """`files` gives what lies in a $STYX_RESULTS folder of a machine, `capacity` what a machine has, `cut_off` whether its agent
    knows that its lease is over."""

    def __init__(
        self,
        books: Books,
        wrong: Callable[[str], None],
        note: Callable[..., None],
        files: Callable[[str, str], dict[str, bytes]],
        capacity: Callable[[str], Resources],
        cut_off: Callable[[str], bool],
    ) -> None:
        self._books = books
        self._wrong = wrong
        self._note = note
        self._files = files
        self._capacity = capacity
        self._cut_off = cut_off

    def started(self, program: Program, machine: str) -> None:
        attempt = program.attempt
        self._note("%s starts attempt %d", machine, attempt)
        entry = self._books.attempts.get(attempt)
        if entry is None:
            self._wrong(f"attempt {attempt} runs on {machine} and is not on the server's disk")
            return
        if self._books.machines.get(entry.record.node) != machine:
            self._wrong(
                f"attempt {attempt} runs on {machine}, it was given to {self._books.machines.get(entry.record.node)}"
            )
        if attempt in self._books.programs:
            self._wrong(f"attempt {attempt} was started twice")
        if self._cut_off(machine):
            self._wrong(f"attempt {attempt} starts on {machine}, whose agent knows that its lease is over")
        if entry.ended is not None and entry.ended.outcome != Outcome.LOST:
            self._wrong(f"attempt {attempt} starts after its end: {entry.ended.outcome.name}")
        for other in self._books.running:
            books = self._books.attempts.get(other)
            if books is not None and books.element == entry.element:
                lost = books.ended is not None and books.ended.outcome == Outcome.LOST
                mine = entry.ended is not None and entry.ended.outcome == Outcome.LOST
                owned = (
                    other in self._books.programs and self._books.programs[other].owner.alive
                )  # by whom else should it be ended
                if entry.spec.exclusive and owned:
                    self._wrong(f"attempts {other} and {attempt} of the exclusive {entry.element} run at once")
                elif not lost and not mine:
                    self._wrong(f"attempts {other} and {attempt} of {entry.element} run at once, and neither is lost")
        self._books.programs[attempt] = program
        self._books.running[attempt] = machine
        self._check_room(machine)
        self._check_results(program, machine, entry)

    def ended(self, program: Program, machine: str) -> None:
        self._note("attempt %d has ended on %s", program.attempt, machine)
        self._books.running.pop(program.attempt, None)

    def _check_room(self, machine: str) -> None:
        used = Resources(0)
        for attempt, where in self._books.running.items():
            if where == machine:
                used = used.plus(self._books.attempts[attempt].spec.resources)
        if not used.fits(self._capacity(machine)):
            self._wrong(f"programs on {machine} use {used}, it has {self._capacity(machine)}")

    def _check_results(self, program: Program, machine: str, entry: Entry) -> None:
        if entry.ended is not None:
            return  # it was lost in the meantime, and what it needs may have run again
        job = self._books.jobs[entry.record.job]
        wanted: dict[str, bytes] = {}
        for need in job.tasks[entry.record.task].needs:
            other = job.tasks[need]
            for index, result in other.results.items():
                wanted[f"{other.spec.name}.{index}" if other.spec.array else other.spec.name] = result
        if wanted:
            found = self._files(machine, program.results) if program.results else {}
            for name, content in wanted.items():
                if found.get(name) != content:
                    self._wrong(
                        f"attempt {program.attempt} finds {found.get(name)!r} in $STYX_RESULTS/{name}, not {content!r}"
                    )
