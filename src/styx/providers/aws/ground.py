"""What a machine stands on in a region: an image, a subnet, and a security group without inbound rules. Looked up once and kept
until AWS says that one of them is there no longer; however many launches ask at once, each question is put once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec

from styx.core.offers import Offer
from styx.core.suggest import one_of
from styx.providers.aws.clients import Clients
from styx.providers.aws.errors import AwsRefused
from styx.providers.aws.kinds import image_kind
from styx.providers.aws.settings import Settings
from styx.providers.base import Kind, Order

__all__ = ["Ground", "Image", "Place"]

T = TypeVar("T")
_NEWEST = 3_600_000  # milliseconds after which a parameter that names the newest image is read again
_ARCHITECTURES = {"x86_64", "arm64"}


class Image(msgspec.Struct, frozen=True):
    id: str
    device: str  # the root volume's
    least: int  # bytes that the root volume must have


class Place(msgspec.Struct, frozen=True):
    groups: tuple[str, ...]
    subnet: str = ""  # "": the zone's default one


class Ground:
    def __init__(self, clients: Clients, settings: Settings, now: Callable[[], int]) -> None:
        self._clients = clients
        self._settings = settings
        self._now = now
        self._known: dict[tuple[str, ...], tuple[int, Any]] = {}
        self._asking: dict[tuple[str, ...], asyncio.Lock] = {}

    async def image(self, order: Order) -> Image:
        """The image for an order. Errors: Refused (INVALID where it is of another architecture), Unsure."""
        offer = order.offer
        name = order.image or dict(self._settings.images)[image_kind(offer.arch, offer.resources.accelerators)]
        region = offer.region

        async def look() -> tuple[Image, str]:
            found = name
            if name.startswith("/"):
                answer = await self._clients.call("ssm", region, "get_parameter", Name=name)
                found = str(answer["Parameter"]["Value"])
            return await self._describe(region, found, name)

        image, architecture = await self._once(("image", region, name), _NEWEST, look)
        if architecture != offer.arch:
            raise AwsRefused(
                Kind.INVALID,
                f"image {name} in {region} is for {architecture}, and {offer.instance_type} is {offer.arch}",
                hint=f"`images` under [providers.aws] may name one for each of {one_of(sorted(_ARCHITECTURES))}",
            )
        return image

    async def place(self, offer: Offer) -> Place:
        """Errors: Refused, Unsure."""
        subnet = dict(self._settings.subnets).get(offer.zone, "")
        region, group = offer.region, self._settings.security_group
        if not subnet and self._settings.subnets and any(zone[:-1] == region for zone, _ in self._settings.subnets):
            zones = [zone for zone, _ in self._settings.subnets if zone[:-1] == region]
            raise AwsRefused(
                Kind.INVALID,
                f"no subnet is set for zone {offer.zone or '(any)'} of {region}",
                hint=f"`subnets` under [providers.aws] has them for {one_of(zones)}",
            )
        if group.startswith("sg-"):
            return Place((group,), subnet)

        async def network() -> str:
            return await self._network(region, subnet)

        vpc = await self._once(("vpc", region, subnet), 0, network)

        async def look() -> str:
            return await self._group(region, vpc, group)

        return Place((await self._once(("group", region, vpc), 0, look),), subnet)

    def forget(self, region: str) -> None:
        """Something of this region is there no longer."""
        for key in [key for key in self._known if key[1] == region]:
            del self._known[key]

    async def _once(self, key: tuple[str, ...], fresh: int, ask: Callable[[], Awaitable[T]]) -> T:
        lock = self._asking.setdefault(key, asyncio.Lock())
        async with lock:
            kept = self._known.get(key)
            if kept is None or (fresh and self._now() - kept[0] > fresh):
                kept = self._known[key] = (self._now(), await ask())
            answer: T = kept[1]
            return answer

    async def _describe(self, region: str, image: str, name: str) -> tuple[Image, str]:
        answer = await self._clients.call("ec2", region, "describe_images", ImageIds=[image])
        found = answer.get("Images") or []
        if not found:
            hint = "set `images` under [providers.aws] to an image of that region"
            raise AwsRefused(Kind.INVALID, f"there is no image {name} in {region}", hint=hint)
        said = found[0]
        device = str(said.get("RootDeviceName") or "/dev/xvda")
        mapped = [disk for disk in said.get("BlockDeviceMappings") or [] if disk.get("DeviceName") == device]
        size = int((mapped[0].get("Ebs") or {}).get("VolumeSize") or 0) if mapped else 0
        return Image(str(said["ImageId"]), device, size << 30), str(said.get("Architecture") or "x86_64")

    async def _network(self, region: str, subnet: str) -> str:
        if subnet:
            answer = await self._clients.call("ec2", region, "describe_subnets", SubnetIds=[subnet])
            return str(answer["Subnets"][0]["VpcId"])
        default = [{"Name": "is-default", "Values": ["true"]}]
        answer = await self._clients.call("ec2", region, "describe_vpcs", Filters=default)
        if not answer.get("Vpcs"):
            hint = "set `subnets` under [providers.aws], or make a default VPC (aws ec2 create-default-vpc)"
            raise AwsRefused(Kind.INVALID, f"the account has no default VPC in {region}", hint=hint)
        return str(answer["Vpcs"][0]["VpcId"])

    async def _group(self, region: str, vpc: str, name: str) -> str:
        """Found by its name in the network, or made: a new group lets everything out and nothing in."""
        found = await self._find_group(region, vpc, name)
        if found:
            return found
        tags = [{"Key": "Name", "Value": name}, *({"Key": key, "Value": text} for key, text in self._settings.tags)]
        try:
            made = await self._clients.call(
                "ec2",
                region,
                "create_security_group",
                GroupName=name,
                Description="Machines that Styx brings up; nothing may come in",
                VpcId=vpc,
                TagSpecifications=[{"ResourceType": "security-group", "Tags": tags}],
            )
        except AwsRefused as error:
            if error.aws != "InvalidGroup.Duplicate":
                raise
            # Another server made it between the two questions.
            return await self._find_group(region, vpc, name) or self._vanished(region, name)
        return str(made["GroupId"])

    async def _find_group(self, region: str, vpc: str, name: str) -> str:
        filters = [{"Name": "group-name", "Values": [name]}, {"Name": "vpc-id", "Values": [vpc]}]
        answer = await self._clients.call("ec2", region, "describe_security_groups", Filters=filters)
        groups = answer.get("SecurityGroups") or []
        return str(groups[0]["GroupId"]) if groups else ""

    def _vanished(self, region: str, name: str) -> str:
        raise AwsRefused(
            Kind.THROTTLED, f"security group {name!r} in {region} is there and is not shown yet", retry_after=5
        )
