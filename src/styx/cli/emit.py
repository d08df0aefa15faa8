"""Printing one document on stdout in the format that was asked for; all else goes to stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from styx.cli.app import App

__all__ = ["emit", "note", "write_document"]


def emit(app: App, document: Any, names: Iterable[str], table: Callable[[], str]) -> None:
    """`document` is a struct, or a list of structs; `names` are its ids; `table` draws it for people."""
    if app.format == "table":
        text = table()
        sys.stdout.write(text if text.endswith("\n") or not text else f"{text}\n")
    elif app.format == "name":
        for name in names:
            sys.stdout.write(f"{name}\n")
    else:
        write_document(app.format, document)


def write_document(form: str, document: Any) -> None:
    import msgspec

    if form == "json":
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n")
        return
    import yaml

    plain = msgspec.to_builtins(document)
    yaml.safe_dump(plain, sys.stdout, sort_keys=False, allow_unicode=True, width=100)


def note(text: str) -> None:
    """A line for people, on stderr."""
    print(f"styx: {text}", file=sys.stderr, flush=True)
