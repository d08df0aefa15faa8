"""The instance that an order becomes.

What keeps a machine from leaking is in the request that makes it: its labels, by which any listing finds it; its name, of which there can
be one in a zone; the disk that goes with it; DELETE as what becomes of it when Google takes it back or its time is over. And what keeps
it closed: a public address only where the settings say so, no firewall rule, no service account unless one is named.
"""

from __future__ import annotations

from typing import Any

from styx.providers.base import CLUSTER_TAG, TOKEN_TAG, Order
from styx.providers.base import Kind as No
from styx.providers.gcp.credentials import SCOPE
from styx.providers.gcp.errors import GcpRefused
from styx.providers.gcp.kinds import Kind, parse
from styx.providers.gcp.settings import Settings, region_of

__all__ = ["instance", "kind_of", "name_of"]

_SYSTEM, _WITH_DRIVER = 10 << 30, 30 << 30  # bytes of the boot disk that an image takes
_SHORTEST, _LONGEST = 30, 120 * 24 * 3_600  # seconds of a maxRunDuration


def name_of(order: Order) -> str:
    """Unique in a project and a zone, the same for the same order; two Styxes with the same token do not meet. At most 61 characters."""
    mark = order.cluster[:20]
    return order.token if mark and mark in order.token else f"{order.token}-{mark}".rstrip("-")


def kind_of(order: Order) -> Kind:
    """Errors: Refused."""
    kind = parse(order.offer.instance_type)
    if kind is None:
        hint = "they are named as in `n1-standard-8`, or `n1-standard-8+T4:1` with an accelerator attached"
        raise GcpRefused(No.INVALID, f"{order.offer.instance_type!r} is no machine type of Google's", hint=hint)
    return kind


def instance(order: Order, settings: Settings) -> dict[str, Any]:
    """The body of instances.insert. Errors: Refused."""
    zone, kind = order.offer.zone, kind_of(order)
    labels = {**dict(settings.labels), CLUSTER_TAG: order.cluster, TOKEN_TAG: order.token}
    body: dict[str, Any] = {
        "name": name_of(order),
        "machineType": f"zones/{zone}/machineTypes/{kind.machine_type}",
        "labels": labels,
        "tags": {"items": list(settings.network_tags)},
        "disks": [_boot_disk(order, settings, kind, labels)],
        "networkInterfaces": [_interface(settings, region_of(zone))],
        "scheduling": _scheduling(order, kind),
        "metadata": {"items": [{"key": "startup-script", "value": order.user_data}]},
    }
    if kind.accelerator:
        path = f"zones/{zone}/acceleratorTypes/{kind.accelerator}"
        body["guestAccelerators"] = [{"acceleratorType": path, "acceleratorCount": kind.count}]
    if settings.service_account:
        body["serviceAccounts"] = [{"email": settings.service_account, "scopes": [SCOPE]}]
    return body


def _boot_disk(order: Order, settings: Settings, kind: Kind, labels: dict[str, str]) -> dict[str, Any]:
    images = dict(settings.images)
    image = order.image or images[f"nvidia-{kind.arch}" if kind.accelerated else kind.arch]
    # What is offered is room for work: a file system and the image take their part besides.
    size = (order.disk or settings.disk) * 11 // 10 + (_WITH_DRIVER if kind.accelerated else _SYSTEM)
    return {
        "boot": True,
        "autoDelete": True,
        "type": "PERSISTENT",
        "initializeParams": {
            "sourceImage": image,
            "diskSizeGb": str(-(-size >> 30)),
            "diskType": f"zones/{order.offer.zone}/diskTypes/{kind.disk_type}",
            "labels": labels,
        },
    }


def _interface(settings: Settings, region: str) -> dict[str, Any]:
    subnetwork = dict(settings.subnetworks).get(region, "")
    if subnetwork:
        path = subnetwork if "/" in subnetwork else f"regions/{region}/subnetworks/{subnetwork}"
        interface: dict[str, Any] = {"subnetwork": path}
    else:
        network = settings.network
        interface = {"network": network if "/" in network else f"global/networks/{network}"}
    if settings.external_ip:
        interface["accessConfigs"] = [{"type": "ONE_TO_ONE_NAT", "name": "External NAT"}]
    return interface


def _scheduling(order: Order, kind: Kind) -> dict[str, Any]:
    spot = order.offer.spot
    scheduling: dict[str, Any] = {
        "provisioningModel": "SPOT" if spot else "STANDARD",
        "onHostMaintenance": "MIGRATE" if kind.migrates and not spot else "TERMINATE",
        # A machine that Google restarts by itself would come back after Styx has given it up.
        "automaticRestart": False,
    }
    if spot:
        scheduling["preemptible"] = True  # what older tools look at
        scheduling["instanceTerminationAction"] = "DELETE"
    if order.lifetime:
        scheduling["maxRunDuration"] = {"seconds": str(min(max(order.lifetime, _SHORTEST), _LONGEST))}
        scheduling["instanceTerminationAction"] = "DELETE"
    return scheduling
