"""The queue in front of a node: strict, and the same for whoever hears of fewer ends."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from styx.core.admission import Admission
from styx.core.resources import Resources


def admit(queue: Admission) -> list[int]:
    admitted = []
    while (key := queue.head()) is not None:
        queue.admit(key)
        admitted.append(key)
    return admitted


def test_nothing_overtakes_a_head_that_does_not_fit() -> None:
    queue = Admission(Resources(2_000))
    for key, cpus in enumerate([1_000, 2_000, 500]):
        queue.arrive(key, Resources(cpus))
    assert admit(queue) == [0]
    queue.leave(0)
    assert admit(queue) == [1]
    queue.leave(1)
    assert admit(queue) == [2]


def test_who_goes_away_while_waiting_lets_the_next_one_in() -> None:
    queue = Admission(Resources(1_000))
    queue.arrive(1, Resources(2_000))
    queue.arrive(2, Resources(1_000))
    assert admit(queue) == []
    queue.leave(1)
    assert admit(queue) == [2]


@given(st.lists(st.integers(1, 4), min_size=1, max_size=30), st.randoms(use_true_random=False))
def test_the_side_that_hears_of_fewer_ends_has_admitted_a_prefix(cpus: list[int], random: object) -> None:
    """The node runs ahead; the scheduler hears of its ends later, in order. It never admits what the node has not."""
    node, scheduler = Admission(Resources(4_000)), Admission(Resources(4_000))
    order: list[int] = []
    heard = 0
    there: list[int] = []
    here: list[int] = []
    for key, size in enumerate(cpus):
        for queue in (node, scheduler):
            queue.arrive(key, Resources(size * 1_000))
        there += admit(node)
        here += admit(scheduler)
        for _ in range(random.randrange(3)):  # type: ignore[attr-defined]
            running = [k for k in there if k not in order]
            if running:
                ended = random.choice(running)  # type: ignore[attr-defined]
                node.leave(ended)
                order.append(ended)
                there += admit(node)
        while heard < len(order) and random.random() < 0.4:  # type: ignore[attr-defined]
            scheduler.leave(order[heard])
            heard += 1
            here += admit(scheduler)
        assert here == there[: len(here)]
        assert there == sorted(there)
