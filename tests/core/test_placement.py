"""Placement as dialogue: who is placed where, and in which order."""

from __future__ import annotations

from styx.core.effects import RecallAttempts, StartAttempts
from styx.core.events import AgentDrained
from styx.core.records import AttemptAssigned, NodeReserved
from styx.core.resources import Resources
from styx.core.settings import CoreSettings
from styx.core.spec import Priority
from styx.core.states import Outcome, TaskState
from styx.testing.dialogue import Dialogue, job, task

GPU = Resources(8_000, 1 << 40, 0, (("A100", 1),))


def assigned(talk: Dialogue) -> list[tuple[int, int, int, int]]:
    """(job, task, index, node) of all assignments so far, which are forgotten."""
    found = [(r.job, r.task, r.index, r.node) for r in talk.records if isinstance(r, AttemptAssigned)]
    talk.records.clear()
    return found


def running(talk: Dialogue, node: int) -> list[int]:
    return list(talk.world.nodes[node].admission.admitted)


def test_one_message_a_node_with_its_attempts_in_order() -> None:
    talk = Dialogue()
    first, second = talk.connect("a", cpus=2), talk.connect("b", cpus=2)
    talk.submit(job("j", task("x", array=10)))
    assert len(talk.expect_start(first)) == 2
    assert len(talk.expect_start(second)) == 2
    talk.nothing_else()


def test_tasks_spread_over_nodes_alike() -> None:
    talk = Dialogue()
    nodes = [talk.connect(name, cpus=4) for name in "abc"]
    talk.submit(job("j", task("x", array=6)))
    assert sorted(node for _, _, _, node in assigned(talk)) == sorted(nodes * 2)


def test_higher_classes_first_and_the_rest_by_what_jobs_hold() -> None:
    talk = Dialogue()
    low = talk.submit(job("low", task("x", array=9), priority=Priority.LOW))
    one = talk.submit(job("one", task("x", array=2)))
    two = talk.submit(job("two", task("x", array=9)))
    high = talk.submit(job("high", task("x", cpus=2), priority=Priority.HIGH))
    talk.connect("a", cpus=8)
    assert [(who, index) for who, _, index, _ in assigned(talk)] == [
        (high, 0),
        (one, 0),
        (two, 0),
        (one, 1),
        (two, 1),
        (two, 2),
        (two, 3),
    ]
    assert talk.world.jobs[low].usage == 0


def test_jobs_with_different_shapes_share_too() -> None:
    talk = Dialogue()
    one = talk.submit(job("one", task("x", array=9), task("y", cpus=1, memory=1, array=9)))
    two = talk.submit(job("two", task("x", cpus=1, memory=2, array=9)))
    talk.connect("a", cpus=6)
    assert [who for who, _, _, _ in assigned(talk)] == [one, two, one, two, one, two]


def test_what_does_not_fit_is_passed_over() -> None:
    talk = Dialogue()
    talk.submit(job("big", task("x", cpus=8)))
    small = talk.submit(job("small", task("x", array=2)))
    talk.connect("a", cpus=4)
    assert [who for who, _, _, _ in assigned(talk)] == [small, small]


def test_labels_choose_the_node() -> None:
    talk = Dialogue()
    talk.submit(job("j", task("x", labels=(("zone", "b"),), array=2)))
    talk.connect("a", cpus=4, labels=(("zone", "a"),))
    assert assigned(talk) == []
    node = talk.connect("b", cpus=4, labels=(("zone", "b"), ("disk", "ssd")))
    assert [where for _, _, _, where in assigned(talk)] == [node, node]


def test_accelerators_are_left_to_those_who_want_them() -> None:
    talk = Dialogue()
    gpu = talk.connect("gpu", capacity=GPU)
    plain = talk.connect("plain", cpus=2)
    talk.submit(job("cpu", task("x", array=3)))
    assert [node for _, _, _, node in assigned(talk)] == [plain, plain, gpu]
    talk.submit(job("gpu", task("x", resources=Resources(1_000, 0, 0, (("A100", 1),)), array=2)))
    assert [node for _, _, _, node in assigned(talk)] == [gpu]


def test_nothing_goes_to_a_node_that_is_suspect_or_draining() -> None:
    talk = Dialogue()
    suspect, draining = talk.connect("a", cpus=4), talk.connect("b", cpus=4)
    talk.suspect(suspect)
    talk.say(AgentDrained(draining))
    talk.submit(job("j", task("x", array=2)))
    assert assigned(talk) == []
    talk.connect("a", cpus=4)
    assert [node for _, _, _, node in assigned(talk)] == [suspect, suspect]


def test_a_recalled_element_goes_first_and_gets_the_next_number() -> None:
    talk = Dialogue()
    node = talk.connect("a", cpus=1)
    serial = talk.submit(job("j", task("x", array=3)))
    (attempt,) = talk.expect_start(node)
    talk.ended(attempt, outcome=Outcome.REJECTED, reason="recalled")
    again = talk.records[-1]
    assert isinstance(again, AttemptAssigned)
    assert (again.job, again.index, again.number) == (serial, 0, 2)


def test_one_pass_places_no_more_than_its_limit_and_goes_on() -> None:
    talk = Dialogue(settings=CoreSettings(step_limit=10))
    node = talk.connect("a", cpus=25)
    talk.submit(job("j", task("x", array=40)))
    assert [len(e.attempts) for e in talk.effects if isinstance(e, StartAttempts)] == [10, 10, 5]
    assert len(running(talk, node)) == 25


def test_a_stream_of_small_tasks_does_not_starve_a_large_one() -> None:
    talk = Dialogue()
    node = talk.connect("a", cpus=4)
    talk.submit(job("small", task("x", array=400)))
    big = talk.submit(job("big", task("x", cpus=4)))

    def pass_time(seconds: int) -> None:
        for _ in range(seconds):  # each second the oldest of the small ones ends
            talk.sleep(1_000)
            talk.ended(running(talk, node)[0], ran=4_000)

    pass_time(59)
    assert talk.states(big) == {"x": ["READY"]}
    assert len(running(talk, node)) == 4, "the node is kept busy until the reservation"
    pass_time(4)
    assert talk.states(big) == {"x": ["ASSIGNED"]}
    reservations = [r for r in talk.records if isinstance(r, NodeReserved)]
    shape = reservations[0].shape
    assert reservations == [NodeReserved(node, shape), NodeReserved(node, -1)]
    talk.ended(*running(talk, node), ran=1_000)
    assert len(running(talk, node)) == 4, "the small ones go on"


def test_others_use_what_a_reservation_leaves() -> None:
    talk = Dialogue()
    node = talk.connect("a", cpus=8)
    talk.submit(job("long", task("x", cpus=4)))
    big = talk.submit(job("big", task("x", cpus=6)))
    talk.sleep(61_000)
    assert talk.world.nodes[node].reserved >= 0
    assigned(talk)
    small = talk.submit(job("small", task("x", array=8)))
    assert [who for who, _, _, _ in assigned(talk)] == [], "4 are held, 2 more would be all that 6 of 8 leave"
    (long, *_) = running(talk, node)
    talk.ended(long, ran=61_000)
    assert sorted(who for who, _, _, _ in assigned(talk)) == [big, small, small]
    assert talk.world.nodes[node].reserved < 0


def starve(talk: Dialogue, node: int) -> int:
    """A large job that waits until the node is reserved for it, while small tasks come and go. Its serial."""
    talk.submit(job("small", task("x", array=400)))
    big = talk.submit(job("big", task("x", cpus=4)))
    for _ in range(60):
        talk.sleep(1_000)
        talk.ended(running(talk, node)[0], ran=4_000)
    assert talk.world.nodes[node].reserved == talk.world.jobs[big].tasks[0].shape.key
    return big


def test_a_reservation_ends_when_the_task_is_cancelled() -> None:
    talk = Dialogue()
    node = talk.connect("a", cpus=4)
    big = starve(talk, node)
    assert len(running(talk, node)) == 3
    talk.cancel(big)
    assert talk.world.nodes[node].reserved < 0
    assert len(running(talk, node)) == 4


def test_a_reservation_moves_on_when_its_node_goes_away() -> None:
    talk = Dialogue()
    first = talk.connect("a", cpus=4)
    starve(talk, first)
    second = talk.connect("b", cpus=5)
    assigned(talk)
    talk.suspect(first)
    assert talk.world.nodes[first].reserved < 0
    assert talk.world.nodes[second].reserved < 0, "it was placed there the moment it connected"


def test_a_reservation_binds_its_class_and_those_below() -> None:
    talk = Dialogue()
    node = talk.connect("a", cpus=4)
    talk.submit(job("long", task("x", cpus=2)))
    talk.submit(job("big", task("x", cpus=4)))
    talk.sleep(61_000)
    assert talk.world.nodes[node].reserved >= 0
    assigned(talk)
    talk.submit(job("low", task("x"), priority=Priority.LOW))
    assert assigned(talk) == []
    high = talk.submit(job("high", task("x"), priority=Priority.HIGH))
    assert [who for who, _, _, _ in assigned(talk)] == [high]


def quick(talk: Dialogue, node: int, rounds: int = 3) -> None:
    """The node shows a pace of about 5 ms: whatever runs there ends after that."""
    for _ in range(rounds):
        talk.started(*running(talk, node))
        talk.sleep(5)
        talk.ended(*running(talk, node), ran=5)


def waiting(talk: Dialogue, node: int) -> int:
    return len(talk.world.nodes[node].admission.waiting)


def test_work_is_sent_ahead_by_the_pace_of_the_node() -> None:
    talk = Dialogue()
    node = talk.connect("a", cpus=2)
    talk.submit(job("j", task("x", array=1_000)))
    assert waiting(talk, node) == 0, "its pace is not known"
    quick(talk, node)
    pace = talk.world.nodes[node].pace
    assert waiting(talk, node) == int(2 * 50 / pace)
    assert len(running(talk, node)) == 2


def test_slow_nodes_get_nothing_ahead() -> None:
    talk = Dialogue()
    node = talk.connect("a", cpus=2)
    talk.submit(job("j", task("x", array=100)))
    for _ in range(5):
        talk.started(*running(talk, node))
        talk.sleep(2_000)
        talk.ended(*running(talk, node), ran=2_000)
        assert waiting(talk, node) == 0


def test_what_was_sent_ahead_and_stalls_is_asked_back_when_it_could_start_elsewhere() -> None:
    talk = Dialogue()
    node = talk.connect("a", cpus=2)
    serial = talk.submit(job("j", task("x", array=100)))
    quick(talk, node)
    stalled = list(talk.world.nodes[node].admission.waiting)
    assert stalled
    talk.sleep(1_000)
    assert not [e for e in talk.effects if isinstance(e, RecallAttempts)], "it could go nowhere else"
    talk.started(*running(talk, node))
    other = talk.connect("b", cpus=200)
    talk.sleep(250)
    while len(talk.effects) > 1:
        talk.effects.pop(0)
    talk.sleep(250)
    assert list(talk.world.nodes[node].admission.waiting) == stalled
    assert len(talk.world.nodes[other].held) > 50, "what was not sent ahead is there already"
    recalls = [e.attempts for e in talk.effects if isinstance(e, RecallAttempts)]
    assert len(recalls) <= 1, "it is asked once"
    talk.ended(*stalled, outcome=Outcome.REJECTED, reason="recalled")
    assert waiting(talk, node) == 0, "nothing is sent ahead to a node that stalls"
    assert talk.world.jobs[serial].counts[TaskState.READY] == 0


def test_what_was_sent_ahead_and_stalls_makes_way_for_a_higher_class() -> None:
    talk = Dialogue()
    node = talk.connect("a", cpus=2)
    talk.submit(job("j", task("x", array=100)))
    quick(talk, node)
    stalled = tuple(talk.world.nodes[node].admission.waiting)
    high = talk.submit(job("high", task("x", cpus=2), priority=Priority.HIGH))
    talk.effects.clear()
    talk.sleep(600)
    assert talk.expect_recall(node) == stalled
    talk.nothing_else()
    talk.ended(*stalled, outcome=Outcome.REJECTED, reason="recalled")
    talk.ended(*running(talk, node))
    assert talk.states(high) == {"x": ["ASSIGNED"]}


def test_nothing_is_sent_ahead_past_a_task_that_comes_first() -> None:
    talk = Dialogue()
    node = talk.connect("a", cpus=2)
    talk.submit(job("j", task("x", array=1_000)))
    quick(talk, node)
    assigned(talk)
    other = talk.submit(job("other", task("x", cpus=1, memory=1, array=50)))
    quick(talk, node, rounds=40)
    order = [who for who, _, _, _ in assigned(talk)]
    assert order[:2] == [other, other], "it holds nothing, so it is next when the node has run dry"
    assert abs(len(order) - 2 * order.count(other)) <= 4, "and then they share"


def test_a_reserved_node_gives_back_what_waits_there_and_gets_no_more() -> None:
    talk = Dialogue()
    node = talk.connect("a", cpus=2)
    talk.submit(job("j", task("x", array=500)))
    quick(talk, node)
    stalled = tuple(talk.world.nodes[node].admission.waiting)
    big = talk.submit(job("big", task("x", cpus=2)))
    talk.effects.clear()
    talk.sleep(60_000)
    assert talk.world.nodes[node].reserved >= 0
    assert {e.attempts for e in talk.effects if isinstance(e, RecallAttempts)} == {stalled}
    talk.ended(*stalled, outcome=Outcome.REJECTED, reason="recalled")
    first, second = running(talk, node)
    talk.started(first, second)
    talk.ended(first, ran=5)
    assert (waiting(talk, node), running(talk, node)) == (0, [second])
    talk.ended(second, ran=5)
    assert talk.states(big) == {"x": ["ASSIGNED"]}
