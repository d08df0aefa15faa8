"""Compute Engine's own memory in the fake: instances, operations, request ids, and the rules that Google has beyond its schema.

Time does not pass by itself: an operation ends at the request after the one that began it, or after as many waits as a fault says.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gcp_faults import Error, Fails, Slow

ROOT = "https://www.googleapis.com/compute/v1/projects"
ZONES = ("europe-west4-a", "europe-west4-b", "us-central1-a", "us-central1-b", "us-central1-f")
# vCPUs, MiB, architecture, accelerators in it
TYPES: dict[str, tuple[int, int, str, tuple[tuple[str, int], ...]]] = {
    "e2-micro": (2, 1_024, "X86_64", ()),
    "e2-standard-4": (4, 16_384, "X86_64", ()),
    "n1-standard-8": (8, 30_720, "X86_64", ()),
    "n2-standard-8": (8, 32_768, "X86_64", ()),
    "c4-standard-8": (8, 30_720, "X86_64", ()),
    "t2a-standard-4": (4, 16_384, "ARM64", ()),
    "a2-highgpu-1g": (12, 87_040, "X86_64", (("nvidia-tesla-a100", 1),)),
    "g2-standard-4": (4, 16_384, "X86_64", (("nvidia-l4", 1),)),
}
ACCELERATORS = {"nvidia-tesla-t4": 4, "nvidia-tesla-v100": 8, "nvidia-tesla-t4-vws": 4, "nvidia-l4": 8}
IMAGES = {
    "projects/debian-cloud/global/images/family/debian-12": "X86_64",
    "projects/debian-cloud/global/images/family/debian-12-arm64": "ARM64",
    "projects/ubuntu-os-accelerator-images/global/images/family/ubuntu-accelerator-2404-amd64-with-nvidia-580": "X86_64",
    "projects/my-images/global/images/worker-7": "X86_64",
}
NETWORKS = ("default", "closed")
SUBNETWORKS = ("europe-west4/workers",)
_NAME = re.compile(r"[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?")
_LABEL = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_LABEL_VALUE = re.compile(r"[a-z0-9_-]{0,63}")
_TERM = re.compile(r'\(?\s*([A-Za-z_.-]+)\s*(!=|=|:)\s*("[^"]*"|\*|[^\s()]+)\s*\)?\s*')
_HYPERDISK = ("n4", "c4")


class Refusal(Exception):
    def __init__(self, error: Error) -> None:
        super().__init__(error.message)
        self.error = error


def invalid(message: str) -> Refusal:
    return Refusal(Error(400, "invalid", message))


def missing(path: str) -> Refusal:
    return Refusal(Error(404, "notFound", f"The resource '{path}' was not found"))


@dataclass
class Operation:
    said: dict[str, Any]
    end: Callable[[], None]
    waits: int = 1  # until it ends
    own_pace: bool = False  # it ends by waits alone, not by the next request
    fails: Fails | None = None


@dataclass
class Engine:
    """`project` is the one that is there. `ever` keeps what was ever made: its labels, by zone/name."""

    project: str
    now: Callable[[], str]
    instances: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    operations: dict[str, Operation] = field(default_factory=dict)
    requests: dict[str, str] = field(default_factory=dict)
    ever: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    zones: dict[str, str] = field(default_factory=lambda: dict.fromkeys(ZONES, "UP"))
    _count: int = 0

    def insert(self, zone: str, body: dict[str, Any], request: str, fault: object) -> dict[str, Any]:
        if request in self.requests:
            return self.operations[self.requests[request]].said
        self._check(zone, body)
        name = body["name"]
        if (zone, name) in self.instances:
            path = f"projects/{self.project}/zones/{zone}/instances/{name}"
            raise Refusal(Error(409, "alreadyExists", f"The resource '{path}' already exists"))
        made = self._instance(zone, body)
        self.instances[zone, name] = made
        self.ever.setdefault(f"{zone}/{name}", []).append(dict(made["labels"]))

        def end() -> None:
            if made["status"] in {"PROVISIONING", "STAGING"}:
                made["status"] = "RUNNING"

        if isinstance(fault, Slow) and fault.granted:
            made["status"] = "STAGING"
        return self._begin("insert", zone, name, made["id"], request, end, fault)

    def delete(self, zone: str, name: str, request: str, fault: object) -> dict[str, Any]:
        if request in self.requests:
            return self.operations[self.requests[request]].said
        made = self.get(zone, name)
        self._idle(made)
        before = made["status"]
        made["status"] = "STOPPING"

        def end() -> None:
            if self.instances.get((zone, name)) is made:
                del self.instances[zone, name]

        operation = self._begin("delete", zone, name, made["id"], request, end, fault)
        if isinstance(fault, Fails):
            made["status"] = before
        return operation

    def turn(self, verb: str, zone: str, name: str, request: str, fault: object) -> dict[str, Any]:
        """Stop or start."""
        if request in self.requests:
            return self.operations[self.requests[request]].said
        made = self.get(zone, name)
        self._idle(made)
        if verb == "start" and made["status"] not in {"TERMINATED", "RUNNING"}:
            raise Refusal(Error(400, "resourceNotReady", f"The resource '{name}' is not ready"))
        on_the_way, then = ("STOPPING", "TERMINATED") if verb == "stop" else ("STAGING", "RUNNING")
        if made["status"] != then:
            made["status"] = on_the_way

        def end() -> None:
            if made["status"] == on_the_way:
                made["status"] = then

        return self._begin(verb, zone, name, made["id"], request, end, fault)

    def get(self, zone: str, name: str) -> dict[str, Any]:
        self.zone(zone)
        made = self.instances.get((zone, name))
        if made is None:
            raise missing(f"projects/{self.project}/zones/{zone}/instances/{name}")
        return made

    def zone(self, zone: str) -> None:
        if zone not in self.zones:
            raise invalid(f"Invalid value for field 'zone': '{zone}'. Unknown zone.")

    def list(self, query: Mapping[str, str]) -> list[tuple[str, dict[str, Any]]]:
        kept = [(zone, made) for (zone, _), made in sorted(self.instances.items())]
        return [(zone, made) for zone, made in kept if matches(query.get("filter", ""), made)]

    def operation(self, zone: str, name: str) -> Operation:
        found = self.operations.get(name)
        if found is None or found.said["zone"].rpartition("/")[2] != zone:
            raise missing(f"projects/{self.project}/zones/{zone}/operations/{name}")
        return found

    def wait(self, zone: str, name: str) -> dict[str, Any]:
        found = self.operation(zone, name)
        if found.said["status"] != "DONE":
            found.waits -= 1
            if found.waits <= 0:
                self._end(found)
        return found.said

    def pass_time(self) -> None:
        """What is quick has ended by the time of the next request."""
        for operation in list(self.operations.values()):
            if operation.said["status"] != "DONE" and not operation.own_pace:
                self._end(operation)

    def settle(self) -> None:
        """Everything has ended that ever will."""
        for operation in list(self.operations.values()):
            if operation.said["status"] != "DONE":
                self._end(operation)

    def _idle(self, made: Mapping[str, Any]) -> None:
        """An instance that is being made cannot be changed before that has ended."""
        for operation in self.operations.values():
            said = operation.said
            if said["targetId"] == made["id"] and said["operationType"] == "insert" and said["status"] != "DONE":
                raise Refusal(Error(400, "resourceNotReady", f"The resource '{said['targetLink']}' is not ready"))

    def _end(self, operation: Operation) -> None:
        said = operation.said
        said.update(status="DONE", progress=100, endTime=self.now())
        if operation.fails is None:
            operation.end()
            return
        fails = operation.fails
        said["error"] = {"errors": [{"code": fails.code, "message": fails.message}]}
        said["httpErrorStatusCode"] = fails.status
        said["httpErrorMessage"] = "SERVICE UNAVAILABLE" if fails.status >= 500 else "FORBIDDEN"
        if said["operationType"] == "insert":
            key = said["zone"].rpartition("/")[2], said["targetLink"].rpartition("/")[2]
            if self.instances.get(key, {}).get("id") == said["targetId"]:
                del self.instances[key]
                self.ever["/".join(key)].pop()  # it never came to be

    def _begin(
        self, kind: str, zone: str, name: str, target: str, request: str, end: Callable[[], None], fault: object
    ) -> dict[str, Any]:
        self._count += 1
        own = f"operation-{self._count:013d}-{kind}"
        base = f"{ROOT}/{self.project}/zones/{zone}"
        said = {
            "kind": "compute#operation",
            "id": str(10_000 + self._count),
            "name": own,
            "zone": base,
            "operationType": kind,
            "targetLink": f"{base}/instances/{name}",
            "targetId": target,
            "status": "RUNNING",
            "user": "styx@example.iam.gserviceaccount.com",
            "progress": 0,
            "insertTime": self.now(),
            "startTime": self.now(),
            "selfLink": f"{base}/operations/{own}",
        }
        operation = Operation(said, end)
        if isinstance(fault, Fails):
            operation.fails, operation.waits, operation.own_pace = fault, fault.waits, fault.waits > 1
        elif isinstance(fault, Slow):
            operation.waits, operation.own_pace = fault.waits, True
        self.operations[own] = operation
        if request:
            self.requests[request] = own
        return said

    def _instance(self, zone: str, body: dict[str, Any]) -> dict[str, Any]:
        self._count += 1
        base = f"{ROOT}/{self.project}/zones/{zone}"
        disks = [
            {
                "kind": "compute#attachedDisk",
                "type": "PERSISTENT",
                "mode": "READ_WRITE",
                "source": f"{base}/disks/{body['name']}",
                "index": at,
                "boot": disk.get("boot", False),
                "autoDelete": disk.get("autoDelete", False),
                "diskSizeGb": disk.get("initializeParams", {}).get("diskSizeGb", "10"),
            }
            for at, disk in enumerate(body["disks"])
        ]
        guests = [
            {**guest, "acceleratorType": f"{base}/{guest['acceleratorType'].partition('/')[2].partition('/')[2]}"}
            for guest in body.get("guestAccelerators", [])
        ]
        return {
            "kind": "compute#instance",
            "id": str(20_000 + self._count),
            "creationTimestamp": self.now(),
            "name": body["name"],
            "tags": {**body.get("tags", {}), "fingerprint": "AAAA"},
            "machineType": f"{base}/machineTypes/{body['machineType'].rpartition('/')[2]}",
            "status": "PROVISIONING",
            "zone": base,
            "networkInterfaces": [{"name": "nic0", "network": f"{ROOT}/{self.project}/global/networks/default"}],
            "disks": disks,
            "metadata": {**body.get("metadata", {}), "kind": "compute#metadata", "fingerprint": "AAAA"},
            "selfLink": f"{base}/instances/{body['name']}",
            "scheduling": body.get("scheduling", {}),
            "labels": body.get("labels", {}),
            "labelFingerprint": "AAAA",
            "guestAccelerators": guests,
            "serviceAccounts": body.get("serviceAccounts", []),
            "deletionProtection": False,
        }

    def _check(self, zone: str, body: dict[str, Any]) -> None:
        self.zone(zone)
        if not _NAME.fullmatch(body["name"]):
            raise invalid("Invalid value for field 'resource.name'")
        for key, value in body.get("labels", {}).items():
            if not _LABEL.fullmatch(key) or not _LABEL_VALUE.fullmatch(value):
                raise invalid(f"Invalid value for field 'resource.labels': {key}={value}")
        machine = body["machineType"].rpartition("/")[2]
        if machine not in TYPES or not body["machineType"].startswith(f"zones/{zone}/"):
            raise missing(f"projects/{self.project}/zones/{zone}/machineTypes/{machine}")
        if sum(len(item["value"]) for item in body.get("metadata", {}).get("items", [])) > 256 << 10:
            raise invalid("metadata is too large")
        self._check_disk(zone, machine, body["disks"][0]["initializeParams"])
        self._check_network(body["networkInterfaces"][0])
        self._check_scheduling(body, machine)

    def _check_disk(self, zone: str, machine: str, disk: dict[str, Any]) -> None:
        image = disk["sourceImage"].partition("compute/v1/")[2] or disk["sourceImage"]
        if image not in IMAGES:
            raise missing(image)
        if TYPES[machine][2] != IMAGES[image]:
            raise invalid(f"Requested boot image's architecture does not match {machine}")
        wanted = "hyperdisk-balanced" if machine.partition("-")[0] in _HYPERDISK else "pd-balanced"
        if disk["diskType"] != f"zones/{zone}/diskTypes/{wanted}":
            raise invalid(f"[{disk['diskType']}] features are not compatible for creating an instance of {machine}")
        if int(disk["diskSizeGb"]) < 10:
            raise invalid("Requested disk size cannot be smaller than the image size (10 GB)")

    def _check_network(self, interface: dict[str, Any]) -> None:
        network = interface.get("network", "").rpartition("/")[2]
        below = interface.get("subnetwork", "")
        if below:
            region, name = below.split("/")[-3], below.split("/")[-1]
            if f"{region}/{name}" not in SUBNETWORKS:
                raise missing(f"projects/{self.project}/regions/{region}/subnetworks/{name}")
        elif network not in NETWORKS:
            raise missing(f"projects/{self.project}/global/networks/{network}")

    def _check_scheduling(self, body: dict[str, Any], machine: str) -> None:
        scheduling, guests = body.get("scheduling", {}), body.get("guestAccelerators", [])
        moves = scheduling.get("onHostMaintenance", "MIGRATE") == "MIGRATE"
        if moves and (guests or TYPES[machine][3]):
            raise invalid("Instances with guest accelerators do not support live migration.")
        if scheduling.get("provisioningModel") == "SPOT" and (moves or scheduling.get("automaticRestart", True)):
            raise invalid(
                "Scheduling must have automaticRestart be false and onHostMaintenance be TERMINATE for Spot VMs."
            )
        if "maxRunDuration" in scheduling and "instanceTerminationAction" not in scheduling:
            raise invalid("instanceTerminationAction must be specified with maxRunDuration")
        for guest in guests:
            name = guest["acceleratorType"].rpartition("/")[2]
            if name not in ACCELERATORS:
                raise missing(f"projects/{self.project}/{guest['acceleratorType']}")
            if not machine.startswith("n1-") or guest["acceleratorCount"] > ACCELERATORS[name]:
                raise invalid(f"[{machine}, {name}] features are not compatible")


def matches(text: str, made: Mapping[str, Any]) -> bool:
    """The part of Google's filters (AIP-160) that is used here; what is not understood is an error, as it is with Google."""
    at = 0
    while at < len(text):
        term = _TERM.match(text, at)
        if term is None:
            raise invalid(f"Invalid value for field 'filter': '{text}'. Invalid list filter expression.")
        at = term.end()
        field_, operator, value = term.groups()
        parts = field_.split(".", 1)
        found: Any = made.get(parts[0])
        if len(parts) == 2:
            found = (found or {}).get(parts[1])
        value = value.strip('"')
        if operator == ":" and value == "*":
            good = found is not None
        elif operator == ":":
            good = value in str(found)
        else:
            good = (str(found) == value) == (operator == "=")
        if not good:
            return False
    return True
