"""Results on disk: the files that tasks find in $STYX_RESULTS."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable

from styx.agent.results import DropResults, WriteResults

__all__ = ["apply"]


def apply(orders: Iterable[WriteResults | DropResults]) -> None:
    """Carry the orders out, in order. Raises OSError when something cannot be written."""
    for order in orders:
        if isinstance(order, DropResults):
            shutil.rmtree(order.folder, ignore_errors=True)
        else:
            _write(order)


def _write(order: WriteResults) -> None:
    os.makedirs(order.folder, mode=0o700, exist_ok=True)
    for name, content in order.files:
        # Task names come from people, through the server; nothing may be written outside of the folder.
        if not name or name in {".", ".."} or "/" in name or "\0" in name:
            raise OSError(f"not a file name: {name!r}")
        # A program may be reading the file that is there: it gets the old one whole, or the new one.
        with open(f"{order.folder}.new", "wb") as file:
            file.write(content)
        os.replace(f"{order.folder}.new", f"{order.folder}/{name}")
