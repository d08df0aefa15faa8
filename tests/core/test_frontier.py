"""What the frontier says of a shape without a look is what a look at every node would have said."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from styx.core.fit import Labels, fits_now
from styx.core.frontier import Frontier
from styx.core.queues import ReadyQueues
from styx.core.resources import Resources, least
from styx.core.world import Node

parts = st.integers(0, 4)
accelerators = st.sampled_from(((), (("A100", 1),), (("A100", 2), ("T4", 1)), (("T4", 2),)))
demands = st.builds(Resources, parts, parts, parts, accelerators)
labels = st.sampled_from(((), (("zone", "a"),)))
shapes = st.lists(st.tuples(demands, labels), min_size=1, max_size=12)
nodes = st.lists(st.tuples(demands, st.booleans(), st.booleans()), max_size=4)


@given(nodes, shapes, st.integers(-1, 11))
def test_what_is_covered_fits_nowhere(
    rooms: list[tuple[Resources, bool, bool]], asks: list[tuple[Resources, Labels]], keeper: int
) -> None:
    queues = ReadyQueues()
    known = [queues.shape(1, demand, wanted) for demand, wanted in asks]
    places = []
    for number, (room, zoned, away) in enumerate(rooms):
        node = Node(number)
        node.capacity = node.admission.free = room
        node.labels = {"zone": "a"} if zoned else {}
        node.connected = not away
        places.append(node)
    if places and 0 <= keeper < len(known):
        places[0].reserved = known[keeper].key
    frontier = Frontier()
    for shape in known:
        fits = any(fits_now(node, shape, queues.shapes) for node in places)
        if frontier.covers(shape) and shape.key not in {node.reserved for node in places}:
            assert not fits
        elif not fits:
            frontier.add(shape)


def test_it_stays_small() -> None:
    """Shapes of which none asks for less than another cost no more than a few comparisons each."""
    queues, frontier = ReadyQueues(), Frontier()
    many = [queues.shape(1, Resources(number, 1_000 - number), ()) for number in range(1_000)]
    for shape in many:
        frontier.add(shape)
    covered = [shape for shape in many if frontier.covers(shape)]
    assert 0 < len(covered) < 20
    frontier.add(queues.shape(1, Resources(0), ()))
    assert all(frontier.covers(shape) for shape in many)


@given(st.lists(demands, max_size=6), demands)
def test_the_least_is_what_fits_wherever_one_of_them_does(some: list[Resources], ask: Resources) -> None:
    if some:
        assert ask.fits(least(some)) == all(ask.fits(one) for one in some)
    else:
        assert least(some) == Resources(0)
