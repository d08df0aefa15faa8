"""What every Store promises, as tests: derive from StoreContract, name a store, and pytest runs them all against it.

    class TestMyStore(StoreContract):
        def make(self, folder: Path) -> Store:
            return MyStore(folder)

Each test gets an empty folder. A restart is `close` and `open` of the same store object.

One room holds the promises about one thing; StoreContract is all of them. What the scenes tell a store is said by the functions of
`telling`, which tests of one store alone use too.
"""

from __future__ import annotations

from styx.testing.contracts.store.access import Access
from styx.testing.contracts.store.agents import Agents
from styx.testing.contracts.store.attempts import Attempts
from styx.testing.contracts.store.commits import Commits
from styx.testing.contracts.store.elements import Elements
from styx.testing.contracts.store.jobs import Jobs
from styx.testing.contracts.store.lists import Lists
from styx.testing.contracts.store.retention import Retention

__all__ = ["StoreContract"]


class StoreContract(Commits, Jobs, Lists, Attempts, Elements, Agents, Access, Retention):
    """All that every Store promises."""
