"""`resources` of a task: what it asks for, and the labels that a place must carry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from styx.core.resources import Resources
from styx.core.units import accelerator_counts, byte_count, got, thousandths
from styx.protocol import fields
from styx.protocol.findings import Findings, Path

__all__ = ["Requirement", "read_requirement", "resources_of"]

Requirement = tuple[dict[str, Any], fields.Pairs]  # parts of Resources by name, and labels a node must carry

_PLACE_LABELS = ("provider", "region", "zone", "instance_type")
_PARTS: dict[str, Callable[[object], Any]] = {
    "cpus": thousandths,
    "memory": byte_count,
    "disk": byte_count,
    "accelerators": accelerator_counts,
}
_REQUIREMENT_KEYS = (*_PARTS, "labels", *_PLACE_LABELS, "spot", "any_of")
_NO_PROVIDER = "this version of Styx has no cloud provider built in"


def read_requirement(findings: Findings, path: Path, value: object, context: str = "") -> Requirement | None:
    """`resources`: parts of a Resources by name, and the labels that a node must carry."""
    if not isinstance(value, dict):
        findings.value(path, f"a mapping such as {{cpus: 1, memory: 512MB}}, got {got(value)}")
        return None
    parts: dict[str, Any] = {}
    labels: fields.Pairs = ()
    for key, part in value.items():
        where = (*path, str(key))
        if key in _PARTS:
            try:
                parts[key] = _PARTS[key](part)
            except ValueError as error:
                findings.value(where, str(error))
        elif key == "labels":
            labels += fields.read_labels(findings, where, part) or ()
        elif key in _PLACE_LABELS:
            text = fields.argument_text(part)
            if not text or len(text) > fields.MAX_LABEL or not text.isprintable():
                findings.value(where, f"printable text, got {got(part)}")
            else:
                labels += ((key, text),)
        elif key == "spot":
            if fields.flag(findings, where, part):
                findings.add(
                    where,
                    f"spot machines come from a cloud provider, and {_NO_PROVIDER}",
                    "leave 'spot' out: the task then runs on an agent that you start with styx-agent",
                )
        elif key == "any_of":
            findings.add(
                where,
                f"'any_of' chooses between offers of cloud providers, and {_NO_PROVIDER}",
                "write one alternative straight under 'resources'; it goes to any agent that has it",
                key=True,
            )
        else:
            findings.unknown(path, key, _REQUIREMENT_KEYS, f" in 'resources'{context}")
    return parts, tuple(sorted(set(labels)))


def resources_of(parts: dict[str, Any], known: dict[Any, Resources]) -> Resources:
    """The vector of these parts; equal ones share one object."""
    key = tuple(parts.items())
    found = known.get(key)
    if found is None:
        found = known[key] = Resources(**parts)
    return found
