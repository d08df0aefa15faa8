"""`resources` of a task: what it asks for, the labels that a place must carry, and what may be brought up for it.

    resources:
      cpus: 4+                      # a request is a minimum anyway: `4+` is the same as `4`
      memory: 16GB+
      accelerators: {A100: 8}       # all of these; a list is a choice: [A100:8, H100:8]
      disk: 200GB
      spot: prefer                  # true: spot machines only; false, the default: none
      provider: aws                 # and region, zone, instance_type: labels that a place carries
      max_hourly_cost: 30 USD       # of one machine
      any_of: [{region: us-east-1}, {region: us-west-2, spot: true}]     # each over what stands around it
      ordered: true                 # try them in this order; else the cheapest is taken

A `Requirement` is this as it was written, part by part, so that what a task says goes over what the top of its file says. What
comes of it is one `Choice` for each alternative.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec.structs import replace

from styx.core.fit import SPOT
from styx.core.offers import Spot
from styx.core.resources import Resources
from styx.core.spec import Choice
from styx.core.suggest import did_you_mean
from styx.core.units import accelerator_counts, byte_count, got, micros, thousandths
from styx.protocol import fields
from styx.protocol.findings import Findings, Path

__all__ = ["MAX_CHOICES", "Requirement", "choices_of", "few_enough", "read_money", "read_requirement"]

MAX_CHOICES = 64  # alternatives of one task, once every choice of accelerators counts as one

_SPOT = {True: Spot.YES, False: Spot.NO, "prefer": Spot.PREFER}
_PLACE_LABELS = ("provider", "region", "zone", "instance_type")


class Requirement(msgspec.Struct, frozen=True):
    """Nothing stands for what was not said. `kinds` are choices of accelerators."""

    parts: dict[str, Any] = {}
    labels: dict[str, str] = {}
    kinds: tuple[tuple[tuple[str, int], ...], ...] = ()
    spot: Spot | None = None
    max_hourly: int | None = None
    any_of: tuple[Requirement, ...] = ()
    ordered: bool | None = None

    def over(self, base: Requirement) -> Requirement:
        """What this says, and the rest as `base` says it."""
        parts = {**base.parts, **self.parts}
        kinds = self.kinds
        if kinds:
            parts.pop("accelerators", None)
        elif "accelerators" not in self.parts:
            kinds = base.kinds
        return Requirement(
            parts,
            {**base.labels, **self.labels},
            kinds,
            base.spot if self.spot is None else self.spot,
            base.max_hourly if self.max_hourly is None else self.max_hourly,
            self.any_of or base.any_of,
            base.ordered if self.ordered is None else self.ordered,
        )

    def alternatives(self) -> list[Requirement]:
        """Without choices inside: one for each, in their order."""
        if self.any_of:
            shared = replace(self, any_of=())
            return [way for one in self.any_of for way in one.over(shared).alternatives()]
        if self.kinds:
            shared = replace(self, kinds=())
            return [replace(shared, parts={**self.parts, "accelerators": kind}) for kind in self.kinds]
        return [self]


def choices_of(asked: Requirement, implied: dict[str, str], known: dict[Any, Resources]) -> tuple[Choice, ...]:
    """At least one. `implied` are labels that follow from the rest of the task; equal vectors become one object by way of `known`."""
    found = []
    for one in asked.alternatives():
        spot = one.spot or Spot.NO
        labels = {**one.labels, **implied, **(dict([SPOT]) if spot else {})}
        resources = _vector(one.parts, known)
        found.append(Choice(resources, tuple(sorted(labels.items())), spot, one.max_hourly or 0))
    return tuple(found)


def _vector(parts: dict[str, Any], known: dict[Any, Resources]) -> Resources:
    key = tuple(parts.items())
    found = known.get(key)
    if found is None:
        found = known[key] = Resources(**parts)
    return found


def read_requirement(
    findings: Findings, path: Path, value: object, context: str = "", *, inside: bool = False
) -> Requirement | None:
    """`resources`, or with `inside` one of the alternatives in it."""
    if not isinstance(value, dict):
        findings.value(path, f"a mapping such as {{cpus: 1, memory: 512MB}}, got {got(value)}")
        return None
    reading = _Reading(findings, path, context, inside)
    for key, part in value.items():
        reading.take(key, part)
    return reading.requirement()


def few_enough(findings: Findings, path: Path, asked: Requirement) -> bool:
    """Whether the alternatives of a task are within their bound; said if they are not."""
    if not (asked.any_of or asked.kinds) or len(asked.alternatives()) <= MAX_CHOICES:
        return True
    where = (*path, "any_of" if asked.any_of else "accelerators")
    findings.value(where, f"at most {MAX_CHOICES} alternatives, counting each choice of accelerators")
    return False


class _Reading:
    """One mapping, key by key."""

    def __init__(self, findings: Findings, path: Path, context: str, inside: bool) -> None:
        self._findings = findings
        self._path = path
        self._context = context
        self._inside = inside
        self._parts: dict[str, Any] = {}
        self._labels: dict[str, str] = {}
        self._more: dict[str, Any] = {}
        self._readers: dict[str, Callable[[Path, object], None]] = {
            "cpus": self._cpus,
            "memory": self._size,
            "disk": self._size,
            "accelerators": self._accelerators,
            "labels": self._carried,
            **dict.fromkeys(_PLACE_LABELS, self._place),
            "spot": self._spot,
            "max_hourly_cost": self._cost,
        }
        if not inside:
            self._readers |= {"any_of": self._any_of, "ordered": self._ordered}

    def requirement(self) -> Requirement:
        return Requirement(self._parts, self._labels, **self._more)

    def take(self, key: object, value: object) -> None:
        reader = self._readers.get(key) if isinstance(key, str) else None
        if reader is not None:
            reader((*self._path, str(key)), value)
        elif self._inside and key in {"any_of", "ordered"}:
            hint = "write all alternatives into the one list under 'resources'"
            self._findings.add((*self._path, str(key)), f"{key!r} does not stand inside an alternative", hint, key=True)
        else:
            where = " in an alternative" if self._inside else f" in 'resources'{self._context}"
            self._findings.unknown(self._path, key, self._readers, where)

    def _part(self, where: Path, read: Callable[[object], Any], value: object) -> None:
        try:
            self._parts[str(where[-1])] = read(value)
        except ValueError as error:
            self._findings.value(where, str(error))

    def _cpus(self, where: Path, value: object) -> None:
        self._part(where, thousandths, _minimum(value))

    def _size(self, where: Path, value: object) -> None:
        self._part(where, byte_count, _minimum(value))

    def _accelerators(self, where: Path, value: object) -> None:
        if not isinstance(value, list):
            self._part(where, accelerator_counts, value)
            return
        if not 1 <= len(value) <= MAX_CHOICES:
            self._findings.value(where, f"a list of 1 to {MAX_CHOICES} choices, got {len(value):,}")
            return
        kinds = []
        for position, one in enumerate(value):
            try:
                kinds.append(accelerator_counts(one))
            except ValueError as error:
                self._findings.value((*where, position), str(error))
        self._more["kinds"] = tuple(kinds)

    def _carried(self, where: Path, value: object) -> None:
        for name, text in fields.read_labels(self._findings, where, value) or ():
            self._label((*where, name), name, text)

    def _place(self, where: Path, value: object) -> None:
        text = fields.argument_text(value)
        if not text or len(text) > fields.MAX_LABEL or not text.isprintable():
            self._findings.value(where, f"printable text, got {got(value)}")
        else:
            self._label(where, str(where[-1]), text)

    def _label(self, where: Path, name: str, text: str) -> None:
        if self._labels.setdefault(name, text) != text:
            message = f"{name!r} is wanted to be {self._labels[name]!r} and {text!r}"
            hint = "alternatives stand under 'any_of'" if not self._inside else ""
            self._findings.add(where, message, hint)

    def _spot(self, where: Path, value: object) -> None:
        found = _SPOT.get(value) if isinstance(value, (bool, str)) else None
        if found is None:
            hint = did_you_mean(value, ("prefer", "true", "false")) if isinstance(value, str) else ""
            self._findings.value(where, f"true, false or 'prefer', got {got(value)}", hint)
        self._more["spot"] = found

    def _cost(self, where: Path, value: object) -> None:
        self._more["max_hourly"] = read_money(self._findings, where, value)

    def _any_of(self, where: Path, value: object) -> None:
        if not isinstance(value, list) or not 1 <= len(value) <= MAX_CHOICES:
            hint = "write it as [{region: us-east-1}, {region: us-west-2}]"
            wanted = f"a list of 1 to {MAX_CHOICES} alternatives, got "
            self._findings.value(where, wanted + (f"{len(value):,}" if isinstance(value, list) else got(value)), hint)
            return
        ways = [
            read_requirement(self._findings, (*where, position), one, self._context, inside=True)
            for position, one in enumerate(value)
        ]
        self._more["any_of"] = tuple(way for way in ways if way is not None)

    def _ordered(self, where: Path, value: object) -> None:
        self._more["ordered"] = fields.flag(self._findings, where, value)


def read_money(findings: Findings, path: Path, value: object) -> int | None:
    """Micros, at least one."""
    try:
        result = micros(value)
    except ValueError as error:
        findings.value(path, str(error))
        return None
    if result < 1:
        findings.value(path, f"more than nothing, got {got(value)}", f"leave {path[-1]!r} out for no limit")
        return None
    return result


def _minimum(value: object) -> object:
    """`4+` means at least 4, and so does `4`."""
    if isinstance(value, str) and value.rstrip().endswith("+"):
        return value.rstrip()[:-1].rstrip() or value
    return value
