"""Providers by name: entry points in the group `styx.providers`, so that one can live in a package of its own.

A provider is used when `[providers.NAME]` stands in styx.toml, be it empty. Loading one imports its package and calls its `make`, which
is cheap by contract; nothing is loaded for names that are not in the settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from styx.core.suggest import did_you_mean, one_of
from styx.errors import Problem, SpecError
from styx.providers.base import Context, Make, Provider

__all__ = ["GROUP", "QUIET", "available", "make_all"]

GROUP = "styx.providers"
QUIET = frozenset({"fake", "local"})
"""Providers that nobody is told of before they stand in the settings: what they offer is made up, or is this very machine."""


@cache
def available() -> dict[str, EntryPoint]:
    """The providers that are installed. Looking through everything that is takes 10 ms, so it is done once."""
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def make_all(settings: Mapping[str, Mapping[str, Any]], context: Context) -> dict[str, Provider]:
    """The providers that are in the settings, in their order. Raises SpecError with every problem of all of them."""
    known = available()
    problems: list[Problem] = []
    made: dict[str, Provider] = {}
    for name, given in settings.items():
        entry = known.get(name)
        if entry is None:
            hint = did_you_mean(name, sorted(known)) or f"it may be {one_of(sorted(known))}"
            problems.append(Problem(f"$.providers.{name}", f"there is no provider {name!r}", hint))
            continue
        try:
            make: Make = entry.load()
            made[name] = make(given, context)
        except SpecError as error:
            problems += error.problems
        except ImportError as error:
            hint = f"pip install 'styx-orchestrator[{name}]'"
            problems.append(Problem(f"$.providers.{name}", f"provider {name!r} cannot be loaded: {error}", hint))
    if problems:
        raise SpecError(problems, source="styx.toml")
    return made
