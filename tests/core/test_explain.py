"""`why`: each code comes up where it should, with evidence that is true; and what no place could hold is said well."""

from __future__ import annotations

import pytest

from styx.core.capacity import check_fit, could_ever_fit
from styx.core.events import AgentDrained, PlacementDue
from styx.core.explain import Reason, explain
from styx.core.resources import Resources
from styx.core.spec import Priority
from styx.core.states import TaskState
from styx.core.wording import bytes_text, cpus_text, listed, resources_text, time_text
from styx.errors import NotFound
from styx.testing.dialogue import Dialogue, job, task


def why(talk: Dialogue, serial: int, ordinal: int = 0, index: int = 0) -> Reason:
    return explain(talk.world, serial, ordinal, index, talk.now, talk.engine.settings)


def running(talk: Dialogue, node: int) -> list[int]:
    return list(talk.world.nodes[node].admission.admitted)


def test_waiting_for_needs() -> None:
    talk = Dialogue()
    serial = talk.submit(job("j", task("a"), task("b", array=3), task("c", needs=("a", "b"))))
    reason = why(talk, serial, 2)
    assert reason.code == "waiting-for-needs"
    assert reason.reason == "it waits for 'a' and 'b' to end"
    assert reason.evidence == ("'a': READY", "'b': 3 READY")


def test_no_place_is_known() -> None:
    talk = Dialogue()
    reason = why(talk, talk.submit(job("j", task("x"))))
    assert reason.code == "no-node"
    assert "styx-agent" in reason.change[0]


def test_no_room_names_the_places_and_what_they_lack() -> None:
    talk = Dialogue()
    talk.connect("a", cpus=2)
    talk.submit(job("long", task("x")))
    serial = talk.submit(job("j", task("x", cpus=2)))
    talk.sleep(5_000)
    reason = why(talk, serial)
    assert reason.code == "no-room"
    assert reason.evidence == (
        "'a' lacks 1 CPU: 1 CPU free",
        "nothing like it found a place for 5.0 s",
    )


def test_never_fits_and_labels() -> None:
    talk = Dialogue()
    big = talk.submit(job("big", task("x", cpus=64)))
    there = talk.submit(job("there", task("x", labels=(("zone", "mars"),))))
    talk.connect("a", cpus=2, labels=(("zone", "earth"),))
    assert why(talk, big).code == "never-fits"
    assert why(talk, big).reason == "it asks for 64 CPUs; the largest known place, 'a', has 2 CPUs"
    assert why(talk, there).code == "label-mismatch"
    assert why(talk, there).reason == "it wants a place with zone=mars; known are zone=earth"


def test_places_that_are_away() -> None:
    talk = Dialogue()
    first, second = talk.connect("a", cpus=1), talk.connect("b", cpus=1)
    talk.suspect(first)
    talk.say(AgentDrained(second))
    reason = why(talk, talk.submit(job("j", task("x"))))
    assert reason.code == "node-away"
    assert reason.evidence[:2] == ("'a' is not connected", "'b' is DRAINING")


def test_what_goes_before_in_the_same_job_and_in_others() -> None:
    talk = Dialogue()
    talk.connect("a", cpus=2)
    mine = talk.submit(job("mine", task("x", array=10)))
    other = talk.submit(job("other", task("x", array=4)))
    reason = why(talk, mine, 0, 7)
    assert reason.code == "queue"
    assert reason.reason == "9 tasks like it go first, and no place has room for it now"
    assert reason.evidence[0] == "5 elements of its own job go before it"
    assert reason.evidence[1].startswith("1 other job with 4 such tasks waiting go before it")
    assert why(talk, mine, 0, 2).code == "fairness"
    assert why(talk, other, 0, 0).code == "no-room"


def test_next_and_what_is_given_a_place_first() -> None:
    talk = Dialogue()
    serial = talk.submit(job("j", task("x", array=3)))
    low = talk.submit(job("low", task("x"), priority=Priority.LOW))
    talk.settle = lambda: None  # type: ignore[method-assign]  # look before placement
    talk.connect("a", cpus=8)
    assert why(talk, serial).code == "next"
    assert why(talk, serial, 0, 1).code == "queue"
    assert why(talk, low).code == "priority"
    talk.step(PlacementDue())
    assert why(talk, serial).code == "assigned"


def test_reserved() -> None:
    talk = Dialogue()
    talk.connect("a", cpus=4)
    talk.submit(job("long", task("x", cpus=2)))
    big = talk.submit(job("big", task("x", cpus=4)))
    talk.sleep(61_000)
    small = talk.submit(job("small", task("x")))
    reason = why(talk, small)
    assert reason.code == "reserved"
    assert reason.evidence[0] == "'a' keeps 4 CPUs for a task that has waited longer"
    assert "'a' keeps room for it" in why(talk, big).evidence


def test_backoff_says_until_when_and_what_is_used_up() -> None:
    talk = Dialogue()
    node = talk.connect("a")
    serial = talk.submit(job("j", task("x", retries=3)))
    talk.ended(*running(talk, node), code=1, ran=10)
    talk.sleep(400)
    reason = why(talk, serial)
    assert reason.code == "backoff"
    assert reason.reason == "attempt 1 did not succeed; the next one may start in 0.6 s"
    assert reason.evidence == ("1 attempt so far", "1 of 3 retries used")


def test_under_way() -> None:
    talk = Dialogue()
    node = talk.connect("a", cpus=1)
    serial = talk.submit(job("j", task("x", array=200)))
    assert why(talk, serial).code == "assigned"
    talk.started(*running(talk, node))
    talk.sleep(2_000)
    assert why(talk, serial).reason == "it runs on 'a' since 2.0 s"
    talk.ended(*running(talk, node), ran=2_000)
    while len(talk.world.nodes[node].admission.waiting) < 2:  # until it is known to be quick, and work is sent ahead
        talk.started(*running(talk, node))
        talk.sleep(5)
        talk.ended(*running(talk, node), ran=5)
    waiting = talk.world.attempts[list(talk.world.nodes[node].admission.waiting)[1]]
    reason = why(talk, serial, 0, waiting.index)
    assert reason.code == "assigned"
    assert reason.reason == "it was sent ahead to 'a' and waits there for room, behind 1 other"


def test_cancelling_and_ended() -> None:
    talk = Dialogue()
    node = talk.connect("a", cpus=1)
    serial = talk.submit(job("j", task("x", grace=3_000), task("y"), task("z", needs=("y",))))
    talk.started(*running(talk, node))
    talk.cancel(serial, 0)
    assert why(talk, serial).code == "cancelling"
    assert why(talk, serial).evidence == ("SIGKILL follows 3.0 s after SIGTERM",)
    talk.ended(*running(talk, node))
    reason = why(talk, serial)
    assert (reason.code, reason.reason) == ("ended", "it has ended: CANCELLED")
    with pytest.raises(NotFound):
        why(talk, serial + 1)


def test_nodes_of_which_nothing_is_heard() -> None:
    talk = Dialogue()
    nodes = [talk.connect(name, cpus=1) for name in "abcdef"]
    serial = talk.submit(job("j", task("x", array=6)))
    for node in nodes:
        talk.started(*running(talk, node))
    talk.suspect(nodes[0])
    talk.sleep(3_000)
    assert why(talk, serial).code == "node-suspect"
    assert why(talk, serial).evidence == ("nothing was heard of node 'a' for 3.0 s",)
    for node in nodes[1:5]:
        talk.suspect(node)
    assert why(talk, serial).code == "mass-loss"
    assert "5 of 6 nodes vanished within 45 s" in why(talk, serial).evidence
    assert why(talk, serial, 0, 5).code == "running"


def test_an_array_is_answered_by_what_waits_the_most() -> None:
    talk = Dialogue()
    talk.connect("a", cpus=2)
    serial = talk.submit(job("j", task("x", array=5)))
    assert talk.world.jobs[serial].tasks[0].states[0] == TaskState.ASSIGNED
    assert why(talk, serial, 0, -1).code == "no-room"


def test_what_no_known_place_could_hold() -> None:
    talk = Dialogue()
    spec = job("j", task("ok"), task("big", cpus=64), task("far", labels=(("zone", "x"),)))
    assert check_fit(talk.world, spec) == [], "no place is known, so it may come"
    node = talk.connect("node-a", cpus=2)
    talk.suspect(node)
    big, far = check_fit(talk.world, spec)
    assert big.path == "$.tasks.big.resources"
    assert big.message == "task 'big' asks for 64 CPUs; the largest known place, 'node-a', has 2 CPUs"
    assert big.hint == "ask for at most 2 CPUs, or connect a larger agent"
    assert far.message == "task 'far' wants a place with zone=x; none of the known places has such a label"
    assert [found.name for found in could_ever_fit(talk.world, Resources(2_000))] == ["node-a"]
    talk.say(AgentDrained(node, gone=True))
    assert check_fit(talk.world, spec) == [], "a place that is gone for good is not known any more"


def test_the_nearest_place_is_named_part_by_part() -> None:
    talk = Dialogue()
    talk.connect("wide", cpus=32, memory=4 << 30)
    talk.connect("tall", cpus=2, memory=64 << 30)
    (problem,) = check_fit(talk.world, job("j", task("x", cpus=40, memory=32 << 30)))
    assert "asks for 40 CPUs and 32 GiB of memory; the nearest known place, 'wide', has 32 CPUs and 4 GiB" in (
        problem.message
    )
    (problem,) = check_fit(talk.world, job("j", task("x", resources=Resources(1_000, 0, 0, (("A100", 2),)))))
    assert "asks for 2 x A100; the largest known place, 'wide', has 0 x A100" in problem.message


def test_wording() -> None:
    assert [cpus_text(n) for n in (1_000, 2_000, 250, 1_500)] == ["1 CPU", "2 CPUs", "0.25 CPUs", "1.5 CPUs"]
    assert [bytes_text(n) for n in (0, 512_000_000, 8 << 30, 16_374_562_816, 1_536)] == [
        "0 bytes",
        "512 MB",
        "8 GiB",
        "15.2 GiB",
        "1.5 KiB",
    ]
    assert [time_text(n) for n in (-1, 300, 12_000, 185_000, 7_800_000)] == [
        "0.0 s",
        "0.3 s",
        "12 s",
        "3 min 5 s",
        "2 h 10 min",
    ]
    assert [listed(words) for words in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == ["", "a", "a and b", "a, b and c"]
    assert resources_text(Resources(1_000, 1 << 30, 0, (("T4", 2),))) == "1 CPU, 1 GiB of memory and 2 x T4"
