"""A store that keeps the records themselves, in dicts: for tests, and for embedding where nothing needs to last.

It passes the same contract suite as the store on disk, and is divided as that one is: `tables` is what is kept, `write` puts a
record there, `rebuild` and `read` get it back, `retention` drops it, and `store` is the port over all of them.
"""

from __future__ import annotations

from styx.store.memory.store import MemoryStore

__all__ = ["MemoryStore"]
