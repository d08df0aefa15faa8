"""What is read of the API's objects: the fields that something here depends on, and no others.

Absent and empty are the same, as in the API itself. Instants are RFC 3339 in whole seconds, of the cluster's clocks; `instant` gives
milliseconds since the epoch.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

__all__ = [
    "Condition",
    "ContainerStatus",
    "Metadata",
    "ObjectList",
    "OwnerReference",
    "Pod",
    "PodStatus",
    "Secret",
    "Status",
    "Terminated",
    "WatchEvent",
    "instant",
]


class _Object(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    pass


class OwnerReference(_Object, frozen=True, gc=False, rename="camel"):
    uid: str = ""


class Metadata(_Object, frozen=True, gc=False, rename="camel"):
    name: str = ""
    uid: str = ""
    resource_version: str = ""
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    finalizers: tuple[str, ...] | None = None
    owner_references: tuple[OwnerReference, ...] | None = None
    deletion_timestamp: str | None = None
    deletion_grace_period_seconds: int | None = None


class Terminated(_Object, frozen=True, gc=False, rename="camel"):
    exit_code: int = 0
    reason: str = ""
    message: str = ""
    started_at: str | None = None
    finished_at: str | None = None


class Waiting(_Object, frozen=True, gc=False, rename="camel"):
    reason: str = ""
    message: str = ""


class Running(_Object, frozen=True, gc=False, rename="camel"):
    started_at: str | None = None


class ContainerState(_Object, frozen=True, gc=False, rename="camel"):
    waiting: Waiting | None = None
    running: Running | None = None
    terminated: Terminated | None = None


class ContainerStatus(_Object, frozen=True, gc=False, rename="camel"):
    name: str = ""
    state: ContainerState = ContainerState()


class Condition(_Object, frozen=True, gc=False, rename="camel"):
    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""


class PodStatus(_Object, frozen=True, gc=False, rename="camel"):
    phase: str = ""
    reason: str = ""
    message: str = ""
    conditions: tuple[Condition, ...] | None = None
    init_container_statuses: tuple[ContainerStatus, ...] | None = None
    container_statuses: tuple[ContainerStatus, ...] | None = None


class PodSpec(_Object, frozen=True, gc=False, rename="camel"):
    node_name: str = ""
    termination_grace_period_seconds: int | None = None


class Pod(_Object, frozen=True, gc=False, rename="camel"):
    metadata: Metadata = Metadata()
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()


class Secret(_Object, frozen=True, gc=False, rename="camel"):
    metadata: Metadata = Metadata()
    data: dict[str, str] | None = None  # base64


class ListMetadata(_Object, frozen=True, gc=False, rename="camel"):
    resource_version: str = ""
    continue_: str = msgspec.field(name="continue", default="")


class ObjectList(_Object, frozen=True, gc=False, rename="camel"):
    metadata: ListMetadata = ListMetadata()
    items: tuple[msgspec.Raw, ...] | None = None


class WatchEvent(_Object, frozen=True, gc=False, rename="camel"):
    type: str
    object: msgspec.Raw


class StatusDetails(_Object, frozen=True, gc=False, rename="camel"):
    retry_after_seconds: int = 0


class Status(_Object, frozen=True, gc=False, rename="camel"):
    """What the API says of an error."""

    message: str = ""
    reason: str = ""
    code: int = 0
    details: StatusDetails | None = None


def instant(text: str | None) -> int:
    """Milliseconds since the epoch; 0 for nothing and for what cannot be read."""
    if not text:
        return 0
    try:
        return round(datetime.fromisoformat(text).timestamp() * 1_000)
    except ValueError:
        return 0
