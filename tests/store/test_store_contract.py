"""The two stores that Styx has, against the contract that is written once."""

from __future__ import annotations

from pathlib import Path

from styx.store.base import Store
from styx.store.memory import MemoryStore
from styx.store.sqlite import SqliteStore
from styx.testing.contracts.store import StoreContract


class TestMemoryStore(StoreContract):
    def make(self, folder: Path) -> Store:
        return MemoryStore()


class TestSqliteStore(StoreContract):
    def make(self, folder: Path) -> Store:
        return SqliteStore(folder)
