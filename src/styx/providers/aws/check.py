"""Whether AWS can be used from here, as whom, and what is missing. Everything is asked side by side: who the credentials are (STS),
and in each region whether machines may be listed and, by a dry run with the image a machine would get, brought up.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from styx.core.offers import Offer
from styx.core.resources import Resources
from styx.core.suggest import did_you_mean
from styx.providers.aws.catalog import known_regions
from styx.providers.aws.clients import Clients, side_by_side
from styx.providers.aws.errors import AwsRefused
from styx.providers.aws.ground import Ground
from styx.providers.aws.settings import Settings
from styx.providers.base import Check, Kind, Order, Refused, Unsure

__all__ = ["LIMIT", "check"]

LIMIT = 2.7  # seconds; the contract is three
_PROBE = Order("styx-check", "", Offer("aws", "", "", "t3.micro", False, 0, Resources()), "")


async def check(clients: Clients, settings: Settings, ground: Ground) -> Check:
    if not settings.regions:
        hint = 'set `regions = ["us-east-1"]` under [providers.aws], or AWS_REGION'
        return Check(False, "", ("no region of AWS is set",), (hint,), lasting=True)
    who = asyncio.ensure_future(_who(clients, settings.regions[0]))
    regions = {region: asyncio.ensure_future(_may(clients, ground, region)) for region in settings.regions}
    asked = [who, *regions.values()]
    for task in asked:
        task.add_done_callback(_heard)
    try:
        _, late = await asyncio.wait(asked, timeout=LIMIT)
    finally:
        for task in asked:  # also when nobody waits for the answer any more
            task.cancel()
    if late:
        await asyncio.wait(late)
    problems: list[tuple[str, str]] = []
    identity = _outcome(who, f"STS in {settings.regions[0]}", problems)
    fault = who.exception() if who in _done(who) else None
    if isinstance(fault, Refused) and fault.kind is Kind.DENIED:
        # Each region would say the same again in other words.
        for heard in _done(*regions.values()):
            heard.exception()
        return _told(False, identity, problems)
    usable = False
    for region, task in regions.items():
        before = len(problems)
        _outcome(task, f"EC2 in {region}", problems, region=region, known=bool(identity))
        usable = usable or len(problems) == before or _passing(task)
    return _told(usable and bool(identity), identity, problems)


def _heard(task: asyncio.Future[str]) -> None:
    """What goes wrong in one whose answer is not waited for any more is nobody's business."""
    if not task.cancelled():
        task.exception()


def _done(*tasks: asyncio.Future[str]) -> set[asyncio.Future[str]]:
    return {task for task in tasks if task.done() and not task.cancelled()}


def _passing(task: asyncio.Future[str]) -> bool:
    """Whether a region has not said no: it is slow, or what it said is over soon. The first order will tell."""
    error = None if task.cancelled() else task.exception()
    return not isinstance(error, Refused) or error.kind is Kind.THROTTLED


def _outcome(
    task: asyncio.Future[str], what: str, problems: list[tuple[str, str]], *, region: str = "", known: bool = False
) -> str:
    if task not in _done(task):
        problems.append((f"{what} gave no answer within {LIMIT:g} seconds", "look at the network"))
        return ""
    error = task.exception()
    if error is None:
        return task.result()
    if not isinstance(error, (Refused, Unsure)):
        raise error
    hint = error.hint
    if isinstance(error, AwsRefused) and error.aws == "AuthFailure" and known:
        hint = f"the credentials are right, so {region} is not enabled for this account: enable it in the AWS console"
    if isinstance(error, Refused) and error.kind is Kind.UNREACHABLE and region:
        hint = did_you_mean(region, known_regions()) if region not in known_regions() else error.hint
    problems.append((error.message, hint or error.hint))
    return ""


def _told(usable: bool, identity: str, problems: list[tuple[str, str]]) -> Check:
    return Check(
        usable, identity, tuple(problem for problem, _ in problems), tuple(dict.fromkeys(h for _, h in problems if h))
    )


async def _who(clients: Clients, region: str) -> str:
    answer = await clients.call("sts", region, "get_caller_identity")
    return str(answer["Arn"])


async def _may(clients: Clients, ground: Ground, region: str) -> str:
    probe = msgspec.structs.replace(_PROBE, offer=msgspec.structs.replace(_PROBE.offer, region=region))

    async def bring_up() -> None:
        image = await ground.image(probe)
        await _dry(clients, region, "run_instances", ImageId=image.id, InstanceType="t3.micro", MinCount=1, MaxCount=1)

    async with side_by_side() as tasks:
        tasks.create_task(_dry(clients, region, "describe_instances"))
        tasks.create_task(bring_up())
    return region


async def _dry(clients: Clients, region: str, operation: str, **parameters: Any) -> None:
    """A dry run never succeeds: "DryRunOperation" is its yes."""
    try:
        await clients.call("ec2", region, operation, DryRun=True, **parameters)
    except AwsRefused as error:
        if error.aws != "DryRunOperation":
            raise
