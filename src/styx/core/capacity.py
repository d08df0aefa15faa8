"""Whether any place that is known could ever hold a task, and what to tell the person when none could.

A place is known until it is GONE: one that is away may come back, and so may a provider that cannot be used at this moment (`outages`).
With no place known nothing is refused, since work may well be submitted before the first agent connects.
"""

from __future__ import annotations

from collections.abc import Iterable

from styx.core.awaiting import awaited, promised
from styx.core.fit import SPOT, Labels, mismatch, missing, suits
from styx.core.graph import task_path
from styx.core.offers import Offer
from styx.core.outages import Outage, hints_of
from styx.core.places import Places
from styx.core.ranking import best, within
from styx.core.resources import Resources
from styx.core.spec import Choice, JobSpec, TaskSpec
from styx.core.states import NodeState
from styx.core.wording import listed, offer_text, resources_text
from styx.core.world import Node, World
from styx.errors import Problem

__all__ = ["check_fit", "could_ever_fit", "has_own_place", "known_places", "misfit"]

_MAX_PROBLEMS = 100
_SHOWN_VALUES = 5
_LOOKED_UP = 3  # misfits for which all offers are looked through for the nearest
_RUNS = "runs"


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


def check_fit(world: World, spec: JobSpec, places: Places | None = None) -> list[Problem]:
    """One problem for each task that no known place could ever hold, and for which nothing that fits can be brought up, now or after
    an outage; none when no place is known at all."""
    beyond = places or Places()
    there = [*known_places(world), *promised(world, beyond.outages)]
    problems: list[Problem] = []
    if not there and not beyond.usable and not beyond.outages.passing:
        return problems
    judged: dict[tuple[object, ...], tuple[str, str] | None] = {}
    looked_up = 0
    for task in spec.tasks:
        ident = (task.resources, task.labels, task.others, task.spot, task.max_hourly)
        if ident not in judged:
            choices = task.choices
            fits = any(mismatch(node, one.resources, one.labels) is None for one in choices for node in there)
            fits = fits or best(beyond.catalog, choices, task.ordered, 1, lambda offer: False) is not None
            out = () if fits or not beyond.outages.outages else awaited(world, beyond.outages, task)
            fits = fits or any(not one.lasting for one in out)
            judged[ident] = None if fits else _nowhere(there, choices[0], beyond, out, look=looked_up < _LOOKED_UP)
            looked_up += not fits
        wrong = judged[ident]
        if wrong is not None:
            reason, hint = wrong
            problems.append(Problem(f"{task_path(task.name)}.resources", f"task {task.name!r} {reason}", hint))
            if len(problems) == _MAX_PROBLEMS:
                break
    return problems


def _nowhere(
    there: list[Node], choice: Choice, beyond: Places, out: Iterable[Outage], *, look: bool
) -> tuple[str, str]:
    reason, hint = misfit(there, choice.resources, choice.labels) if there else ("wants what nobody offers", "")
    out = tuple(out)
    if out:
        told = "; ".join(f"{one.provider} cannot be used as this server is set up: {one.reason}" for one in out)
        names = listed((one.provider for one in out), "or")
        return f"{reason}; {names} could hold it, but {told}", "; ".join(hints_of(out)) or hint
    if not beyond.usable and not beyond.outages.passing:
        return reason, hint
    nearest = _nearest((*beyond.catalog.offers, *beyond.outages.catalog.offers), choice) if look else None
    reason = f"{reason}, and no provider that is set up offers a machine for it"
    if nearest is None:
        return reason, hint or "see `styx offers`"
    offer, lacking = nearest
    if lacking == Resources(0):
        what = "would hold it, and is dearer than max_hourly_cost, or spot or on demand where the task takes no such"
        return f"{reason}: the nearest, {offer_text(offer)}, {what}", "see `styx offers`"
    most = resources_text(offer.resources, lacking)
    return f"{reason}: the nearest, {offer_text(offer)}, has {most}", f"ask for at most {most}; `styx offers` shows all"


def _nearest(offers: Iterable[Offer], choice: Choice) -> tuple[Offer, Resources] | None:
    """The offer where the task wants to be that lacks the least, and what it lacks."""
    sizes: dict[Resources, Offer] = {}
    for offer in offers:
        if offer.resources not in sizes and within(offer, choice.labels):
            sizes[offer.resources] = offer
    judged = ((missing(choice.resources, size), offer) for size, offer in sizes.items())
    best_known = min(judged, key=lambda one: (one[0] != Resources(0), one[0].weight, one[1].price), default=None)
    return None if best_known is None else (best_known[1], best_known[0])


def misfit(places: list[Node], resources: Resources, labels: Labels) -> tuple[str, str]:
    """Why none of the places (at least one) could hold such a task: what the task does, and what would help."""
    wanted = [pair for pair in labels if pair != SPOT]
    labelled = [node for node in places if all(node.labels.get(name) == value for name, value in wanted)]
    if not labelled:
        return _elsewhere(places, wanted)
    let_in = [node for node in labelled if suits(node, labels)]
    if not let_in:
        return _kept_out(labelled)
    nearest = min(let_in, key=lambda node: (missing(resources, node.capacity).weight, node.id))
    lacking = missing(resources, nearest.capacity)
    asked, there = resources_text(resources, lacking), resources_text(nearest.capacity, lacking)
    which = "largest" if _single(lacking) else "nearest"
    reason = f"asks for {asked}; the {which} known place, {nearest.name!r}, has {there}"
    kinds = {name for name, _ in nearest.capacity.accelerators}
    if any(name not in kinds for name, _ in lacking.accelerators):
        return reason, f"connect an agent that has {asked}"
    return reason, f"ask for at most {there}, or connect a larger agent"


def _elsewhere(places: list[Node], wanted: list[tuple[str, str]]) -> tuple[str, str]:
    """No place carries the labels."""
    runs = [value for name, value in wanted if name == _RUNS]
    if runs and not any(node.labels.get(_RUNS) == runs[0] for node in places):
        return _RUN_NOWHERE.get(runs[0], (f"wants a place that runs {runs[0]}, and none that is known does", ""))
    texts = listed(f"{name}={value}" for name, value in wanted)
    known = sorted({f"{name}={node.labels[name]}" for node in places for name, _ in wanted if name in node.labels})
    shown = listed(known[:_SHOWN_VALUES]) + (f" and {len(known) - _SHOWN_VALUES} more" if known[_SHOWN_VALUES:] else "")
    there = f"known are {shown}" if known else "none of the known places has such a label"
    return f"wants a place with {texts}; {there}", "change the labels, or connect an agent that has them"


_RUN_NOWHERE = {
    "image": (
        "is a container, and no known place runs images",
        "set a cluster up under [providers.kubernetes] in styx.toml, or leave `image` out",
    ),
    "function": (
        "names a function, and no known place calls functions",
        "set up [providers.aws.functions] in styx.toml, or give the task a command",
    ),
}


def _kept_out(places: list[Node]) -> tuple[str, str]:
    """These would be large enough or not, but take only tasks of another kind."""
    kinds = {pair for node in places for pair in node.taints}
    takes, helps = [], []
    if (_RUNS, "image") in kinds:
        takes.append("tasks with an image")
        named = sorted(value for name, value in kinds if name == "provider")
        helps.append("give it an `image`" + (f" or `provider: {named[0]}`" if named else ""))
    if (_RUNS, "function") in kinds:
        takes.append("functions")
    if SPOT in kinds:
        takes.append("tasks that take spot machines")
        helps.append("let it take spot machines (`spot: prefer`)")
    takes += sorted(f"what runs as {value}" for name, value in kinds if name == _RUNS and value not in _RUN_NOWHERE)
    names = listed(sorted({repr(node.name) for node in places})[:_SHOWN_VALUES])
    only = f"the known place {names} only runs" if len(places) == 1 else f"the known places ({names}) only run"
    helps.append("connect an agent, which runs any command")
    return f"is a plain command, and {only} {listed(takes)}", listed(helps, "or")


def _single(lacking: Resources) -> bool:
    """Whether one part of the vector alone is too small."""
    return bool(lacking.cpus) + bool(lacking.memory) + bool(lacking.disk) + len(lacking.accelerators) == 1
