"""Retries, losses and late answers, as dialogues with the core."""

from __future__ import annotations

import pytest

from styx.core.effects import StartAttempts
from styx.core.events import CancelRequested, Held, RetryRequested
from styx.core.records import AttemptAdmitted, AttemptEnded, ElementsDue, JobEnded, NodeLinked, NodeReserved, TasksReady
from styx.core.retry import backoff_delay
from styx.core.settings import CoreSettings
from styx.core.spec import Backoff
from styx.core.states import Outcome, TaskState
from styx.errors import Conflict
from styx.testing.dialogue import Dialogue, job, task

DERIVED = (TasksReady, AttemptAdmitted, ElementsDue, NodeReserved, NodeLinked)


def test_a_failure_with_retries_left_waits_and_runs_again() -> None:
    talk = Dialogue()
    node = talk.connect("a")
    serial = talk.submit(job("j", task("x", retries=1, backoff=Backoff(2_000, 2.0, 60_000))))
    (first,) = talk.expect_start(node)
    talk.ended(first, code=1)
    talk.expect_forget(node, first)
    assert talk.states(serial) == {"x": ["BACKOFF"]}
    talk.sleep(1_999)
    talk.nothing_else()
    talk.sleep(1)
    (second,) = talk.expect_start(node)
    assert talk.world.attempts[second].number == 2
    talk.ended(second, code=5)
    talk.expect_forget(node, second)
    talk.expect_job(serial, "FAILED", code=5)
    talk.nothing_else()


def test_backoff_grows_to_its_limit() -> None:
    backoff = Backoff(1_000, 3.0, 20_000)
    assert [backoff_delay(backoff, n) for n in range(1, 6)] == [1_000, 3_000, 9_000, 20_000, 20_000]
    assert backoff_delay(Backoff(1_000, 2.0, 300_000), 10_000) == 300_000


def test_a_timeout_counts_as_a_failure() -> None:
    talk = Dialogue()
    node = talk.connect("a")
    serial = talk.submit(job("j", task("x", timeout=1_000)))
    (first,) = talk.expect_start(node)
    talk.ended(first, outcome=Outcome.TIMED_OUT, code=143)
    talk.expect_forget(node, first)
    talk.expect_job(serial, "FAILED", code=124)
    talk.nothing_else()


def test_a_lost_node_reruns_its_task_once_and_drops_the_late_answer() -> None:
    talk = Dialogue()
    a = talk.connect("a")
    serial = talk.submit(job("j", task("x")))
    (first,) = talk.expect_start(a)
    talk.started(first)
    talk.suspect(a)
    b = talk.connect("b")
    talk.nothing_else()
    talk.lose(a)
    (second,) = talk.expect_start(b)
    assert talk.world.attempts[second].number == 2
    talk.started(second)
    # The first one comes back and says that it ended well. It is told to forget it; nothing else happens.
    talk.ended(first, node=a)
    talk.expect_forget(a, first)
    assert talk.states(serial) == {"x": ["RUNNING"]}
    talk.ended(second, code=4)
    talk.expect_forget(b, second)
    talk.expect_job(serial, "FAILED", code=4)
    assert [(r.attempt, r.outcome) for r in talk.records if isinstance(r, AttemptEnded)] == [
        (first, Outcome.LOST),
        (second, Outcome.EXITED),
    ]
    talk.nothing_else()


def test_losses_do_not_use_up_retries_but_only_so_many_are_forgiven() -> None:
    talk = Dialogue()
    serial = talk.submit(job("j", task("x", retries=0, max_lost=2)))
    for round_ in range(3):
        node = talk.connect("a", boot=f"boot-{round_}")
        talk.expect_start(node, 1)
        talk.lose(node)
    end = talk.expect_job(serial, "FAILED", code=1)
    assert end.counts[TaskState.FAILED] == 1
    talk.nothing_else()


@pytest.mark.parametrize("idempotent", [True, False])
def test_a_function_that_was_lost_is_invoked_again_only_if_that_does_no_harm(idempotent: bool) -> None:
    talk = Dialogue()
    serial = talk.submit(job("j", task("x", function="f", idempotent=idempotent)))
    node = talk.connect("a", boot="one")
    (first,) = talk.expect_start(node)
    talk.lose(node)
    if idempotent:
        (second,) = talk.expect_start(talk.connect("a", boot="two"))
        assert second != first
    else:
        talk.expect_job(serial, "FAILED", code=1)
        [end] = [record for record in talk.records if isinstance(record, AttemptEnded)]
        assert end.outcome is Outcome.LOST
        assert "idempotent" in end.reason
    talk.nothing_else()


@pytest.mark.parametrize("known_to_run", [True, False])
def test_a_reboot_loses_what_the_machine_held(known_to_run: bool) -> None:
    """Also what is not known to have started: it may have, in the moment before, so its attempt is never sent again."""
    talk = Dialogue()
    node = talk.connect("a", boot="one")
    talk.submit(job("j", task("x")))
    (first,) = talk.expect_start(node)
    if known_to_run:
        talk.started(first)
    assert talk.connect("a", boot="two") == node
    (second,) = talk.expect_start(node)
    assert second != first
    assert [r.outcome for r in talk.records if isinstance(r, AttemptEnded)] == [Outcome.LOST]
    talk.nothing_else()


def test_an_agent_that_comes_back_with_its_work_keeps_it() -> None:
    talk = Dialogue()
    node = talk.connect("a", cpus=3)
    serial = talk.submit(job("j", task("x", array=3)))
    running, queued, never = talk.expect_start(node)
    talk.started(running)
    talk.suspect(node)
    talk.connect("a", cpus=3, held=[Held(running, 1, 500), Held(queued, 0)])
    assert talk.expect_start(node) == (never,)
    assert talk.states(serial) == {"x": ["RUNNING", "ASSIGNED", "ASSIGNED"]}
    talk.nothing_else()


def test_an_agent_that_no_longer_knows_a_running_program_has_lost_it() -> None:
    talk = Dialogue()
    node = talk.connect("a")
    talk.submit(job("j", task("x")))
    (first,) = talk.expect_start(node)
    talk.started(first)
    talk.suspect(node)
    talk.connect("a", held=[])
    (second,) = talk.expect_start(node)
    assert talk.world.attempts[second].number == 2
    talk.nothing_else()


def test_work_that_is_nobodys_is_stopped_and_forgotten() -> None:
    talk = Dialogue()
    node = talk.connect("a", held=[Held(77, 1, 5), Held(78, 2)])
    talk.expect_forget(node, 78)
    talk.expect_stop(node, 77)
    talk.nothing_else()


def test_a_cancel_reaches_an_agent_that_was_away() -> None:
    talk = Dialogue()
    node = talk.connect("a")
    serial = talk.submit(job("j", task("x")))
    (x,) = talk.expect_start(node)
    talk.started(x)
    talk.suspect(node)
    talk.cancel(serial)
    talk.expect_stop(node, x)
    talk.connect("a", held=[Held(x, 1)])
    talk.expect_stop(node, x)
    talk.ended(x, outcome=Outcome.KILLED, code=143)
    talk.expect_forget(node, x)
    talk.expect_job(serial, "CANCELLED")
    talk.nothing_else()


def test_nothing_is_rescheduled_while_half_of_the_agents_vanish_at_once() -> None:
    talk = Dialogue()
    nodes = [talk.connect(f"agent-{n}") for n in range(8)]
    talk.submit(job("j", task("x", array=8)))
    talk.effects.clear()
    for node in nodes[:5]:
        talk.suspect(node)
    talk.sleep(255_000)
    for node in nodes[:5]:
        talk.lose(node)
    assert len(talk.world.attempts) == 8
    # One of them is back in time, with its program; the others are given up when the brake is over.
    (kept,) = talk.world.nodes[nodes[0]].held
    talk.connect("agent-0", held=[Held(kept, 1)])
    talk.sleep(300_000)
    assert not any(talk.world.nodes[node].held for node in nodes[1:5])
    assert list(talk.world.nodes[nodes[0]].held) == [kept]


@pytest.mark.parametrize("recalled", [True, False])
def test_a_rejected_attempt_costs_nothing(recalled: bool) -> None:
    talk = Dialogue()
    node = talk.connect("a")
    serial = talk.submit(job("j", task("x")))
    (first,) = talk.expect_start(node)
    talk.ended(first, outcome=Outcome.REJECTED, reason="recalled" if recalled else "no such folder")
    talk.expect_forget(node, first)
    if not recalled:
        assert talk.states(serial) == {"x": ["BACKOFF"]}
        talk.sleep(1_000)
    talk.expect_start(node, 1)
    talk.nothing_else()


def test_a_draining_node_takes_nothing_new() -> None:
    from styx.core.events import AgentDrained

    talk = Dialogue()
    node = talk.connect("a", cpus=2)
    talk.submit(job("j", task("x")))
    (x,) = talk.expect_start(node)
    talk.say(AgentDrained(node))
    talk.submit(job("k", task("y")))
    talk.nothing_else()
    talk.ended(x)
    talk.expect_forget(node, x)
    talk.say(AgentDrained(node, gone=True))
    assert talk.world.nodes[node].state.value == "GONE"
    talk.connect("a")
    talk.expect_start(node, 1)
    talk.nothing_else()


def test_an_exclusive_task_waits_until_its_silent_node_must_have_ended_it() -> None:
    """Lease, grace and a margin: only then has the owner on the silent node surely stopped it."""
    talk = Dialogue()
    a = talk.connect("a")
    serial = talk.submit(job("j", task("x", exclusive=True, grace=10_000)))
    (first,) = talk.expect_start(a)
    talk.started(first)
    talk.suspect(a)
    b = talk.connect("b")
    talk.lose(a)
    talk.sleep(24_999)
    assert talk.states(serial) == {"x": ["BACKOFF"]}
    talk.nothing_else()
    talk.sleep(1)
    talk.expect_start(b, 1)
    talk.nothing_else()


def test_an_exclusive_task_runs_again_at_once_when_its_machine_has_restarted() -> None:
    talk = Dialogue()
    a = talk.connect("a", boot="one")
    talk.submit(job("j", task("x", exclusive=True)))
    (first,) = talk.expect_start(a)
    talk.started(first)
    talk.connect("a", boot="two")
    talk.expect_start(a, 1)
    talk.nothing_else()


def test_a_person_cannot_run_an_exclusive_task_again_too_early() -> None:
    talk = Dialogue()
    a = talk.connect("a")
    serial = talk.submit(job("j", task("x", exclusive=True, max_lost=0, grace=0), task("y")))
    (first,) = talk.expect_start(a)
    talk.started(first)
    talk.lose(a)
    assert talk.states(serial)["x"] == ["FAILED"]
    refused = talk.say(RetryRequested(serial, failed=True))
    assert isinstance(refused, Conflict)
    assert "15 s" in refused.hint
    talk.sleep(15_000)
    assert talk.say(RetryRequested(serial, failed=True)) == 1
    talk.nothing_else()


def test_a_wait_that_an_older_timer_outlived() -> None:
    """Cancelled while it waited, run again and failed again: the timer of the first wait must not end the second."""
    talk = Dialogue()
    node = talk.connect("a")
    serial = talk.submit(job("j", task("x", retries=1, backoff=Backoff(5_000, 2.0, 60_000)), task("y", needs=["x"])))
    (first,) = talk.expect_start(node)
    talk.ended(first, code=1)
    talk.expect_forget(node, first)
    talk.sleep(4_000)
    talk.cancel(serial, 0)
    history = tuple(
        r for r in talk.records if getattr(r, "job", serial) == serial and not isinstance(r, (*DERIVED, JobEnded))
    )
    assert talk.say(RetryRequested(serial, history=history)) == 2
    (second,) = talk.expect_start(node)
    talk.ended(second, code=1)
    talk.expect_forget(node, second)
    talk.sleep(1_000)
    assert talk.states(serial)["x"] == ["BACKOFF"]
    talk.sleep(4_000)
    talk.expect_start(node, 1)
    talk.nothing_else()


def test_what_ends_while_the_cancel_of_its_job_goes_on_is_cancelled_too() -> None:
    """A wide cancel takes several steps; a loss in between must not put its element back into the queue."""
    talk = Dialogue(settings=CoreSettings(step_limit=1))
    node = talk.connect("a", cpus=3)
    serial = talk.submit(job("j", *(task(f"t{number}") for number in range(3))))
    for _ in range(3):
        talk.expect_start(node, 1)
    talk.step(CancelRequested(serial))
    assert talk.engine.unfinished
    assert "CANCELLING" in talk.states(serial)["t0"]
    talk.connect("a", cpus=3, boot="boot-2")
    talk.expect_job(serial, "CANCELLED")
    assert not any(isinstance(effect, StartAttempts) for effect in talk.effects)
