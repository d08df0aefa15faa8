"""A cloud that is not there: for the simulator, and for people who write tests.

    [providers.fake]
    zones = ["fake-1a", "fake-1b"]   # the region is what stands before the last letter
    latency = "200ms"                # of each call
    settles = "5s"                   # until a listing shows what happened before

It is held to the contract suite that the real ones pass, and can do on purpose what they do by accident: see `cloud.Faults`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from styx.core.units import got, milliseconds
from styx.errors import Problem, SpecError
from styx.providers.base import Context
from styx.providers.fake.cloud import FakeCloud
from styx.providers.fake.provider import FakeProvider

__all__ = ["FakeCloud", "FakeProvider", "make"]


def make(settings: Mapping[str, Any], context: Context) -> FakeProvider:
    """Raises SpecError."""
    problems: list[Problem] = []
    waits = {"latency": 0, "settles": 0}
    zones: tuple[str, ...] = ("fake-1a", "fake-1b", "fake-2a")
    for key, value in settings.items():
        where = f"$.providers.fake.{key}"
        if key in waits:
            try:
                waits[key] = milliseconds(value)
            except ValueError as error:
                problems.append(Problem(where, f"{key} must be {error}"))
        elif key == "zones":
            if not isinstance(value, list) or not value or not all(isinstance(zone, str) and zone for zone in value):
                problems.append(Problem(where, f"zones must be a list of names, got {got(value)}"))
            else:
                zones = tuple(value)
        else:
            hint = "it may be zones, latency or settles"
            problems.append(Problem(where, f"unknown setting {key!r} in [providers.fake]", hint))
    if problems:
        raise SpecError(problems)
    cloud = FakeCloud(context.now, context.sleep, latency=waits["latency"], settles=waits["settles"])
    return FakeProvider(cloud, zones)
