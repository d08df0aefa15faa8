"""The SQL of the store lives in queries.sql; here it is cut into named statements.

A statement begins at a line `-- name: NAME` and the comment lines behind it say what it is for. A name used twice, a
statement without a description or an empty one is refused at import, so a slip cannot reach a running server.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

__all__ = ["SQL", "for_rows", "parse"]

_HEADER = "-- name:"
_ROWS = re.compile(r"ROWS\((\d+)\)")


def parse(text: str) -> dict[str, str]:
    """Statements by name; raises ValueError with the name of the one that is wrong."""
    statements: dict[str, str] = {}
    for block in text.split(_HEADER)[1:]:
        header, _, rest = block.partition("\n")
        name = header.strip()
        lines = rest.strip().splitlines()
        body = "\n".join(line for line in lines if not line.startswith("--")).strip().removesuffix(";")
        if not name.isidentifier() or name in statements:
            raise ValueError(f"queries.sql: {name!r} is no name or is used twice")
        if not body or not lines[0].startswith("-- "):
            raise ValueError(f"queries.sql: {name} lacks its description or its statement")
        statements[name] = body
    return statements


SQL = parse((files("styx.store") / "queries.sql").read_text("utf-8"))


@cache
def for_rows(name: str, count: int) -> str:
    """The statement `name` for `count` rows of parameters, which are passed one row behind the other."""

    def expand(match: re.Match[str]) -> str:
        row = f"({', '.join('?' * int(match[1]))})"
        return ", ".join([row] * count)

    return _ROWS.sub(expand, SQL[name])
