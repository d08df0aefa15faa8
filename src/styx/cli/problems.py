"""Errors as people and programs read them: on stderr with hints, and with `-o json` or `yaml` as a document on stdout too,
which says that it was Styx that spoke and not the program.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from styx.cli.app import App

__all__ = ["report"]


def report(app: App, error: Exception) -> int:
    """Show an error; returns the exit code."""
    from styx.errors import NoFit, SpecError, StyxError

    code = error.exit_code if isinstance(error, StyxError) else 1
    if app.format in {"json", "yaml"}:
        from styx.cli.emit import write_document

        write_document(app.format, _document(error, code))
    if isinstance(error, (SpecError, NoFit)) and error.problems:
        _problems(error)
    else:
        _say(getattr(error, "message", str(error)), getattr(error, "hint", ""))
    sys.stderr.flush()
    return code


def _document(error: Exception, code: int) -> dict[str, Any]:
    import msgspec

    problems = getattr(error, "problems", [])
    return {
        "by": "styx",
        "error": getattr(error, "code", "error"),
        "message": getattr(error, "message", str(error)),
        "hint": getattr(error, "hint", ""),
        "exit_code": code,
        "problems": [msgspec.to_builtins(problem) for problem in problems],
    }


def _problems(error: Any) -> None:
    from styx.protocol.taskfile import shown

    source, text = getattr(error, "source", ""), getattr(error, "text", "")
    if text:
        count = len(error.problems)
        print(shown(error.problems, source=source, text=text), file=sys.stderr)
        print(f"styx: {source} has {'an error' if count == 1 else f'{count} errors'}; nothing was run", file=sys.stderr)
        return
    for problem in error.problems:
        where = f"{source}: " if source else ""
        # The message of a NoFit names its task; the path would only repeat it.
        at = f" (at {problem.path})" if problem.path not in {"", "$"} and error.code != "no-fit" else ""
        _say(f"{where}{problem.message}{at}", problem.hint)


def _say(message: str, hint: str) -> None:
    from styx.cli.words import visible

    print(f"styx: {visible(message, lines=True)}", file=sys.stderr)
    if hint:
        print(f"      {visible(hint, lines=True)}", file=sys.stderr)
