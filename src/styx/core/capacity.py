"""Whether any place that is known could ever hold a task, and what to tell the person when none could.

A place is known until it is GONE: one that is away may come back. With no place known nothing is refused, since work may well be
submitted before the first agent connects.
"""

from __future__ import annotations

from styx.core.fit import Labels, mismatch, missing
from styx.core.graph import task_path
from styx.core.offers import Catalog
from styx.core.ranking import best
from styx.core.resources import Resources
from styx.core.spec import Choice, JobSpec, TaskSpec
from styx.core.states import NodeState
from styx.core.wording import listed, resources_text
from styx.core.world import Node, World
from styx.errors import Problem

__all__ = ["check_fit", "could_ever_fit", "has_own_place", "known_places", "misfit"]

NOTHING = Catalog()

_MAX_PROBLEMS = 100
_SHOWN_VALUES = 5


def known_places(world: World) -> list[Node]:
    """All nodes that are or may be back, in the order of their serials."""
    leaving = {NodeState.GONE, NodeState.RELEASING}
    return [node for _, node in sorted(world.nodes.items()) if node.state not in leaving]


def could_ever_fit(world: World, resources: Resources, labels: Labels = ()) -> list[Node]:
    """The known places that could hold such a task if they were empty."""
    return [node for node in known_places(world) if mismatch(node, resources, labels) is None]


def has_own_place(world: World, spec: TaskSpec) -> bool:
    """Whether a node that no provider brought up could hold such a task, be it busy now: then nothing is brought up for it."""
    return any(
        node.instance is None
        and node.state == NodeState.UP
        and not node.lost
        and any(mismatch(node, choice.resources, choice.labels) is None for choice in spec.choices)
        for node in world.nodes.values()
    )


def check_fit(world: World, spec: JobSpec, catalog: Catalog = NOTHING) -> list[Problem]:
    """One problem for each task that no known place could ever hold, and for which nothing that fits can be brought up; none
    when no place is known at all."""
    places = known_places(world)
    problems: list[Problem] = []
    if not places and not catalog.usable:
        return problems
    judged: dict[tuple[object, ...], tuple[str, str] | None] = {}
    for task in spec.tasks:
        ident = (task.resources, task.labels, task.others, task.spot, task.max_hourly)
        if ident not in judged:
            choices = task.choices
            fits = any(mismatch(node, one.resources, one.labels) is None for one in choices for node in places)
            fits = fits or best(catalog, choices, task.ordered, 1, lambda offer: False) is not None
            judged[ident] = None if fits else _nowhere(places, choices[0], catalog)
        wrong = judged[ident]
        if wrong is not None:
            reason, hint = wrong
            problems.append(Problem(f"{task_path(task.name)}.resources", f"task {task.name!r} {reason}", hint))
            if len(problems) == _MAX_PROBLEMS:
                break
    return problems


def _nowhere(places: list[Node], choice: Choice, catalog: Catalog) -> tuple[str, str]:
    reason, hint = ("wants what nobody offers", "") if not places else misfit(places, choice.resources, choice.labels)
    if catalog.usable:
        return f"{reason}, and no provider that can be used offers a machine for it", hint or "see `styx offers`"
    return reason, hint


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
