"""Whether Google Cloud can be used from here, as whom, and what is missing. After the credentials are known, everything is asked side
by side: which zones there are, whether instances may be listed, and whether the network is there.

Whether instances may be made cannot be asked without making one: Compute Engine has no dry run.
"""

from __future__ import annotations

import asyncio

from styx.core.suggest import did_you_mean
from styx.providers.base import CLUSTER_TAG, Check, Refused, Unsure
from styx.providers.gcp.api import Api
from styx.providers.gcp.catalog import known_zones
from styx.providers.gcp.errors import GcpRefused
from styx.providers.gcp.settings import Settings, region_of

__all__ = ["check"]

_LIMIT = 2.7  # seconds; the contract is three
Problem = tuple[str, str]


async def check(api: Api, settings: Settings) -> Check:
    identity, usable = "", False
    try:
        async with asyncio.timeout(_LIMIT):
            identity = (await api.credentials.found()).identity
            project = await api.project()
            identity = f"{identity} in {project}"
            if not settings.zones:
                hint = 'set `zones = ["europe-west4-a"]` under [providers.gcp], or CLOUDSDK_COMPUTE_ZONE'
                return Check(False, identity, ("no zone of Google Cloud is set",), (hint,), lasting=True)
            usable, problems = await _ask(api, settings)
    except Refused as error:
        problems = [(error.message, error.hint)]
    except Unsure as error:
        problems = [(error.message, error.hint or "try again")]
    except TimeoutError:
        problems = [
            (
                f"Google Cloud gave no answer within {_LIMIT:g} seconds",
                "look at the network, and at the proxy if there is one",
            )
        ]
    told = tuple(dict.fromkeys(hint for _, hint in problems if hint))
    said = tuple(dict.fromkeys(problem for problem, _ in problems))
    return Check(
        usable, identity, said, told, lasting=not settings.zones
    )  # whatever else stands in the way before that


async def _ask(api: Api, settings: Settings) -> tuple[bool, list[Problem]]:
    """Whether it can be used, and what is wrong: a zone that is missing or down leaves the others. Errors: Refused and Unsure, of whatever
    stands in the way of everything."""
    zones = await _zones(api)  # first, and alone: without credentials the others would say the same in other words
    away = [_missing(zone, zones) for zone in settings.zones if zones.get(zone) != "UP"]
    wrong: list[Problem] = []
    answers = await asyncio.gather(_listed(api), *_networks(api, settings), return_exceptions=True)
    for answer in answers:
        if isinstance(answer, (Refused, Unsure)):
            wrong.append((answer.message, answer.hint))
        elif isinstance(answer, BaseException):
            raise answer
    return not wrong and len(away) < len(settings.zones), away + wrong


async def _zones(api: Api) -> dict[str, str]:
    found: dict[str, str] = {}
    async for page in api.pages("zones", "zones.list", query={"fields": "items(name,status),nextPageToken"}):
        found |= {str(zone.get("name")): str(zone.get("status")) for zone in page.get("items") or []}
    return found


def _missing(zone: str, there: dict[str, str]) -> Problem:
    if zone in there:
        return f"zone {zone} is down", "take it out of `zones` under [providers.gcp] for now"
    return f"there is no zone {zone} for this project", did_you_mean(zone, sorted({*there, *known_zones()}))


async def _listed(api: Api) -> None:
    query = {"filter": f"labels.{CLUSTER_TAG}:*", "maxResults": "1", "fields": "id"}
    await api.compute("GET", "aggregated/instances", "instances.aggregatedList", query=query)


def _networks(api: Api, settings: Settings) -> list[asyncio.Task[None]]:
    """What is in another project (a shared network) is not looked at: that needs rights there."""
    own = dict(settings.subnetworks)
    regions = dict.fromkeys(map(region_of, settings.zones))
    paths = [
        f"regions/{region}/subnetworks/{own[region]}"
        for region in regions
        if own.get(region) and "/" not in own[region]
    ]
    if "/" not in settings.network and any(region not in own for region in regions):
        paths.append(f"global/networks/{settings.network}")
    return [asyncio.ensure_future(_there(api, path)) for path in paths]


async def _there(api: Api, path: str) -> None:
    try:
        await api.compute("GET", path, f"looking for {path}", query={"fields": "name"})
    except GcpRefused as error:
        if error.status == 403:
            return  # to use a network one need not be allowed to look at it
        raise
