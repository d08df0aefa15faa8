"""The offers for the tasks of a job, ranked: one table for each of the things that tasks ask for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from styx.core.capacity import has_own_place
from styx.core.fit import mismatch
from styx.core.offers import Catalog, Offer
from styx.core.places import Places
from styx.core.ranking import PLACE_LABELS
from styx.core.spec import JobSpec, TaskSpec
from styx.core.verdicts import judged
from styx.core.world import Node
from styx.protocol.places import RankedView
from styx.runtime.loop import Loop
from styx.runtime.offering import Offering, offer_view

__all__ = ["Ranking", "Rankings", "asked_for", "fitting"]

_TABLES = 20  # things that are asked for, of one job, for which offers are ranked
_NAMED = 20  # tasks named in each
_SPOT = ("spot", "true")

Asked = tuple[object, ...]


def asked_for(task: TaskSpec) -> Asked:
    """What tell tasks apart when it comes to where they may go."""
    return task.resources, task.labels, task.spot, task.max_hourly, task.others, task.ordered


def fitting(places: Sequence[Node], task: TaskSpec) -> list[str]:
    """The names of places that could hold the task if they were empty."""
    choices = task.choices
    return [node.name for node in places if any(mismatch(node, one.resources, one.labels) is None for one in choices)]


class Ranking:
    """The tables of one job. `at` is the age of the oldest price in milliseconds since the epoch."""

    def __init__(self, at: int, source: str) -> None:
        self.views: list[RankedView] = []
        self.at = at
        self.source = source
        self._by: dict[Asked, RankedView] = {}

    def add(self, asked: Asked, view: RankedView) -> None:
        self._by[asked] = view
        self.views.append(view)

    def fit(self, task: TaskSpec) -> bool:
        """Whether any offer fits, be it usable or not; true of what was not looked at."""
        view = self._by.get(asked_for(task))
        return view is None or view.fitting > 0

    def tell(self, task: TaskSpec) -> bool:
        """Whether offers say something about the task when no place is known: they say nothing of what only an agent can carry."""
        view = self._by.get(asked_for(task))
        return (
            view is not None
            and view.known > 0
            and any(all(pair == _SPOT or pair[0] in PLACE_LABELS for pair in choice.labels) for choice in task.choices)
        )


class Rankings:
    def __init__(self, loop: Loop, offering: Offering) -> None:
        self._loop = loop
        self._offering = offering

    async def of(self, spec: JobSpec, most: int, *, usable: bool) -> Ranking:
        """The best `most` offers (0: all) for each thing that is asked for, looking no further than `_TABLES` of them. With `usable` only
        those that may be brought up from here, now or after an outage."""
        world = self._loop.engine.world
        if usable:
            places = self._loop.engine.places
            if not places.provisions:
                return Ranking(0, "")
            catalog = _within_reach(places)
        else:
            catalog = await self._offering.catalog()
        obstacle = self._offering.obstacle()
        groups: dict[Asked, list[TaskSpec]] = {}
        for task in spec.tasks:
            asked = asked_for(task)
            if asked in groups or len(groups) < _TABLES:
                groups.setdefault(asked, []).append(task)
        found = Ranking(catalog.at if catalog.offers else 0, catalog.source)
        for asked, tasks in groups.items():
            view = await asyncio.to_thread(_table, catalog, tasks, most, obstacle, has_own_place(world, tasks[0]))
            found.add(asked, view)
        return found


def _within_reach(places: Places) -> Catalog:
    """What may be brought up, with the reason beside what cannot be now."""
    known = places.catalog
    barred = {one.provider: one.reason for one in places.outages.outages if not one.lasting}
    offers = tuple(offer for offer in known.offers if offer.provider in known.usable or offer.provider in barred)
    return Catalog(offers, known.usable, tuple(barred.items()), known.at, known.source)


def _table(
    catalog: Catalog, tasks: list[TaskSpec], most: int, obstacle: Callable[[Offer], str], free: bool
) -> RankedView:
    one = tasks[0]
    elements = max(task.size for task in tasks)  # scaling looks at one task after the other
    known = judged(catalog, one.choices, one.ordered, elements, obstacle)
    shown = known.fitting[: most or None]
    best = known.best
    if best is not None and best not in shown:
        shown.append(best)
    return RankedView(
        [task.name for task in tasks[:_NAMED]],
        [
            offer_view(
                verdict.candidate.offer,
                verdict.why,
                fits=verdict.candidate.fits,
                machines=verdict.machines,
                chosen=verdict is best,
            )
            for verdict in shown
        ],
        len(known.fitting),
        len(catalog.offers),
        known.lost,
        elements,
        free,
    )
