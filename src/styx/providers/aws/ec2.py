"""Machines of EC2. A machine's `ref` is `region/i-...`.

No machine is leaked because of three things that come with the very request that makes it: the tags, by which any listing finds it;
the client token, derived from the order's, by which a repeated request gives the machine of the first; and
InstanceInitiatedShutdownBehavior=terminate, by which a machine that shuts itself down is gone with its disk (the agent's
dead-man's switch).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from styx.core.offers import Offer
from styx.core.suggest import one_of
from styx.providers.aws.clients import Clients, side_by_side
from styx.providers.aws.errors import STALE, AwsRefused, AwsUnsure
from styx.providers.aws.ground import Ground, Image, Place
from styx.providers.aws.offers import survey
from styx.providers.aws.settings import Settings
from styx.providers.base import CLUSTER_TAG, TOKEN_TAG, Kind, Listing, Machine, MachineState, Order, Refused, Unsure

__all__ = ["Ec2", "client_token", "machine"]

_PAGE = 200  # instances a page: one of 1,000 would take 150 ms of the loop to read
_BATCH = 100  # machines named in one request
_OF_ONE = {"OperationNotPermitted", "IncorrectInstanceState", "UnsupportedOperation"}
_STATES = {
    "pending": MachineState.PENDING,
    "running": MachineState.RUNNING,
    "shutting-down": MachineState.STOPPING,
    "stopping": MachineState.STOPPING,
    "stopped": MachineState.STOPPED,
    "terminated": MachineState.ENDED,
}


def client_token(order: Order) -> str:
    """Two Styxes in one account may use the same order's token; with 80 bits of the incarnation they do not meet. At most 64
    characters are allowed."""
    return f"{order.token}.{order.cluster[:20]}"[:64]


class Ec2:
    """See `base.Provisioner`."""

    def __init__(self, clients: Clients, settings: Settings, ground: Ground, *, page: int = _PAGE) -> None:
        self._clients = clients
        self._settings = settings
        self._ground = ground
        self._page = page

    async def launch(self, order: Order) -> Machine:
        region = order.offer.region
        self._known_region(region)
        try:
            return await self._launch(order)
        except AwsRefused as error:
            if error.aws not in STALE:
                raise
            self._ground.forget(region)
            return await self._launch(order)
        except AwsUnsure as error:
            if not error.spent:
                raise
            # An earlier request differed (the newest image has changed since, or this server's archive): its machine is ours.
            found = await self.find(order)
            if found is None:
                raise
            return found

    async def _launch(self, order: Order) -> Machine:
        try:
            async with side_by_side() as tasks:
                image = tasks.create_task(self._ground.image(order))
                place = tasks.create_task(self._ground.place(order.offer))
        except AwsUnsure as error:
            # These were questions: whatever became of them, no machine did.
            raise AwsRefused(Kind.THROTTLED, error.message, aws=error.aws) from error
        request = self._request(order, image.result(), place.result())
        answer = await self._clients.call("ec2", order.offer.region, "run_instances", **request)
        return machine(answer["Instances"][0], order.offer.region)

    async def find(self, order: Order) -> Machine | None:
        region = order.offer.region
        self._known_region(region)
        tagged = [_tag(CLUSTER_TAG, order.cluster), _tag(TOKEN_TAG, order.token)]
        by_token = [{"Name": "client-token", "Values": [client_token(order)]}]
        for filters in (tagged, by_token):  # the second for one whose tags were taken off
            live = [m for m in await self._list(region, filters) if m.state is not MachineState.ENDED]
            if live:
                return min(live, key=lambda found: (found.launched_at, found.ref))
        return None

    async def listing(self, cluster: str) -> Listing:
        self._any_region()
        filters = [_tag(CLUSTER_TAG, cluster) if cluster else {"Name": "tag-key", "Values": [CLUSTER_TAG]}]
        regions = self._settings.regions
        answers = await asyncio.gather(*(self._list(region, filters) for region in regions), return_exceptions=True)
        machines: list[Machine] = []
        failed: list[Refused | Unsure] = []
        for answer in answers:
            if isinstance(answer, (Refused, Unsure)):
                failed.append(answer)
            elif isinstance(answer, BaseException):
                raise answer
            else:
                machines += answer
        if len(failed) == len(regions):
            raise failed[0]
        return Listing(tuple(machines), not failed, tuple(error.message for error in failed))

    async def terminate(self, refs: Sequence[str]) -> None:
        await self._each(refs, "terminate_instances")

    async def stop(self, refs: Sequence[str]) -> None:
        await self._each(refs, "stop_instances")

    async def start(self, refs: Sequence[str]) -> None:
        await self._each(refs, "start_instances")

    async def offers(self) -> list[Offer]:
        self._any_region()
        return await survey(self._clients, self._settings)

    async def _list(self, region: str, filters: list[dict[str, Any]]) -> list[Machine]:
        found: list[Machine] = []
        config = {"PageSize": self._page}
        async for page in self._clients.pages(
            "ec2", region, "describe_instances", Filters=filters, PaginationConfig=config
        ):
            for reservation in page.get("Reservations") or []:
                found += [machine(instance, region) for instance in reservation.get("Instances") or []]
        return found

    async def _each(self, refs: Sequence[str], operation: str) -> None:
        """In all regions side by side; every region is asked before the first error is raised."""
        by_region: dict[str, list[str]] = {}
        for ref in refs:
            region, slash, instance = ref.partition("/")
            if not slash or not instance.startswith("i-"):
                raise AwsRefused(Kind.INVALID, f"{ref!r} names no machine of EC2", hint="they are named REGION/i-...")
            by_region.setdefault(region, []).append(instance)
        batches = [
            (region, ids[at : at + _BATCH]) for region, ids in by_region.items() for at in range(0, len(ids), _BATCH)
        ]
        answers = await asyncio.gather(
            *(self._order(region, ids, operation) for region, ids in batches), return_exceptions=True
        )
        for answer in answers:
            if answer is not None:
                raise answer

    async def _order(self, region: str, ids: list[str], operation: str) -> None:
        """EC2 does nothing at all when one of the names is wrong, so what it says is gone is left out and the rest asked again."""
        while ids:
            try:
                await self._clients.call("ec2", region, operation, InstanceIds=ids)
            except AwsRefused as error:
                if error.aws in _OF_ONE and len(ids) > 1:
                    await self._one_by_one(region, ids, operation)
                    return
                if error.aws not in {"InvalidInstanceID.NotFound", "InvalidInstanceID.Malformed"}:
                    raise
                if operation != "terminate_instances":
                    raise AwsRefused(Kind.INVALID, error.message, aws=error.aws) from error
                rest = [instance for instance in ids if instance not in error.message]
                if len(rest) == len(ids):
                    raise
                ids = rest
            else:
                return

    async def _one_by_one(self, region: str, ids: list[str], operation: str) -> None:
        """One machine that may not be touched must not keep the others."""
        failed: list[Refused | Unsure] = []
        for instance in ids:
            try:
                await self._order(region, [instance], operation)
            except (Refused, Unsure) as error:
                failed.append(error)
        if failed:
            raise failed[0]

    def _request(self, order: Order, image: Image, place: Place) -> dict[str, Any]:
        offer = order.offer
        # A tenth more for the file system's own, and the image's part comes on top: what the offer promised is there to be used.
        size = (order.disk or self._settings.disk) * 11 // 10 + image.least
        own = {CLUSTER_TAG: order.cluster, TOKEN_TAG: order.token, "Name": f"styx-{order.token}"}
        tags = [{"Key": key, "Value": text} for key, text in {**dict(self._settings.tags), **own}.items()]
        tagged = ["instance", "volume", *(["spot-instances-request"] if offer.spot else [])]
        request: dict[str, Any] = {
            "ImageId": image.id,
            "InstanceType": offer.instance_type,
            "MinCount": 1,
            "MaxCount": 1,
            "ClientToken": client_token(order),
            "UserData": order.user_data,  # the SDK encodes it
            "SecurityGroupIds": list(place.groups),
            "InstanceInitiatedShutdownBehavior": "terminate",
            "MetadataOptions": {
                "HttpEndpoint": "enabled",
                "HttpTokens": "required",
                # One hop: a container on the machine cannot reach the machine's role.
                "HttpPutResponseHopLimit": 1,
            },
            "BlockDeviceMappings": [
                {
                    "DeviceName": image.device,
                    "Ebs": {"VolumeSize": -(-size >> 30), "VolumeType": "gp3", "DeleteOnTermination": True},
                }
            ],
            "TagSpecifications": [{"ResourceType": kind, "Tags": tags} for kind in tagged],
        }
        if offer.spot:
            request["InstanceMarketOptions"] = {
                "MarketType": "spot",
                "SpotOptions": {"SpotInstanceType": "one-time", "InstanceInterruptionBehavior": "terminate"},
            }
        if place.subnet:
            request["SubnetId"] = place.subnet
        elif offer.zone:
            request["Placement"] = {"AvailabilityZone": offer.zone}
        if role := self._settings.instance_profile:
            request["IamInstanceProfile"] = {"Arn" if role.startswith("arn:") else "Name": role}
        return request

    def _any_region(self) -> None:
        if not self._settings.regions:
            hint = "set `regions` under [providers.aws], or AWS_REGION"
            raise AwsRefused(Kind.INVALID, "no region of AWS is set", hint=hint)

    def _known_region(self, region: str) -> None:
        """A machine in a region that no listing covers would be out of sight."""
        self._any_region()
        if region not in self._settings.regions:
            raise AwsRefused(
                Kind.INVALID,
                f"{region} is none of the regions that are set",
                hint=f"`regions` under [providers.aws] has {one_of(self._settings.regions)}",
            )


def _tag(name: str, value: str) -> dict[str, Any]:
    return {"Name": f"tag:{name}", "Values": [value]}


def machine(said: Mapping[str, Any], region: str) -> Machine:
    """From one instance as the API describes it."""
    tags = {str(tag["Key"]): str(tag["Value"]) for tag in said.get("Tags") or []}
    launched = said.get("LaunchTime")
    if isinstance(launched, datetime) and launched.tzinfo is None:
        launched = launched.replace(tzinfo=UTC)
    reason = str((said.get("StateReason") or {}).get("Message") or said.get("StateTransitionReason") or "")
    return Machine(
        ref=f"{region}/{said['InstanceId']}",
        token=tags.get(TOKEN_TAG, ""),
        cluster=tags.get(CLUSTER_TAG, ""),
        # A state that this program does not know is not an end.
        state=_STATES.get(str((said.get("State") or {}).get("Name")), MachineState.PENDING),
        region=region,
        zone=str((said.get("Placement") or {}).get("AvailabilityZone") or ""),
        instance_type=str(said.get("InstanceType") or ""),
        spot=said.get("InstanceLifecycle") == "spot",
        launched_at=int(launched.timestamp() * 1_000) if isinstance(launched, datetime) else 0,
        detail=reason,
    )
