"""Whether any place that is known could ever hold a task, and what to tell the person when none could.

A place is known until it is GONE: one that is away may come back. With no place known nothing is refused, since work may well be
submitted before the first agent connects.
"""

from __future__ import annotations

from styx.core.fit import Labels, mismatch, missing
from styx.core.graph import task_path
from styx.core.resources import Resources
from styx.core.spec import JobSpec
from styx.core.states import NodeState
from styx.core.wording import listed, resources_text
from styx.core.world import Node, World
from styx.errors import Problem

__all__ = ["check_fit", "could_ever_fit", "known_places", "misfit"]

_MAX_PROBLEMS = 100
_SHOWN_VALUES = 5


def known_places(world: World) -> list[Node]:
    """All nodes that are or may be back, in the order of their serials."""
    return [node for _, node in sorted(world.nodes.items()) if node.state != NodeState.GONE]


def could_ever_fit(world: World, resources: Resources, labels: Labels = ()) -> list[Node]:
    """The known places that could hold such a task if they were empty."""
    return [node for node in known_places(world) if mismatch(node, resources, labels) is None]


def check_fit(world: World, spec: JobSpec) -> list[Problem]:
    """One problem for each task that no known place could ever hold; none when no place is known."""
    places = known_places(world)
    problems: list[Problem] = []
    if not places:
        return problems
    judged: dict[tuple[Resources, Labels], tuple[str, str] | None] = {}
    for task in spec.tasks:
        ident = (task.resources, task.labels)
        if ident not in judged:
            fits = any(mismatch(node, task.resources, task.labels) is None for node in places)
            judged[ident] = None if fits else misfit(places, task.resources, task.labels)
        wrong = judged[ident]
        if wrong is not None:
            reason, hint = wrong
            problems.append(Problem(f"{task_path(task.name)}.resources", f"task {task.name!r} {reason}", hint))
            if len(problems) == _MAX_PROBLEMS:
                break
    return problems


def misfit(places: list[Node], resources: Resources, labels: Labels) -> tuple[str, str]:
    """Why none of the places (at least one) could hold such a task: what the task does, and what would help."""
    labelled = [node for node in places if all(node.labels.get(name) == value for name, value in labels)]
    if not labelled:
        wanted = listed(f"{name}={value}" for name, value in labels)
        known = sorted({f"{name}={node.labels[name]}" for node in places for name, _ in labels if name in node.labels})
        shown = listed(known[:_SHOWN_VALUES]) + (
            f" and {len(known) - _SHOWN_VALUES} more" if known[_SHOWN_VALUES:] else ""
        )
        there = f"known are {shown}" if known else "none of the known places has such a label"
        return f"wants a place with {wanted}; {there}", "change the labels, or connect an agent that has them"
    nearest = min(labelled, key=lambda node: (missing(resources, node.capacity).weight, node.id))
    lacking = missing(resources, nearest.capacity)
    asked, there = resources_text(resources, lacking), resources_text(nearest.capacity, lacking)
    which = "largest" if _single(lacking) else "nearest"
    reason = f"asks for {asked}; the {which} known place, {nearest.name!r}, has {there}"
    return reason, f"ask for at most {there}, or connect a larger agent"


def _single(lacking: Resources) -> bool:
    """Whether one part of the vector alone is too small."""
    return bool(lacking.cpus) + bool(lacking.memory) + bool(lacking.disk) + len(lacking.accelerators) == 1
