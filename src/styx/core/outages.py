"""What is set up and cannot be used at this moment: providers that do not let themselves be used now (expired credentials, no network), and
runners that have not been reached since the server knows of them.

An outage changes nothing about which work is accepted: what such a place could hold waits for it, and is not said to fit nowhere. Only
one that other settings of this server would end (`lasting`) is no place to wait for. What could be held is asked in `awaiting`.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from styx.core.offers import Catalog
from styx.core.resources import Resources
from styx.core.wording import time_text

__all__ = ["NO_OUTAGES", "Outage", "Outages", "Promised", "hints_of", "outage_text"]


class Outage(msgspec.Struct, frozen=True):
    """One provider, and why it cannot be used. `since` and `again` (when it is asked next) are milliseconds since the epoch, 0: not known."""

    provider: str
    reason: str
    hints: tuple[str, ...] = ()
    since: int = 0
    again: int = 0
    lasting: bool = False  # it ends only with other settings of this server


class Promised(msgspec.Struct, frozen=True):
    """A runner that stands in the settings: the node it is to become. Its name begins with its provider's and a slash."""

    name: str
    capacity: Resources
    labels: tuple[tuple[str, str], ...] = ()


class Outages(msgspec.Struct, frozen=True):
    """`catalog` has the offers of these providers, and names them all as usable, so that they can be ranked as if they were. `runners` are
    all that stand in the settings, reached or not."""

    outages: tuple[Outage, ...] = ()
    catalog: Catalog = Catalog()
    runners: tuple[Promised, ...] = ()

    @property
    def passing(self) -> bool:
        """Whether there is anything to wait for."""
        return any(not one.lasting for one in self.outages)


NO_OUTAGES = Outages()


def outage_text(outage: Outage, now: int) -> str:
    """Which provider, since when, and when it is asked again; the reason stands beside it."""
    since = f" for {time_text(now - outage.since)}" if outage.since else ""
    if outage.lasting:
        return f"{outage.provider} cannot be used as this server is set up{since}: {outage.reason}"
    again = f" (asked again in {time_text(outage.again - now)})" if outage.again else ""
    return f"{outage.provider} cannot be used{since}: {outage.reason}{again}"


def hints_of(outages: Iterable[Outage]) -> tuple[str, ...]:
    """What would end them, each once."""
    return tuple(dict.fromkeys(hint for one in outages for hint in one.hints))
