"""Placement against plain rules, over invented histories: capacity, classes, fairness, idle room, and what `why` says."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from styx.core.effects import Answer
from styx.core.events import (
    AgentDrained,
    AgentLost,
    AgentSuspected,
    CancelRequested,
    Continued,
    Event,
    Held,
    PlacementDue,
)
from styx.core.explain import explain
from styx.core.fit import mismatch
from styx.core.preview import first_placed
from styx.core.records import AttemptAssigned, NodeReserved
from styx.core.resources import Resources
from styx.core.settings import CoreSettings
from styx.core.spec import Priority, TaskSpec
from styx.core.states import NodeState, Outcome, TaskState
from styx.core.world import Node, Task
from styx.testing.dialogue import Dialogue, job, task

DEMANDS = (
    Resources(1_000),
    Resources(1_000, 512),
    Resources(2_000, 100),
    Resources(4_000, 1_024),
    Resources(1_000, 0, 0, (("A100", 1),)),
    Resources(64_000),
)
CAPACITIES = (
    Resources(2_000, 1_024),
    Resources(4_000, 2_048),
    Resources(8_000, 1_024, 0, (("A100", 2),)),
)
LABELS = ((), (("zone", "a"),), (("zone", "b"),))

tasks = st.builds(
    lambda demand, labels, array: (DEMANDS[demand], LABELS[labels], array),
    st.sampled_from((0, 0, 0, 1, 2, 3, 4, 5)),
    st.sampled_from((0, 0, 0, 1)),
    st.integers(1, 6),
)
steps = st.one_of(
    st.tuples(st.just("submit"), st.sampled_from(list(Priority)), st.lists(tasks, min_size=1, max_size=3)),
    st.tuples(st.just("connect"), st.integers(0, 3)),
    st.tuples(st.just("end"), st.integers(0, 30), st.integers(1, 12), st.sampled_from((1, 5, 300))),
    st.tuples(st.just("end"), st.integers(0, 30), st.integers(1, 12), st.sampled_from((1, 5, 300))),
    st.tuples(st.just("recalled"), st.integers(0, 30), st.integers(1, 12)),
    st.tuples(st.just("leave"), st.integers(0, 3), st.sampled_from(("suspect", "lose", "drain"))),
    st.tuples(st.just("cancel"), st.integers(0, 30)),
    st.tuples(st.just("sleep"), st.sampled_from((1, 100, 400, 61_000))),
)
histories = st.tuples(
    st.lists(st.tuples(st.just("connect"), st.integers(0, 3)), max_size=3), st.lists(steps, min_size=8, max_size=30)
).map(lambda parts: parts[0] + parts[1])


def room(node: Node, demand: Resources, labels: tuple[tuple[str, str], ...]) -> bool:
    """Whether a task would start on the node at once, said plainly; the node is not reserved."""
    held = [attempt.task.spec.resources for attempt in node.held.values() if attempt.admitted]
    free = node.capacity
    for other in held:
        free = free.minus(other)
    return (
        node.connected
        and node.state == NodeState.UP
        and not node.admission.waiting
        and dict(node.labels).items() >= dict(labels).items()
        and demand.fits(free)
    )


def ready(talk: Dialogue) -> list[tuple[tuple[int, int, int], Task, int]]:
    """All that is READY, with its place in the order: (class, usage, job)."""
    return [
        ((-one.spec.priority, one.usage, one.serial), each, index)
        for one in talk.world.jobs.values()
        if not one.cancelling
        for each in one.tasks
        for index, state in enumerate(each.states)
        if state == TaskState.READY
    ]


def watch_one_placement(talk: Dialogue) -> None:
    """One placement of at most one element: what `preview` and `why` foretold, and what the plain rules allow."""
    world = talk.world
    now, core = talk.now, talk.engine.settings
    foretold = first_placed(world, now, core)
    waiting = ready(talk)
    nodes = list(world.nodes.values())
    reserved = any(node.reserved >= 0 for node in nodes)
    could_start = {
        (order, each.ordinal, index)
        for order, each, index in waiting
        if any(room(node, each.spec.resources, each.spec.labels) for node in nodes)
    }
    next_ones = [
        (each.job.serial, each.ordinal, index)
        for _, each, index in waiting
        if explain(world, each.job.serial, each.ordinal, index, now, core).code == "next"
    ]
    mark = len(talk.records)
    talk.step(PlacementDue())
    placed = [record for record in talk.records[mark:] if isinstance(record, AttemptAssigned)]
    reservations = [record for record in talk.records[mark:] if isinstance(record, NodeReserved)]
    assert len(placed) <= 1
    if reservations and not placed:
        return
    if not placed:
        assert foretold is None or foretold[2], "what could start at once was not placed"
        assert not next_ones
        assert reserved or not could_start, "a place was left idle that something waiting fits into"
        return
    (one,) = placed
    assert foretold is not None or reservations
    assert next_ones == [] if foretold is None or foretold[2] else next_ones == [(one.job, one.task, one.index)]
    attempt = world.attempts[one.attempt]
    if attempt.admitted and not reserved and not reservations:
        mine = (-attempt.task.job.spec.priority, attempt.task.job.usage - attempt.task.shape.weight, one.job)
        assert mine == min(order for order, _, _ in could_start), "something that comes first could have started"


def settle(talk: Dialogue) -> None:
    for _ in range(3_000):
        if talk.engine.placement_due:
            watch_one_placement(talk)
        elif talk.engine.unfinished:
            talk.settle_one()
        else:
            return
    raise AssertionError("placement never comes to rest")


class Watched(Dialogue):
    """A dialogue in which every single placement is watched."""

    def settle(self) -> None:
        settle(self)

    def settle_one(self) -> None:
        self.step(Continued())


def play(talk: Dialogue, history: list[tuple[object, ...]]) -> None:
    for what, *rest in history:
        world = talk.world
        attempts = list(world.attempts.values())
        if what == "submit":
            priority, specs = rest
            chosen: list[TaskSpec] = [
                task(f"t{n}", resources=demand, labels=labels, array=array, max_lost=1_000)
                for n, (demand, labels, array) in enumerate(specs)  # type: ignore[arg-type]
            ]
            talk.submit(job("j", *chosen, priority=priority))
        elif what == "connect":
            connect(talk, rest[0])  # type: ignore[arg-type]
        elif what in {"end", "recalled"} and attempts:
            first = attempts[rest[0] % len(attempts)]  # type: ignore[operator]
            admitted = what == "end"
            some = [a.id for a in first.node.held.values() if a.admitted is admitted][: rest[1]]  # type: ignore[misc]
            if not some:
                continue
            if admitted:
                talk.now += rest[2]  # type: ignore[operator]
                talk.ended(*some, ran=rest[2], node=first.node.id)
            else:
                talk.ended(*some, outcome=Outcome.REJECTED, reason="recalled", node=first.node.id)
        elif what == "leave":
            node = world.by_agent.get(f"n{rest[0]}")
            if node is not None:
                talk.say({"suspect": AgentSuspected, "lose": AgentLost, "drain": AgentDrained}[rest[1]](node))  # type: ignore[index]
        elif what == "cancel" and world.jobs:
            talk.say(CancelRequested(list(world.jobs)[rest[0] % len(world.jobs)]))  # type: ignore[operator]
        elif what == "sleep":
            talk.sleep(rest[0])  # type: ignore[arg-type]


def connect(talk: Dialogue, number: int) -> None:
    """One of four machines says hello, and holds what it was given."""
    node = talk.world.nodes.get(talk.world.by_agent.get(f"n{number}", 0))
    held = [] if node is None else [Held(a.id, 1 if a.admitted else 0) for a in node.held.values()]
    capacity = CAPACITIES[(1, 1, 2, 0)[number]]
    talk.connect(f"n{number}", capacity=capacity, labels=LABELS[number % 3], held=held)


@settings(max_examples=80, deadline=None)
@given(histories)
def test_every_placement_follows_the_rules(history: list[tuple[object, ...]]) -> None:
    play(Watched(settings=CoreSettings(step_limit=1)), history)


class Portions(Dialogue):
    """A dialogue whose passes of placement are so long. Everything else is as wide as ever: what is lost or cancelled in pieces
    lets others be placed in between, in another order and rightly so."""

    def __init__(self, limit: int) -> None:
        super().__init__(settings=CoreSettings(ahead_ms=0, reserve_after=10**9))
        self._limit = limit

    def step(self, event: Event) -> Answer:
        return super().step(PlacementDue(self._limit) if type(event) is PlacementDue else event)


@settings(max_examples=60, deadline=None)
@given(histories)
def test_a_long_pass_places_in_the_order_of_single_ones(history: list[tuple[object, ...]]) -> None:
    """As long as nothing is sent ahead, whose measure is taken once a pass."""
    orders = []
    for limit in (1, 3, 1_000):
        talk = Portions(limit)
        play(talk, history)
        orders.append([(r.job, r.task, r.index, r.node) for r in talk.records if isinstance(r, AttemptAssigned)])
    assert orders[0] == orders[1] == orders[2]


@settings(max_examples=60, deadline=None)
@given(histories)
def test_everything_that_fits_somewhere_is_placed_in_the_end(history: list[tuple[object, ...]]) -> None:
    """Once all nodes are back and all that runs comes to its end, nothing is left that some node could hold."""
    talk = Dialogue(settings=CoreSettings(step_limit=100))
    play(talk, history)
    for number in range(4):
        connect(talk, number)
    for _ in range(500):
        attempts = list(talk.world.attempts.values())
        if not attempts:
            break
        node = attempts[0].node
        talk.sleep(20)
        talk.ended(*node.admission.admitted, ran=20, node=node.id)
    left = [(each.spec.resources, each.spec.labels) for _, each, _ in ready(talk)]
    nodes = talk.world.nodes.values()
    assert not [ask for ask in left if any(mismatch(node, *ask) is None for node in nodes)]
