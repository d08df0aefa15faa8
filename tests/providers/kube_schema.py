"""Whether an object is one of the API's: checked against the models of the generated client, which are made from Kubernetes' own schema.

Unknown fields, wrong types and missing fields are errors, as with `fieldValidation=Strict`; names, labels and finalizers have the
forms that the API server insists on.
"""

from __future__ import annotations

import re
from typing import Any

from kubernetes_asyncio.client import models

__all__ = ["faults_of"]

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL_NAME = re.compile(r"(([a-z0-9]([-a-z0-9.]*[a-z0-9])?)/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_ENV = re.compile(r"[ -<>-~]+")
_QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?")
_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")

_PLAIN: dict[str, Any] = {
    "str": str,
    "int": int,
    "float": (int, float),
    "bool": bool,
    "datetime": str,
    "object": object,
}


def faults_of(kind: str, body: dict[str, Any]) -> list[str]:
    """What is wrong with a Pod or a Secret that is to be created."""
    faults = list(_schema(body, f"V1{kind}", ""))
    metadata = body.get("metadata", {})
    if not faults:
        faults += _metadata(metadata)
        faults += list(_pod(body["spec"]) if kind == "Pod" else _secret(body))
    return faults


def _schema(value: Any, kind: str, where: str) -> Any:
    if kind.startswith("list["):
        if not isinstance(value, list):
            yield f"{where}: must be a list"
            return
        for at, one in enumerate(value):
            yield from _schema(one, kind[5:-1], f"{where}[{at}]")
    elif kind.startswith("dict("):
        if not isinstance(value, dict):
            yield f"{where}: must be an object"
            return
        for key, one in value.items():
            yield from _schema(one, kind[5:-1].split(", ", 1)[1], f"{where}.{key}")
    elif kind in _PLAIN:
        if not isinstance(value, _PLAIN[kind]) or (kind == "int" and isinstance(value, bool)):
            yield f"{where}: must be {kind}, got {type(value).__name__}"
    else:
        yield from _model(value, getattr(models, kind), where)


def _model(value: Any, model: Any, where: str) -> Any:
    if not isinstance(value, dict):
        yield f"{where}: must be an object"
        return
    by_name = {name: field for field, name in model.attribute_map.items()}
    for name, one in value.items():
        if name not in by_name:
            yield f'strict decoding error: unknown field "{where}.{name}"'
        else:
            yield from _schema(one, model.openapi_types[by_name[name]], f"{where}.{name}")
    try:
        model(**{field: value.get(name) for name, field in by_name.items()})
    except ValueError as error:
        yield f"{where}: {error}"


def _metadata(metadata: dict[str, Any]) -> list[str]:
    faults = []
    name = metadata.get("name", "")
    if not _NAME.fullmatch(name) or len(name) > 253:
        faults.append(f'metadata.name: Invalid value: "{name}": a lowercase RFC 1123 subdomain must consist of ...')
    for key, text in (metadata.get("labels") or {}).items():
        if not _LABEL_NAME.fullmatch(key) or not _LABEL_VALUE.fullmatch(text):
            faults.append(f'metadata.labels: Invalid value: "{key}={text}"')
    faults += [
        f'metadata.annotations: Invalid value: "{key}"'
        for key in metadata.get("annotations") or {}
        if not _LABEL_NAME.fullmatch(key)
    ]
    faults += [
        f'metadata.finalizers: Invalid value: "{one}": name is neither a standard finalizer name nor is it fully qualified'
        for one in metadata.get("finalizers") or ()
        if not re.fullmatch(r"[a-z0-9.-]+/[A-Za-z0-9._-]{1,63}", one)
    ]
    if not all(one.get("uid") for one in metadata.get("ownerReferences") or ()):
        faults.append("metadata.ownerReferences.uid: Invalid value: uid must not be empty")
    return faults


def _pod(spec: dict[str, Any]) -> Any:
    volumes = {one["name"] for one in spec.get("volumes", ())}
    names: set[str] = set()
    for one in [*spec.get("initContainers", ()), *spec["containers"]]:
        name = one["name"]
        if not _NAME.fullmatch(name) or len(name) > 63 or name in names:
            yield f'spec.containers.name: Invalid value: "{name}"'
        names.add(name)
        if not one.get("image"):
            yield "spec.containers[0].image: Required value"
        seen = [variable["name"] for variable in one.get("env", ())]
        for variable in one.get("env", ()):
            if not _ENV.fullmatch(variable["name"]):
                yield f'spec.containers.env.name: Invalid value: "{variable["name"]}"'
            if "value" in variable and "valueFrom" in variable:
                yield "spec.containers.env.valueFrom: may not be specified when `value` is not empty"
        if len(seen) != len(set(seen)):
            yield "spec.containers.env: a name stands twice"
        for mount in one.get("volumeMounts", ()):
            if mount["name"] not in volumes:
                yield f'spec.containers.volumeMounts.name: Not found: "{mount["name"]}"'
        resources = one.get("resources", {})
        requests, limits = resources.get("requests", {}), resources.get("limits", {})
        for resource, amount in [*requests.items(), *limits.items()]:
            if not _QUANTITY.fullmatch(str(amount)):
                yield f'spec.containers.resources: Invalid value: "{amount}"'
            if "/" in resource and requests.get(resource) != limits.get(resource):
                yield f"spec.containers.resources: {resource} must be the same in requests and limits"
    if spec.get("activeDeadlineSeconds", 1) < 1:
        yield "spec.activeDeadlineSeconds: Invalid value: must be between 1 and 2147483647, inclusive"
    for volume in spec.get("volumes", ()):
        for item in (volume.get("secret") or {}).get("items", ()):
            if item["path"].startswith("/") or ".." in item["path"].split("/"):
                yield f'spec.volumes.secret.items.path: Invalid value: "{item["path"]}"'


def _secret(body: dict[str, Any]) -> Any:
    data = body.get("data") or {}
    if sum(len(value) * 3 // 4 for value in data.values()) > 1 << 20:
        yield "data: Too long: may not be more than 1048576 bytes"
    for key in data:
        if not _KEY.fullmatch(key):
            yield f'data[{key}]: Invalid value: "{key}"'
