"""What programs print, on the server's disk.

    write() -> queue -> writer thread (one write, one fdatasync) -> take() -> the caller's Batch -> committed() -> acks

`segments` knows files: bytes at a position of a numbered, append-only file. `streams` knows which bytes of which stream of which
attempt have come. `store` brings the two together, and says what is to be acknowledged. `follow` reads: from the tail of
rows in memory or from the tables, and waits for more.

A chunk counts only once its row is committed: only then is it acknowledged, and only then do readers see it. So what lies
in a segment without a row is garbage of a crash, nobody ever looks at it, and after a restart a new segment is begun.
"""

from __future__ import annotations

from styx.runtime.output.follow import Piece
from styx.runtime.output.store import OutputStore

__all__ = ["OutputStore", "Piece"]
