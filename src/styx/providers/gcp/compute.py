"""Instances of Compute Engine. A machine's `ref` is `zone/name`.

The name comes of the order, and there can be one of a name in a zone: whatever happened to an answer, a machine of an order is found
under it, and a second one cannot be made.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from styx.core.offers import Offer
from styx.core.suggest import one_of
from styx.providers.base import CLUSTER_TAG, TOKEN_TAG, Kind, Listing, Machine, MachineState, Order, Refused, Unsure
from styx.providers.gcp.api import Api
from styx.providers.gcp.blueprint import instance, name_of
from styx.providers.gcp.errors import GcpRefused, GcpUnsure
from styx.providers.gcp.kinds import attached
from styx.providers.gcp.offers import survey
from styx.providers.gcp.operations import Operations, any_request_id, raise_for, request_id
from styx.providers.gcp.settings import Settings, region_of

__all__ = ["Compute", "machine"]

_PAGE = 500  # the most that Google gives
_AT_ONCE = 16  # requests of one call
_STATES = {
    "PENDING": MachineState.PENDING,
    "PROVISIONING": MachineState.PENDING,
    "STAGING": MachineState.PENDING,
    "RUNNING": MachineState.RUNNING,
    "REPAIRING": MachineState.PENDING,
    "PENDING_STOP": MachineState.STOPPING,
    "STOPPING": MachineState.STOPPING,
    "SUSPENDING": MachineState.STOPPING,
    "DEPROVISIONING": MachineState.STOPPING,
    "SUSPENDED": MachineState.STOPPED,
    "STOPPED": MachineState.STOPPED,
    "TERMINATED": MachineState.STOPPED,
}
"""TERMINATED is Google's word for stopped: the disk is still there, and costs. What has ended is not shown at all."""
_GRANTED = {"STAGING", "RUNNING", "REPAIRING"}
"""States in which the zone has given what was asked for."""


class Compute:
    """See `base.Provisioner`."""

    def __init__(self, api: Api, settings: Settings, operations: Operations, *, page: int = _PAGE) -> None:
        self._api = api
        self._settings = settings
        self._operations = operations
        self._page = page
        self._spent: dict[str, int] = {}  # request ids that are used up, by the name of an instance

    async def launch(self, order: Order) -> Machine:
        zone, name = self._place(order), name_of(order)
        doing = f"instances.insert {name} in {zone}"
        body = instance(order, self._settings)
        spent = self._spent.get(name, 0)
        try:
            accepted = await self._api.compute(
                "POST", f"zones/{zone}/instances", doing, query={"requestId": request_id(order, spent)}, body=body
            )
            done = await self._operations.finished(accepted, zone, doing)
        except (GcpRefused, GcpUnsure) as error:
            return await self._although(error, order)
        made = await self._look(zone, name)
        if made is None and done:
            # Made once, and gone since: the request was answered by what it came to the first time.
            return _gone(order)
        if made is None or (not done and made.get("status") not in _GRANTED):
            wait = self._operations.patience
            raise GcpUnsure(
                f"Compute Engine, {doing}: after {wait:g} seconds the zone has not said whether it has room"
            )
        return self._ours(made, order)

    async def _although(self, error: GcpRefused | GcpUnsure, order: Order) -> Machine:
        """The machine of an order whose insert failed, where there is one: an earlier request may have made it, and an operation that
        failed inside of Google may have done so half-way. A refusal that stands has been held against what is there."""
        name = name_of(order)
        exists = _is(error.reason, "ALREADY_EXISTS", "RESOURCE_ALREADY_EXISTS")
        if not error.over and not exists:
            raise error
        if isinstance(error, GcpRefused) and error.kind is Kind.THROTTLED:
            self._spent[name] = self._spent.get(name, 0) + 1
        made = await self._look(order.offer.zone, name)
        if made is not None:
            return self._ours(made, order)
        if exists:
            raise GcpUnsure(error.message, reason=error.reason, status=error.status)
        if isinstance(error, GcpUnsure):
            hint = "something failed inside of Google: another zone may do better"
            raise GcpRefused(Kind.CAPACITY, error.message, hint=hint, reason=error.reason, status=error.status)
        raise error

    async def _look(self, zone: str, name: str) -> dict[str, Any] | None:
        """As `_get`, after an insert was sent: what goes wrong now is no answer to that. Errors: Unsure."""
        try:
            return await self._get(zone, name)
        except Refused as error:
            raise GcpUnsure(error.message, hint=error.hint) from error

    async def find(self, order: Order) -> Machine | None:
        zone, name = order.offer.zone, name_of(order)  # which need not be in the settings any more
        made = await self._get(zone, name)
        if made is None:
            # An insert that was accepted shows its instance a moment later.
            if await self._operations.under_way("insert", zone, name):
                raise GcpUnsure(f"Compute Engine, instances.insert {name} in {zone} is still under way")
            made = await self._get(zone, name)
        if made is None or not _carries(made, order):
            return None
        return machine(made, zone)

    async def listing(self, cluster: str) -> Listing:
        wanted = f'labels.{CLUSTER_TAG} = "{cluster}"' if cluster else f"labels.{CLUSTER_TAG}:*"
        query = {"filter": wanted, "maxResults": str(self._page)}
        machines: list[Machine] = []
        problems: list[str] = []
        try:
            async for page in self._api.pages("aggregated/instances", "instances.aggregatedList", query=query):
                problems += _troubles(page)
                for scope, part in (page.get("items") or {}).items():
                    zone = scope.removeprefix("zones/")
                    machines += [machine(said, zone) for said in part.get("instances") or []]
        except Unsure as error:
            return await self._zone_by_zone(query, error)
        return Listing(tuple(machines), not problems, tuple(dict.fromkeys(problems)))

    async def _zone_by_zone(self, query: Mapping[str, str], error: Unsure) -> Listing:
        """One zone that does not answer fails the question to all of them. What the others show is worth something still, though it
        is never the whole: machines may be in zones that were in the settings once."""

        async def ask(zone: str) -> list[Machine]:
            found: list[Machine] = []
            async for page in self._api.pages(f"zones/{zone}/instances", f"instances.list in {zone}", query=query):
                found += [machine(said, zone) for said in page.get("items") or []]
            return found

        answers = await _side_by_side(partial(ask, zone) for zone in self._settings.zones)
        shown = [found for found in answers if isinstance(found, list)]
        if not shown:
            raise error
        problems = (error.message, *(each.message for each in answers if isinstance(each, (Refused, Unsure))))
        return Listing(tuple(one for found in shown for one in found), False, tuple(dict.fromkeys(problems)))

    async def terminate(self, refs: Sequence[str]) -> None:
        await self._each(refs, "delete")

    async def stop(self, refs: Sequence[str]) -> None:
        await self._each(refs, "stop")

    async def start(self, refs: Sequence[str]) -> None:
        await self._each(refs, "start")

    async def offers(self) -> list[Offer]:
        self._any_zone()
        return await survey(self._api, self._settings)

    async def _each(self, refs: Sequence[str], verb: str) -> None:
        """Every machine is asked for before the first error is raised."""
        places = [_read(ref) for ref in refs]
        answers = await _side_by_side(partial(self._order, *place, verb) for place in places)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer

    async def _order(self, zone: str, name: str, verb: str) -> None:
        doing = f"instances.{verb} {name} in {zone}"
        path = f"zones/{zone}/instances/{name}"
        query = {"requestId": any_request_id()}
        try:
            if verb == "delete":
                operation = await self._api.compute("DELETE", path, doing, query=query)
            else:
                more = {"discardLocalSsd": "true"} if verb == "stop" else {}  # without it such a machine is not stopped
                operation = await self._api.compute("POST", f"{path}/{verb}", doing, query={**query, **more})
            raise_for(operation, doing)
        except GcpRefused as error:
            if verb != "delete" or not (error.status == 404 and f"/instances/{name}" in error.message):
                raise

    async def _get(self, zone: str, name: str) -> dict[str, Any] | None:
        try:
            return await self._api.compute("GET", f"zones/{zone}/instances/{name}", f"instances.get {name} in {zone}")
        except GcpRefused as error:
            if error.status != 404 or f"/instances/{name}" not in error.message:
                raise
            return None

    def _ours(self, made: Mapping[str, Any], order: Order) -> Machine:
        if not _carries(made, order):
            raise GcpRefused(
                Kind.INVALID,
                f"{order.offer.zone} has an instance {name_of(order)} that is not of this order",
                hint=f"its label {TOKEN_TAG} was changed, or it was made by hand: delete it",
            )
        return machine(made, order.offer.zone)

    def _any_zone(self) -> None:
        if not self._settings.zones:
            hint = 'set `zones = ["europe-west4-a"]` under [providers.gcp], or CLOUDSDK_COMPUTE_ZONE'
            raise GcpRefused(Kind.INVALID, "no zone of Google Cloud is set", hint=hint)

    def _place(self, order: Order) -> str:
        """The order's zone. Errors: Refused."""
        self._any_zone()
        zone = order.offer.zone
        if zone not in self._settings.zones:
            hint = f"`zones` under [providers.gcp] has {one_of(self._settings.zones)}"
            raise GcpRefused(
                Kind.INVALID, f"{zone or order.offer.region!r} is none of the zones that are set", hint=hint
            )
        return zone


def machine(said: Mapping[str, Any], zone: str) -> Machine:
    """From one instance as the API describes it."""
    labels = said.get("labels") or {}
    scheduling = said.get("scheduling") or {}
    guests = [
        (_last(guest.get("acceleratorType")), int(guest.get("acceleratorCount") or 0))
        for guest in said.get("guestAccelerators") or []
    ]
    return Machine(
        ref=f"{zone}/{said.get('name')}",
        token=str(labels.get(TOKEN_TAG) or ""),
        cluster=str(labels.get(CLUSTER_TAG) or ""),
        # A state that this program does not know is not an end.
        state=_STATES.get(str(said.get("status")), MachineState.PENDING),
        region=region_of(zone),
        zone=zone,
        instance_type=attached(_last(said.get("machineType")), guests),
        spot=scheduling.get("provisioningModel") == "SPOT" or bool(scheduling.get("preemptible")),
        launched_at=_instant(said.get("creationTimestamp")),
        detail=str(said.get("statusMessage") or ""),
    )


def _gone(order: Order) -> Machine:
    offer = order.offer
    return Machine(
        ref=f"{offer.zone}/{name_of(order)}",
        token=order.token,
        cluster=order.cluster,
        state=MachineState.ENDED,
        region=region_of(offer.zone),
        zone=offer.zone,
        instance_type=offer.instance_type,
        spot=offer.spot,
        detail="it was brought up for this order, and is gone since",
    )


def _carries(made: Mapping[str, Any], order: Order) -> bool:
    labels = made.get("labels") or {}
    return labels.get(CLUSTER_TAG) == order.cluster and labels.get(TOKEN_TAG) == order.token


def _read(ref: str) -> tuple[str, str]:
    zone, slash, name = ref.partition("/")
    if not slash or not name or "/" in name or not zone:
        raise GcpRefused(Kind.INVALID, f"{ref!r} names no machine of Google's", hint="they are named ZONE/NAME")
    return zone, name


def _troubles(page: Mapping[str, Any]) -> list[str]:
    """What a page does not show though it should; that a zone has nothing to show is a warning too, and none of these."""
    found = [f"{_last(place)} did not answer" for place in page.get("unreachables") or []]
    scopes = {"": page, **(page.get("items") or {})}
    for scope, part in scopes.items():
        warning = part.get("warning") or {}
        if warning.get("code") and warning["code"] != "NO_RESULTS_ON_PAGE":
            where = scope.removeprefix("zones/") or "Compute Engine"
            found.append(f"{where}: {warning.get('message') or 'not everything is shown'} ({warning['code']})")
    return found


async def _side_by_side(calls: Iterable[Callable[[], Awaitable[Any]]]) -> list[Any]:
    """The results, or the Refused or Unsure, of all calls; a few at once."""
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(call: Callable[[], Awaitable[Any]]) -> Any:
        async with gate:
            try:
                return await call()
            except (Refused, Unsure) as error:
                return error

    return list(await asyncio.gather(*(one(call) for call in calls)))


def _is(reason: str, *codes: str) -> bool:
    return reason.replace("_", "").lower() in {code.replace("_", "").lower() for code in codes}


def _last(path: object) -> str:
    return str(path or "").rpartition("/")[2]


def _instant(text: object) -> int:
    try:
        return int(datetime.fromisoformat(str(text)).timestamp() * 1_000)
    except ValueError:
        return 0
