"""Task files: from a path to a JobSpec, and what is wrong with one in the layout of a good compiler.

wordcount.yaml:7:5: unknown key 'retrys' in task 'count'
    7 |     retrys: 2
      |     ^^^^^^
      = did you mean 'retries'?
"""

from __future__ import annotations

import re
from pathlib import Path

from styx.core.spec import JobSpec
from styx.errors import Problem, SpecError, UsageError
from styx.protocol.document import read_job
from styx.protocol.yaml12 import MAX_TEXT, Marked, parse_yaml

__all__ = ["TaskFileError", "is_taskfile", "read_taskfile", "read_text", "shown"]

_WORD = re.compile(r"[\w.+-]+|\S")
_WIDTH = 100  # characters of a source line that are shown


class TaskFileError(SpecError):
    """A task file is wrong. `text` is what it said, for whoever shows the lines."""

    def __init__(self, problems: list[Problem], *, source: str, text: str) -> None:
        super().__init__(problems, source=source)
        self.text = text


def is_taskfile(name: str) -> bool:
    """Whether a word of a command line names a task file: it ends in .yaml or .yml and is there."""
    return name.endswith((".yaml", ".yml")) and Path(name).is_file()


def read_taskfile(path: Path, *, host: str = "", cwd: str = "") -> JobSpec:
    """The job in a file; its name defaults to the file's. Raises TaskFileError, or UsageError when it cannot be read."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_TEXT + 1)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from None
    return read_text(data, source=str(path), host=host, cwd=cwd, default_name=path.stem)


def read_text(data: bytes, *, source: str, host: str = "", cwd: str = "", default_name: str = "") -> JobSpec:
    """The job that a text describes. Raises TaskFileError."""
    try:
        document = parse_yaml(data)
        if document is None:
            raise SpecError([Problem("$", "the file is empty", "begin with 'run: echo hello'", 1, 1)])
        if not isinstance(document, Marked):
            hint = "begin with 'run: ...' for one task or 'tasks:' for several"
            raise SpecError([Problem("$", "a task file is a mapping of keys to values", hint, 1, 1)])
        return read_job(document, host=host, cwd=cwd, default_name=default_name)
    except SpecError as error:
        text = data.decode("utf-8-sig", errors="replace")
        raise TaskFileError(error.problems, source=source, text=text) from None


def shown(problems: list[Problem], *, source: str = "", text: str = "") -> str:
    """Problems as text: where, what, the line with a caret, and the hint."""
    lines = text.split("\n") if text else []
    parts: list[str] = []
    for problem in problems:
        if problem.line:
            parts.append(f"{source}:{problem.line}:{problem.column}: {problem.message}")
        elif source:
            parts.append(f"{source}: {problem.message} (at {problem.path})")
        else:
            parts.append(f"{problem.message} (at {problem.path})" if problem.path != "$" else problem.message)
        if 0 < problem.line <= len(lines):
            parts.extend(_quoted(lines[problem.line - 1].rstrip("\r"), problem))
        if problem.hint:
            parts.append(f"          = {problem.hint}" if problem.line else f"  {problem.hint}")
    return "\n".join(parts)


def _quoted(line: str, problem: Problem) -> list[str]:
    column = problem.column - 1
    first = max(0, column - _WIDTH // 2) if len(line) > _WIDTH else 0
    visible = "".join(c if c.isprintable() else " " for c in line[first : first + _WIDTH])
    word = _WORD.match(line, column)
    width = max(1, min(len(word[0]) if word else 1, _WIDTH - (column - first)))
    return [f"{problem.line:>7} | {visible}", f"        | {' ' * (column - first)}{'^' * width}"]
