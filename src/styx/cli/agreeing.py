"""Before money is spent: what a job would bring up is shown, and somebody has to agree."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from styx.core.spec import JobSpec
    from styx.protocol.http import PlanView
    from styx.protocol.places import OfferView, RankedView
    from styx.protocol.verbs import Verbs

__all__ = ["Priced", "agree", "price"]

_SHOWN = 5  # offers for each thing that is asked for


class Priced(Exception):
    """A job that goes to places which cost money, and nobody has agreed yet. Raised to leave the event loop, whose handling of Ctrl-C
    does not reach a question that waits for its answer."""

    def __init__(self, plan: PlanView) -> None:
        super().__init__()
        self.plan = plan


async def price(verbs: Verbs, spec: JobSpec) -> None:
    """Raises Priced when something would be brought up for the job that costs money, now or once it can be had."""
    if not (await verbs.health()).provisions:
        return
    plan = await verbs.plan(spec, offers=_SHOWN, usable=True)
    for ranked in plan.rankings:
        if not ranked.free and (first := _first(ranked)) is not None and first.price:
            raise Priced(plan)


def _first(ranked: RankedView) -> OfferView | None:
    """What would be taken. When nothing can be had now (an outage, refused lately), what would be first if that were over."""
    return next((offer for offer in ranked.offers if offer.chosen), next(iter(ranked.offers), None))


def agree(plan: PlanView, budget: int) -> None:
    """Show it on stderr, and return when the person agrees; `budget` in micros. Raises Abort, and UsageError when nobody can be asked."""
    from styx.cli.prices import age_text, dollars, ranked_text
    from styx.core.offers import MICROS

    priced = [ranked for ranked in plan.rankings if not ranked.free and ranked.offers]
    hourly = sum(first.hourly for ranked in priced if (first := _first(ranked)) is not None)
    for ranked in priced:
        click.echo(ranked_text(ranked), err=True)
    click.echo(age_text(plan.prices_at, plan.prices_source), err=True)
    most = f"; its budget is {dollars(budget / MICROS)}" if budget else ""
    if not sys.stdin.isatty():
        raise click.UsageError(
            f"this job would bring up machines for up to {dollars(hourly)} an hour, and nobody can be asked here; -y agrees{most}"
        )
    click.confirm(f"Bring up machines for up to {dollars(hourly)} an hour{most}?", abort=True, err=True)
