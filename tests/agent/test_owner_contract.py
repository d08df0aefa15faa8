"""The owner that runs programs and the one that does no work keep the same promises."""

from __future__ import annotations

from pathlib import Path

from styx.agent.nowork import NoWorkOwner
from styx.agent.owner_link import owner_opener
from styx.agent.ports import OpenOwner
from styx.testing.contracts.owner import OwnerContract


class TestOwner(OwnerContract):
    def opener(self, folder: Path) -> OpenOwner:
        return owner_opener(folder, no_work=False, tied=False)


class TestNoWorkOwner(OwnerContract):
    def opener(self, folder: Path) -> OpenOwner:
        return NoWorkOwner().open
