"""Whether the tasks of a job hang together, and how: names to ordinals, what is wrong, levels, descendants.

Everything that is wrong is said at once, each with the JSON path of its place. All of it is linear in tasks and edges, and
`check_in_slices` hands control back every thousand tasks, so that a loop can serve others while a large job is checked.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence

from styx.core.ids import MAX_TASKS
from styx.core.spec import JobSpec, TaskSpec
from styx.errors import Problem

__all__ = ["MAX_ARRAY", "check", "check_in_slices", "descendants", "levels", "name_problem", "task_path"]

MAX_ARRAY = 10_000_000
MAX_NAME = 128
_MAX_NAME_BYTES = 200  # names become file names, which end at 255 bytes
_MAX_PROBLEMS = 1_000
_MAX_SUGGESTIONS = 20  # each costs a look at every name
_SUGGEST_AMONG = 2_000
_SHOWN_OF_CYCLE = 12
_SLICE = 1_000
_ELEMENT = re.compile(r".*\.\d+", re.DOTALL)

Needs = tuple[int, ...]
Slice = tuple[list[Needs], list[Problem]]


def check(spec: JobSpec) -> tuple[list[Needs], list[Problem]]:
    """The ordinals that each task needs, and everything that is wrong; the ordinals are whole only if nothing is."""
    needs: list[Needs] = []
    problems: list[Problem] = []
    for some_needs, some_problems in check_in_slices(spec):
        needs += some_needs
        problems += some_problems
    return needs, problems


def check_in_slices(spec: JobSpec) -> Iterator[Slice]:
    """The same piece by piece: (ordinals of the next tasks, problems found meanwhile), either of which may be empty."""
    tasks = spec.tasks
    if not tasks:
        yield [], [Problem("$.tasks", "the job has no tasks", "give it at least one task")]
        return
    if len(tasks) > MAX_TASKS:
        yield [], [Problem("$.tasks", f"the job has {len(tasks):,} tasks, at most {MAX_TASKS:,} are possible")]
        return
    checking = _Checking(spec)
    for first in range(0, len(tasks), _SLICE):
        yield [], checking.names(first, tasks[first : first + _SLICE])
    for first in range(0, len(tasks), _SLICE):
        yield checking.needs(first, tasks[first : first + _SLICE])
    yield from checking.cycles()


def name_problem(name: str) -> str:
    """Why this cannot be the name of a task, or "". A name is part of references (JOB/NAME.INDEX) and of file names."""
    if not name:
        return "is empty"
    if len(name) > MAX_NAME or len(name.encode(errors="replace")) > _MAX_NAME_BYTES:
        return f"is longer than {MAX_NAME} characters"
    if not name.isprintable():
        return "has characters that cannot be printed"
    if "/" in name:
        return "has a '/'"
    if name[0] in ".-@ " or name[-1] == " ":
        return "starts with '.', '-', '@' or a space, or ends with a space"
    if "." in name and _ELEMENT.fullmatch(name):
        return "ends with a dot and a number, which would mean an element of an array"
    return ""


class _Checking:
    """One check under way."""

    def __init__(self, spec: JobSpec) -> None:
        self._tasks = spec.tasks
        self._ordinals: dict[str, int] = {}
        self._resolved: list[Needs] = []
        self._found = 0
        self._suggested = 0

    def names(self, first: int, tasks: Sequence[TaskSpec]) -> list[Problem]:
        """Names and sizes of a run of tasks."""
        problems: list[Problem] = []
        for ordinal, task in enumerate(tasks, first):
            name = task.name
            wrong = name_problem(name)
            if wrong:
                hint = "use letters, digits, '-', '_' and '.'"
                problems.append(Problem(task_path(name), f"the name of task {_shown(name)} {wrong}", hint))
            other = self._ordinals.setdefault(name, ordinal)
            if other != ordinal:
                where = f"tasks {other + 1} and {ordinal + 1} of the list"
                problems.append(
                    Problem(task_path(name), f"two tasks are named {_shown(name)}: {where}", "give one another name")
                )
            if not 0 <= task.array <= MAX_ARRAY:
                message = f"an array has 1 to {MAX_ARRAY:,} elements, task {_shown(name)} asks for {task.array:,}"
                problems.append(Problem(f"{task_path(name)}.array", message))
        return self._capped(problems)

    def needs(self, first: int, tasks: Sequence[TaskSpec]) -> Slice:
        """The needs of a run of tasks, by ordinal."""
        ordinals = self._ordinals
        problems: list[Problem] = []
        resolved: list[Needs] = []
        for ordinal, task in enumerate(tasks, first):
            found = tuple([ordinals.get(name, -1) for name in task.needs])
            if -1 in found or ordinal in found or (len(found) > 1 and len(set(found)) < len(found)):
                problems += self._wrong_needs(ordinal, task, found)
                found = tuple(dict.fromkeys(need for need in found if need not in {-1, ordinal}))
            resolved.append(found)
        self._resolved += resolved
        return resolved, self._capped(problems)

    def _wrong_needs(self, ordinal: int, task: TaskSpec, found: Needs) -> Iterator[Problem]:
        seen: dict[str, int] = {}
        for position, (name, need) in enumerate(zip(task.needs, found, strict=True)):
            path = f"{task_path(task.name)}.needs[{position}]"
            if seen.setdefault(name, position) != position:
                yield Problem(path, f"task {_shown(task.name)} names {_shown(name)} twice", "name it once")
            elif need < 0:
                message = f"task {_shown(task.name)} needs {_shown(name)}, and there is no such task"
                yield Problem(path, message, self._suggestion(name))
            elif need == ordinal:
                yield Problem(path, f"task {_shown(task.name)} needs itself", "leave it out")

    def _suggestion(self, name: str) -> str:
        if self._suggested >= _MAX_SUGGESTIONS or len(self._ordinals) > _SUGGEST_AMONG or len(name) > MAX_NAME:
            return ""
        self._suggested += 1
        lowered = {known.lower(): known for known in self._ordinals}
        close = difflib.get_close_matches(name.lower(), lowered, n=1)
        return f"did you mean {lowered[close[0]]!r}?" if close else ""

    def cycles(self) -> Iterator[Slice]:
        """Each circle of needs, named whole. What waits for a circle without being part of it is not named."""
        resolved = self._resolved
        unmet = [len(needs) for needs in resolved]
        if not any(unmet):
            return
        dependants: list[list[int]] = [[] for _ in resolved]
        for ordinal, needs in enumerate(resolved):
            for need in needs:
                dependants[need].append(ordinal)
            if ordinal % _SLICE == 0:
                yield [], []
        free = [ordinal for ordinal, count in enumerate(unmet) if not count]
        for done, ordinal in enumerate(free):
            for dependant in dependants[ordinal]:
                unmet[dependant] -= 1
                if not unmet[dependant]:
                    free.append(dependant)
            if done % _SLICE == 0:
                yield [], []
        if len(free) == len(resolved):
            return
        walked = [0] * len(resolved)  # the walk that came by, from 1; 0: none yet
        for start in range(len(resolved)):
            if not unmet[start] or walked[start]:
                continue
            path: list[int] = []
            at = start
            while not walked[at]:
                walked[at] = start + 1
                path.append(at)
                at = next(need for need in resolved[at] if unmet[need])  # what is left needs something that is left
            if walked[at] == start + 1:
                yield [], self._capped([self._circle(path[path.index(at) :])])

    def _circle(self, circle: list[int]) -> Problem:
        names = [self._tasks[ordinal].name for ordinal in circle]
        names.append(names[0])
        first = self._tasks[circle[0]]
        following = self._tasks[circle[1 % len(circle)]].name
        if len(names) > _SHOWN_OF_CYCLE:
            left = len(names) - _SHOWN_OF_CYCLE
            names[_SHOWN_OF_CYCLE - 4 : -4] = [f"... {left:,} more ..."]
        return Problem(
            f"{task_path(first.name)}.needs[{first.needs.index(following)}]",
            f"these tasks wait for one another: {' -> '.join(names)}",
            "take one of these needs out",
        )

    def _capped(self, problems: list[Problem]) -> list[Problem]:
        """No more than a person or a response can bear."""
        room = _MAX_PROBLEMS - self._found
        self._found += len(problems)
        if len(problems) <= max(0, room):
            return problems
        if room < 0:
            return []
        self._found = _MAX_PROBLEMS + 1
        return [*problems[:room], Problem("$.tasks", f"more is wrong; the first {_MAX_PROBLEMS:,} problems are shown")]


def levels(needs: Sequence[Needs]) -> list[int]:
    """For each task the length of the longest chain of needs behind it; 0 when it needs nothing. No circles allowed."""
    result = [0] * len(needs)
    unmet = [len(some) for some in needs]
    dependants = _dependants(needs)
    free = [ordinal for ordinal, count in enumerate(unmet) if not count]
    for ordinal in free:
        for dependant in dependants[ordinal]:
            result[dependant] = max(result[dependant], result[ordinal] + 1)
            unmet[dependant] -= 1
            if not unmet[dependant]:
                free.append(dependant)
    return result


def descendants(needs: Sequence[Needs], start: int) -> list[int]:
    """The ordinals of all tasks that need `start`, directly or not, in order; without `start` itself."""
    dependants = _dependants(needs)
    seen = [False] * len(needs)
    seen[start] = True
    order = [start]
    for ordinal in order:
        for dependant in dependants[ordinal]:
            if not seen[dependant]:
                seen[dependant] = True
                order.append(dependant)
    return sorted(order[1:])


def _dependants(needs: Sequence[Needs]) -> list[list[int]]:
    result: list[list[int]] = [[] for _ in needs]
    for ordinal, some in enumerate(needs):
        for need in some:
            result[need].append(ordinal)
    return result


def task_path(name: str) -> str:
    """The JSON path of a task in its document."""
    if name.isascii() and name.replace("-", "_").isidentifier():
        return f"$.tasks.{name}"
    return f"$.tasks[{name[:80]!r}]"


def _shown(name: str) -> str:
    return repr(name if len(name) <= MAX_NAME else f"{name[:40]}...")
