"""What the core keeps in mind about providers between two steps, beside the world: what may be brought up, and what is being looked
into. None of it is a fact that must outlive the process: the catalog is told again at each start, and what a listing has to show
twice is shown twice again.
"""

from __future__ import annotations

from styx.core.offers import Catalog
from styx.core.outages import NO_OUTAGES, Outages

__all__ = ["Places", "Stranger"]

Stranger = tuple[str, str]
"""(provider, ref) of a machine that is marked as ours, and that no node stands for."""


class Places:
    __slots__ = (
        "absent",
        "catalog",
        "listed",
        "outages",
        "relaunch",
        "scale_at",
        "strangers",
        "tending",
        "told",
        "unpaid",
        "waits",
    )

    def __init__(self) -> None:
        self.catalog = Catalog()
        self.outages: Outages = NO_OUTAGES  # what is set up and cannot be used at this moment
        self.tending = False  # a TEND timer is under way
        self.relaunch: dict[int, int] = {}  # node -> when the cloud is to be asked again for its machine
        self.waits: dict[int, int] = {}  # node -> the wait before that, which grows
        self.absent: dict[int, int] = {}  # node -> complete listings in a row that did not show its machine
        self.strangers: dict[Stranger, tuple[int, int]] = {}  # -> (first seen at, complete listings that showed it)
        self.listed: dict[str, int] = {}  # provider -> when it was last asked for a listing
        self.unpaid: dict[
            int, str
        ] = {}  # jobs whose budget bears no machine that they wait for -> why; made anew likewise
        self.scale_at = 0  # before then no wide look at what waits is taken
        self.told: dict[int, str] = {}  # shape -> why nothing is brought up for it; made anew in each pass

    @property
    def usable(self) -> bool:
        """Whether anything may be brought up at all."""
        return bool(self.catalog.usable)

    @property
    def provisions(self) -> bool:
        """Whether anything may be brought up now, or once an outage is over."""
        return self.usable or (self.outages.passing and bool(self.outages.catalog.offers))
