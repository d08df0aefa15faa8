"""What one row a node says without a look is never less than what a look would find."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from styx.core.reach import Reach
from styx.core.resources import Resources
from styx.core.settings import CoreSettings
from styx.core.world import Node, World

SETTINGS = CoreSettings()


def world_of(rooms: list[int]) -> World:
    """Nodes of so many free CPUs, which changed in this order."""
    world = World()
    world.queues.shape(1, Resources(1), ())
    for number, room in enumerate(rooms):
        node = world.nodes[number] = Node(number)
        node.capacity = node.admission.free = Resources(room)
        node.connected = True
        world.queues.node_changed(number)
    return world


rooms = st.lists(st.integers(0, 9), max_size=40)
asks = st.lists(st.tuples(st.integers(0, 10), st.integers(0, 45)), min_size=1, max_size=12)


@given(rooms, asks)
def test_each_shape_hears_of_what_changed_since_it_looked(free: list[int], questions: list[tuple[int, int]]) -> None:
    reach = Reach(world_of(free), SETTINGS)
    for cpus, seen in questions:
        expected = [node for node, room in enumerate(free) if node >= seen and room >= cpus]
        assert reach.nodes_for(cpus, seen) == (expected, [])
        assert reach.none_for(cpus, seen) == (not expected)
    assert reach.measured <= len(free)


@given(rooms, st.lists(st.integers(0, 39), max_size=12), asks)
def test_what_changes_within_the_pass_is_heard_of_once_and_last(
    free: list[int], again: list[int], questions: list[tuple[int, int]]
) -> None:
    world = world_of(free)
    reach = Reach(world, SETTINGS)
    late = [node for node in again if node < len(free)]
    for node in late:
        world.queues.node_changed(node)
    changed = world.queues.changed
    last = list(dict.fromkeys(reversed(late)))[::-1]
    for cpus, seen in questions:
        before = [node for node, room in enumerate(free) if node >= seen and room >= cpus and node not in late]
        expected = before + [node for node in last if changed[node] > seen and free[node] >= cpus]
        assert reach.nodes_for(cpus, seen) == (expected, [])
        if expected:
            assert not reach.none_for(cpus, seen)


def test_a_node_that_was_given_something_is_known_to_have_less() -> None:
    world = world_of([4, 4])
    reach = Reach(world, SETTINGS)
    assert reach.nodes_for(3, 0) == ([0, 1], [])
    node = world.nodes[0]
    node.admission.enter(1, Resources(2))
    reach.placed(node)
    assert reach.nodes_for(3, 0) == ([1], [])
    assert reach.nodes_for(2, 0) == ([0, 1], [])


def test_only_its_like_may_stand_behind_what_waits() -> None:
    world = world_of([4])
    world.nodes[0].admission.arrive(1, Resources(3))
    assert Reach(world, SETTINGS).nodes_for(3, 0) == ([], [0])
    assert Reach(world, SETTINGS).nodes_for(2, 0) == ([], [])


def test_a_node_that_nothing_may_be_given_to_is_left_out() -> None:
    world = world_of([4])
    world.nodes[0].connected = False
    assert Reach(world, SETTINGS).none_for(1, 0)
