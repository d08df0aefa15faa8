"""Jobs from submission to their end, as dialogues with the core."""

from __future__ import annotations

import pytest

from styx.core.effects import Accepted
from styx.core.records import AttemptEnded, JobEnded, SpansEnded
from styx.core.settings import CoreSettings
from styx.core.spec import When
from styx.core.states import Outcome, TaskState
from styx.errors import Busy
from styx.testing.dialogue import Dialogue, job, task


def test_one_task_from_submission_to_exit() -> None:
    talk = Dialogue()
    node = talk.connect("a")
    serial = talk.submit(job("j", task("x")))
    (attempt,) = talk.expect_start(node)
    talk.started(attempt)
    assert talk.states(serial) == {"x": ["RUNNING"]}
    talk.ended(attempt, code=0)
    talk.expect_forget(node, attempt)
    talk.expect_job(serial, "SUCCEEDED", code=0)
    assert not talk.world.jobs
    talk.nothing_else()


def test_work_waits_for_an_agent() -> None:
    talk = Dialogue()
    serial = talk.submit(job("j", task("x")))
    assert talk.states(serial) == {"x": ["READY"]}
    talk.nothing_else()
    node = talk.connect("a")
    talk.expect_start(node, 1)
    talk.nothing_else()


def test_a_chain_goes_on_in_the_step_that_ends_its_link() -> None:
    talk = Dialogue()
    node = talk.connect("a")
    serial = talk.submit(job("j", task("x"), task("y", needs=["x"])))
    (first,) = talk.expect_start(node)
    assert talk.states(serial)["y"] == ["PENDING"]
    talk.ended(first)
    talk.expect_forget(node, first)
    (second,) = talk.expect_start(node)
    talk.ended(second)
    talk.expect_forget(node, second)
    talk.expect_job(serial, "SUCCEEDED")
    talk.nothing_else()


def test_needs_may_name_tasks_that_come_later() -> None:
    talk = Dialogue()
    node = talk.connect("a", cpus=4)
    serial = talk.submit(job("j", task("last", needs=["first"]), task("first")))
    (attempt,) = talk.expect_start(node)
    assert talk.world.attempts[attempt].task.spec.name == "first"
    talk.ended(attempt)
    talk.expect_start(node, 1)
    assert talk.states(serial) == {"last": ["ASSIGNED"], "first": ["SUCCEEDED"]}


def test_a_failure_skips_what_needs_it_and_fails_the_job_with_its_code() -> None:
    talk = Dialogue()
    node = talk.connect("a", cpus=4)
    serial = talk.submit(job("j", task("x"), task("y", needs=["x"]), task("z", needs=["y"]), task("other")))
    x, other = talk.expect_start(node)
    talk.ended(x, code=7)
    talk.expect_forget(node, x)
    assert talk.states(serial) == {"x": ["FAILED"], "y": ["SKIPPED"], "z": ["SKIPPED"], "other": ["ASSIGNED"]}
    talk.ended(other)
    talk.expect_forget(node, other)
    talk.expect_job(serial, "FAILED", code=7)
    talk.nothing_else()


@pytest.mark.parametrize("allowed", [{"allow_failure": True}, {}])
def test_allow_failure_and_when_always(allowed: dict[str, bool]) -> None:
    talk = Dialogue()
    node = talk.connect("a", cpus=4)
    serial = talk.submit(
        job(
            "j",
            task("x", **allowed),
            task("y", needs=["x"]),
            task("clean", needs=["x"], when=When.ALWAYS),
        )
    )
    (x,) = talk.expect_start(node)
    talk.ended(x, code=3)
    talk.expect_forget(node, x)
    after = talk.expect_start(node, 2 if allowed else 1)
    assert talk.states(serial)["y"] == ["ASSIGNED" if allowed else "SKIPPED"]
    talk.ended(*after)
    talk.expect_forget(node, *after)
    talk.expect_job(serial, "SUCCEEDED" if allowed else "FAILED", code=0 if allowed else 3)
    talk.nothing_else()


def test_dependants_wait_for_all_elements_of_an_array() -> None:
    talk = Dialogue()
    node = talk.connect("a", cpus=3)
    serial = talk.submit(job("j", task("many", array=3), task("after", needs=["many"])))
    attempts = talk.expect_start(node, 3)
    talk.ended(attempts[2])
    talk.ended(attempts[0])
    talk.expect_forget(node, attempts[2])
    talk.expect_forget(node, attempts[0])
    assert talk.states(serial)["after"] == ["PENDING"]
    talk.nothing_else()
    talk.ended(attempts[1])
    talk.expect_forget(node, attempts[1])
    talk.expect_start(node, 1)
    talk.nothing_else()


def test_cancel_before_during_and_after() -> None:
    talk = Dialogue()
    node = talk.connect("a", cpus=1)
    serial = talk.submit(job("j", task("x"), task("y", needs=["x"]), task("z")))
    (x,) = talk.expect_start(node)
    assert talk.cancel(serial) is True
    talk.expect_stop(node, x)
    assert talk.states(serial) == {"x": ["CANCELLING"], "y": ["CANCELLED"], "z": ["CANCELLED"]}
    assert talk.cancel(serial) is True
    talk.nothing_else()
    # It ended by itself at the same moment: it ends CANCELLED, and its exit code is kept.
    talk.ended(x, code=0)
    talk.expect_forget(node, x)
    end = talk.expect_job(serial, "CANCELLED", code=130)
    assert end.reason == "cancelled by the user"
    (ended,) = [r for r in talk.records if isinstance(r, AttemptEnded)]
    assert (ended.state, ended.code, ended.outcome) == (TaskState.CANCELLED, 0, Outcome.EXITED)
    assert talk.cancel(serial) is False
    talk.nothing_else()


def test_an_exit_that_was_first_wins_over_a_cancel() -> None:
    talk = Dialogue()
    node = talk.connect("a")
    serial = talk.submit(job("j", task("x")))
    (x,) = talk.expect_start(node)
    talk.ended(x)
    talk.expect_forget(node, x)
    assert talk.cancel(serial) is False
    talk.expect_job(serial, "SUCCEEDED")
    talk.nothing_else()


def test_cancel_of_a_task_skips_what_needs_it() -> None:
    talk = Dialogue()
    serial = talk.submit(job("j", task("x"), task("y", needs=["x"]), task("z")))
    assert talk.cancel(serial, 0) is True
    assert talk.states(serial) == {"x": ["CANCELLED"], "y": ["SKIPPED"], "z": ["READY"]}
    talk.nothing_else()


def test_cancel_of_one_element() -> None:
    talk = Dialogue()
    node = talk.connect("a")
    serial = talk.submit(job("j", task("x", array=3)))
    (first,) = talk.expect_start(node)
    assert talk.cancel(serial, 0, 1) is True
    assert talk.cancel(serial, 0, 1) is False
    assert talk.states(serial)["x"] == ["ASSIGNED", "CANCELLED", "READY"]
    talk.ended(first)
    talk.expect_forget(node, first)
    (third,) = talk.expect_start(node)
    assert talk.world.attempts[third].index == 2
    talk.ended(third)
    talk.expect_forget(node, third)
    talk.expect_job(serial, "CANCELLED")
    talk.nothing_else()


def test_a_deadline_cancels_the_job() -> None:
    talk = Dialogue()
    node = talk.connect("a")
    serial = talk.submit(job("j", task("x"), deadline=60_000))
    (x,) = talk.expect_start(node)
    talk.sleep(59_999)
    talk.nothing_else()
    talk.sleep(1)
    talk.expect_stop(node, x)
    talk.ended(x, outcome=Outcome.KILLED, code=143)
    talk.expect_forget(node, x)
    talk.expect_job(serial, "CANCELLED", code=124)
    talk.nothing_else()


def test_the_same_key_gives_the_first_answer() -> None:
    talk = Dialogue()
    first = talk.try_submit(job("j", task("x")), key="k")
    again = talk.try_submit(job("j", task("x")), key="k")
    assert isinstance(first, Accepted)
    assert isinstance(again, Accepted)
    assert (again.job, again.id, again.again) == (first.job, first.id, True)
    assert list(talk.world.jobs) == [first.job]
    assert not talk.world.staged
    talk.nothing_else()


def test_too_many_live_tasks_are_refused_and_nothing_is_left_of_them() -> None:
    talk = Dialogue(settings=CoreSettings(max_live=10))
    talk.submit(job("j", task("x", array=8)))
    answer = talk.try_submit(job("k", *[task(f"t{n}") for n in range(4)]), chunk=2)
    assert isinstance(answer, Busy)
    assert not talk.world.staged
    assert talk.world.live == 8


def test_wide_work_takes_many_small_steps() -> None:
    """5,000 tasks behind one that fails, with at most 100 elements a step: skipping goes on by continuation."""
    talk = Dialogue(settings=CoreSettings(step_limit=100))
    node = talk.connect("a")
    serial = talk.submit(job("j", task("x"), *[task(f"t{n}", needs=["x"]) for n in range(1_000)]))
    (x,) = talk.expect_start(node)
    talk.ended(x, code=1)
    talk.expect_forget(node, x)
    ends = [r for r in talk.records if isinstance(r, SpansEnded)]
    assert max(len(r.spans) for r in ends) <= 100
    assert sum(len(r.spans) for r in ends) == 1_000
    talk.expect_job(serial, "FAILED", code=1)
    talk.nothing_else()


def test_a_wide_array_is_one_record() -> None:
    talk = Dialogue()
    serial = talk.try_submit(job("j", task("x", array=100_000)))
    assert isinstance(serial, Accepted)
    assert len(talk.records) == 3  # staged, accepted, ready


def test_cancelling_a_wide_job_ends_every_element_once() -> None:
    talk = Dialogue(settings=CoreSettings(step_limit=10))
    node = talk.connect("a", cpus=25)
    serial = talk.submit(job("j", *[task(f"t{n}", array=5) for n in range(50)]))
    running = list(talk.world.attempts)
    assert len(running) == 25
    talk.effects.clear()
    talk.cancel(serial)
    stopped = [a for effect in talk.effects for a in effect.attempts]  # type: ignore[union-attr]
    assert sorted(stopped) == sorted(running)
    talk.effects.clear()
    talk.ended(*running, outcome=Outcome.KILLED, code=143)
    talk.expect_forget(node, *running)
    talk.expect_job(serial, "CANCELLED")
    assert [r.counts for r in talk.records if isinstance(r, JobEnded)] == [
        tuple(250 if state == TaskState.CANCELLED else 0 for state in TaskState)
    ]
    talk.nothing_else()
