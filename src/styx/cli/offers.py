"""`styx offers`: what could be brought up, and for how much."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from styx.cli.app import App, format_option, server_option
from styx.cli.emit import emit, note

if TYPE_CHECKING:
    from styx.protocol.places import OffersQuery, OffersView, OfferView, RefreshView


@click.command()
@click.option(
    "--refresh", is_flag=True, help="Ask the clouds that are set up for what they have and cost; takes minutes."
)
@click.option("--provider", metavar="NAME", default="", help="Only of this provider.")
@click.option("--region", metavar="NAME", default="", help="Only in this region.")
@click.option("--zone", metavar="NAME", default="", help="Only in this zone.")
@click.option("--instance-type", metavar="NAME", default="", help="Only of this type.")
@click.option("--arch", metavar="NAME", default="", help="Only of this architecture: x86_64 or arm64.")
@click.option("--cpus", metavar="N", default="", help="With at least so many CPUs.")
@click.option("--memory", metavar="SIZE", default="", help="With at least so much memory.")
@click.option("--gpus", "--accelerators", "accelerators", metavar="NAME:N", default="", help="With these accelerators.")
@click.option("--spot/--no-spot", "spot", default=None, help="Only machines the cloud may take back, or only others.")
@click.option("--max-hourly-cost", metavar="AMOUNT", default="", help="That cost at most so much an hour.")
@click.option(
    "-n", "--limit", type=click.IntRange(1, 1_000), default=20, show_default=True, help="So many, the cheapest."
)
@format_option
@server_option
@click.pass_obj
def command(app: App, /, refresh: bool, spot: bool | None, **given: Any) -> None:
    """Show what could be brought up, the cheapest first, and what of it can be used from here. Works without a server, from the
    catalogs that come with the program and what was refreshed here."""
    from styx.protocol.places import OffersQuery

    query = OffersQuery(spot="" if spot is None else "true" if spot else "false", **given)
    app.run(_offers(app, query, refresh))


async def _offers(app: App, query: OffersQuery, refresh: bool) -> None:
    from styx.cli.planes import looking

    async with looking(app) as verbs:
        if refresh:
            _told(await verbs.refresh_offers())
        found = await verbs.offers(query)
    emit(app, found, map(_name, found.items), lambda: _text(found))


def _told(answers: list[RefreshView]) -> None:
    for answer in answers:
        said = f"not refreshed: {answer.problem}" if answer.problem else f"{answer.offers:,} offers"
        note(f"{answer.provider}: {said}")
    if not answers:
        note("no provider is set up, so there is no cloud to ask; add a table such as [providers.aws] to styx.toml")


def _name(offer: OfferView) -> str:
    """provider/place/type, with /spot behind it."""
    parts = [offer.provider, offer.zone or offer.region, offer.instance_type, *(["spot"] if offer.spot else [])]
    return "/".join(part for part in parts if part)


def _text(found: OffersView) -> str:
    from styx.cli.prices import age_text, offers_table
    from styx.cli.words import visible

    lines = [
        f"{found.found:,} of {found.known:,} offers fit"
        + (f", the cheapest {len(found.items):,} are" if found.items else "")
    ]
    if found.items:
        lines.append(offers_table(found.items).rstrip())
    lines.append(age_text(found.at, found.source))
    if found.usable:
        lines.append(f"can be used: {', '.join(map(visible, found.usable))}")
    lines += [f"cannot be used: {visible(name)}: {visible(why)}" for name, why in found.barred.items()]
    return "\n".join(lines) + "\n"
