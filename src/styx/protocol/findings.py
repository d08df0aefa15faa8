"""What is wrong with a document, gathered: each problem with its JSON path, up to a bound."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from msgspec.structs import replace

from styx.core.suggest import did_you_mean, one_of
from styx.errors import Problem

__all__ = ["MAX_PROBLEMS", "Findings", "Path", "path_text"]

MAX_PROBLEMS = 100
Path = tuple[str | int, ...]


def path_text(path: Path) -> str:
    """`$.tasks.count.retries`, `$.tasks[3].env['my key']`."""
    parts = ["$"]
    for step in path:
        if isinstance(step, int):
            parts.append(f"[{step}]")
        elif step.isascii() and step.replace("-", "_").isidentifier():
            parts.append(f".{step}")
        else:
            parts.append(f"[{step[:80]!r}]")
    return "".join(parts)


class Located(Protocol):
    """A document that knows where in its text things stand."""

    problems: list[Problem]

    def locate(self, path: str, *, at_key: bool = False) -> tuple[int, int]: ...


class Findings:
    """Problems in the order they were met. `at_key` holds the positions of those that are about a key, not its value;
    a reader with lines and columns points there."""

    __slots__ = ("at_key", "problems")

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.at_key: set[int] = set()

    @property
    def full(self) -> bool:
        return len(self.problems) > MAX_PROBLEMS

    def add(self, path: Path, message: str, hint: str = "", *, key: bool = False) -> None:
        if len(self.problems) > MAX_PROBLEMS:
            return
        if len(self.problems) == MAX_PROBLEMS:
            message, hint, path = f"more than {MAX_PROBLEMS} problems; the others are not shown", "", ("tasks",)
        if key:
            self.at_key.add(len(self.problems))
        self.problems.append(Problem(path=path_text(path), message=message, hint=hint))

    def join(self, problems: Sequence[Problem]) -> None:
        """Add problems that somebody else has found."""
        room = MAX_PROBLEMS - len(self.problems)
        self.problems += problems[: max(0, room)]
        if len(problems) > room:
            self.add((), "")

    def locate(self, document: Located) -> None:
        """Give each problem its line and column, join those of the parser, and put all into the order of the text."""
        located = list(document.problems)
        for position, problem in enumerate(self.problems):
            line, column = document.locate(problem.path, at_key=position in self.at_key)
            located.append(replace(problem, line=line, column=column))
        self.problems = sorted(located, key=lambda problem: (problem.line, problem.column))

    def value(self, path: Path, wanted: str, hint: str = "") -> None:
        """The value at `path` is not what it must be; `wanted` reads on from "must be"."""
        name = path[-1] if path else "the document"
        if isinstance(name, int):
            name = f"{path[-2] if len(path) > 1 else 'list'}[{name}]"
        self.add(path, f"{name} must be {wanted}", hint)

    def unknown(self, path: Path, key: object, known: Iterable[str], context: str = "") -> None:
        """There is no such key at `path`."""
        words = list(known)
        hint = did_you_mean(str(key), words) or f"it may be {one_of(sorted(words))}"
        if key == "<<":
            hint = "YAML 1.2 has no merge keys; what all tasks share stands at the top of the file"
        self.add((*path, str(key)), f"unknown key {str(key)[:60]!r}{context}", hint, key=True)
