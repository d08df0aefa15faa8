from __future__ import annotations

import pytest

from styx.core import ids
from styx.core.queues import Shape
from styx.core.resources import Resources
from styx.core.spec import JobSpec, Priority, TaskSpec
from styx.core.states import JobState, NodeState, Outcome, TaskState
from styx.core.world import Attempt, Job, Node, Task
from styx.protocol.http import ResourcesView
from styx.protocol.messages import Heartbeat
from styx.runtime import views
from styx.store.base import AttemptRow, ElementsRow, JobRow, TaskRow

AT = 1_700_000_000_000
JOB = ids.job_id(AT, 77)
NODES = {1: "n1", 2: "n2"}


def counts(**numbers: int) -> tuple[int, ...]:
    return tuple(numbers.get(state.name, 0) for state in TaskState)


def job_row(state: JobState = JobState.RUNNING, *, code: int = 0, single: bool = False, **numbers: int) -> JobRow:
    spec = JobSpec("census", (), priority=Priority.HIGH, single=single)
    ended = AT + 9_000 if state.ended else 0
    return JobRow(3, JOB, spec, 2, 6, state, AT, ended, code, counts(**numbers) if numbers else (), "", "", b"")


def task_row(array: int = 0, ended: tuple[int, ...] = (), **spec: object) -> TaskRow:
    resources = Resources(1_500, 1 << 30, accelerators=(("A100", 2),))
    task = TaskSpec("count", ("./count.sh", "part one"), array=array, needs=("split",), resources=resources, **spec)  # type: ignore[arg-type]
    return TaskRow(3, JOB, 1, task, (0,), AT, ended)


def live_task(row: TaskRow, *states: TaskState) -> Task:
    job = Job(3)
    job.id = JOB
    task = Task(job, 1, row.spec, row.needs)
    task.states[: len(states)] = bytes(states)
    return task


def attempt(
    number: int, outcome: Outcome | None, state: TaskState | None, *, index: int = 0, **other: object
) -> AttemptRow:
    fields: dict[str, object] = {
        "code": 0, "reason": "", "result": b"", "stdout": 5, "stderr": 6, "serial": 10 + number,
        "ended_at": 0 if outcome is None else AT + 1_000 * number + 900,
    } | other  # fmt: skip
    return AttemptRow(
        fields["serial"], 3, 1, index, number, 1, AT + 1_000 * number, AT + 1_000 * number + 100, fields["ended_at"],
        outcome, fields["code"], state, fields["reason"], fields["result"], fields["stdout"], fields["stderr"],
    )  # type: ignore[arg-type]  # fmt: skip


def test_a_live_job_is_shown_from_the_world() -> None:
    job = Job(3)
    job.counts = list(counts(RUNNING=2, SUCCEEDED=4))
    view = views.job_view(job_row(), job)
    assert view.job_id == ids.text(JOB)
    assert (view.name, view.status, view.priority) == ("census", "RUNNING", "high")
    assert (view.submitted_at, view.ended_at, view.exit_code) == (AT / 1_000, 0.0, None)
    assert view.counts == {"RUNNING": 2, "SUCCEEDED": 4}
    job.cancelling, job.cancel_reason = True, "enough"
    view = views.job_view(job_row(), job)
    assert (view.status, view.reason, view.exit_code) == ("CANCELLING", "enough", None)


def test_an_ended_job_is_shown_from_its_row() -> None:
    view = views.job_view(job_row(JobState.FAILED, code=3, FAILED=1, SUCCEEDED=5))
    assert (view.status, view.exit_code, view.ended_at) == ("FAILED", 3, (AT + 9_000) / 1_000)
    assert view.counts == {"SUCCEEDED": 5, "FAILED": 1}


def test_created_names_the_task_of_a_job_that_is_one() -> None:
    assert views.created(job_row()).task_id == ""
    single = views.created(job_row(single=True), again=True)
    assert single.task_id == ids.text(ids.join(JOB, 0))
    assert (single.job_id, single.status, single.again) == (ids.text(JOB), "RUNNING", True)


def test_a_task_says_what_it_is() -> None:
    view = views.task_view(task_row(), "census", live_task(task_row(), TaskState.READY))
    assert view.task_id == ids.text(ids.join(JOB, 1))
    assert (view.job_name, view.name, view.status) == ("census", "count", "READY")
    assert view.command == "./count.sh 'part one'"
    assert view.needs == ["split"]
    assert view.resources == ResourcesView(1.5, 1 << 30, 0, {"A100": 2})
    assert (view.index, view.array, view.counts) == (None, 0, {"READY": 1})
    shell = TaskRow(3, JOB, 0, TaskSpec("s", ("echo $HOME | wc",), shell=True), (), AT)
    assert views.task_view(shell, "census").command == "echo $HOME | wc"


def test_a_running_task_shows_its_attempts() -> None:
    row = task_row()
    attempts = [
        attempt(1, Outcome.LOST, TaskState.READY, reason="node lost"),
        attempt(2, None, None, stdout=0, stderr=0),
    ]
    view = views.task_view(row, "census", live_task(row, TaskState.RUNNING), attempts=attempts, nodes=NODES)
    assert [(a.number, a.node, a.outcome, a.reason) for a in view.attempts] == [
        (1, "n1", "LOST", "node lost"),
        (2, "n1", "", ""),
    ]
    assert view.started_at == (AT + 2_100) / 1_000
    assert (view.ended_at, view.exit_code) == (0.0, None)


def test_an_ended_task_has_the_exit_code_of_its_last_attempt() -> None:
    row = task_row(ended=counts(FAILED=1))
    attempts = [
        attempt(1, Outcome.EXITED, TaskState.BACKOFF, code=7),
        attempt(2, Outcome.EXITED, TaskState.FAILED, code=8, result=b"rows=12", reason="exit code 8"),
    ]
    view = views.task_view(row, "census", attempts=attempts, nodes=NODES)
    assert (view.status, view.exit_code, view.reason) == ("FAILED", 8, "exit code 8")
    assert view.ended_at == (AT + 2_900) / 1_000
    assert view.attempts[1].result == "rows=12"
    # in a list, without attempts, the state is right too
    assert views.task_view(row, "census").status == "FAILED"


@pytest.mark.parametrize(
    ("outcome", "code"), [(Outcome.LOST, None), (Outcome.REJECTED, None), (Outcome.TIMED_OUT, 143)]
)
def test_only_programs_have_exit_codes(outcome: Outcome, code: int | None) -> None:
    row = task_row(ended=counts(FAILED=1))
    view = views.task_view(row, "census", attempts=[attempt(1, outcome, TaskState.FAILED, code=143)])
    assert view.exit_code == code


def test_a_task_that_is_to_run_again_has_not_started() -> None:
    row = task_row()
    attempts = [attempt(1, Outcome.EXITED, TaskState.FAILED, code=7)]
    view = views.task_view(row, "census", live_task(row, TaskState.READY), attempts=attempts)
    assert (view.status, view.started_at, view.ended_at, view.exit_code) == ("READY", 0.0, 0.0, None)


@pytest.mark.parametrize(
    ("numbers", "status"),
    [
        ({"SUCCEEDED": 5}, "SUCCEEDED"),
        ({"SUCCEEDED": 4, "FAILED": 1}, "FAILED"),
        ({"SKIPPED": 3, "CANCELLED": 2}, "CANCELLED"),
        ({"FAILED": 2, "RUNNING": 3}, "RUNNING"),
        ({"READY": 2, "RUNNING": 3}, "READY"),
    ],
)
def test_an_array_is_as_far_as_the_least_finished_of_it(numbers: dict[str, int], status: str) -> None:
    row = task_row(array=5)
    states = [TaskState[name] for name, number in numbers.items() for _ in range(number)]
    live = views.task_view(row, "census", live_task(row, *states))
    ended = views.task_view(task_row(array=5, ended=counts(**numbers)), "census")
    for view in (live, ended):
        assert (view.status, view.array, view.index, view.exit_code, view.attempts) == (status, 5, None, None, [])
        assert view.counts == numbers


def test_elements_that_never_started_are_made_up() -> None:
    row = task_row(array=4)
    live = live_task(row, TaskState.SUCCEEDED, TaskState.RUNNING, TaskState.READY, TaskState.READY)
    attempts = [attempt(1, Outcome.EXITED, TaskState.SUCCEEDED), attempt(1, None, None, index=1)]
    found = views.element_views(row, "census", live, range(4), attempts=attempts, nodes=NODES)
    task = ids.text(ids.join(JOB, 1))
    assert [view.task_id for view in found] == [f"{task}.{index}" for index in range(4)]
    assert [view.index for view in found] == [0, 1, 2, 3]
    assert [view.status for view in found] == ["SUCCEEDED", "RUNNING", "READY", "READY"]
    assert [len(view.attempts) for view in found] == [1, 1, 0, 0]
    assert [view.exit_code for view in found] == [0, None, None, None]


def test_the_fate_of_elements_of_an_ended_job_comes_from_what_happened_last() -> None:
    row = task_row(array=4, ended=counts(SUCCEEDED=1, CANCELLED=2, SKIPPED=1))
    attempts = [
        attempt(1, Outcome.EXITED, TaskState.BACKOFF, code=1, serial=20, ended_at=AT + 10),
        attempt(1, Outcome.EXITED, TaskState.FAILED, code=1, index=1, serial=21, ended_at=AT + 10),
        attempt(2, Outcome.EXITED, TaskState.SUCCEEDED, index=1, serial=30, ended_at=AT + 20),
    ]
    spans = [
        ElementsRow(3, 1, 0, 1, TaskState.CANCELLED, AT + 10, 25, "cancelled by the user"),
        ElementsRow(3, 1, 1, 1, TaskState.PENDING, AT + 20, 25, ""),  # reset; attempt 30 came after it
        ElementsRow(3, 1, 2, 1, TaskState.CANCELLED, AT + 10, 25, "cancelled by the user"),
        ElementsRow(3, 1, 3, 1, TaskState.SKIPPED, AT + 11, 25, "a task that it needs did not succeed"),
    ]
    found = views.element_views(row, "census", None, range(4), attempts=attempts, spans=spans)
    assert [view.status for view in found] == ["CANCELLED", "SUCCEEDED", "CANCELLED", "SKIPPED"]
    assert [view.exit_code for view in found] == [1, 0, None, None]
    assert found[3].reason == "a task that it needs did not succeed"
    assert found[2].ended_at == (AT + 10) / 1_000


def test_a_result_that_is_no_text_is_still_shown() -> None:
    assert views.attempt_view(attempt(1, None, None, result=b"\xff\x00"), {}).result == "base64:/wA="


@pytest.mark.parametrize(
    ("state", "code", "outcome", "by"),
    [
        (JobState.SUCCEEDED, 0, None, "program"),
        (JobState.FAILED, 7, Outcome.EXITED, "program"),
        (JobState.FAILED, 124, Outcome.TIMED_OUT, "styx"),
        (JobState.FAILED, 1, Outcome.LOST, "styx"),
        (JobState.CANCELLED, 130, None, "styx"),
    ],
)
def test_a_result_says_whose_exit_code_it_is(state: JobState, code: int, outcome: Outcome | None, by: str) -> None:
    failed = []
    if outcome is not None:
        row = task_row(ended=counts(FAILED=1))
        failed = [views.task_view(row, "census", attempts=[attempt(1, outcome, TaskState.FAILED, code=code)])]
    result = views.job_result(job_row(state, code=code, SUCCEEDED=6), failed)
    assert (result.exit_code, result.by, result.ok) == (code, by, state == JobState.SUCCEEDED)
    assert result.failed == failed


def node() -> Node:
    node = Node(1)
    node.agent, node.name, node.host, node.version = "a-uuid", "n1", "h", "0.1"
    node.capacity = Resources(4_000, 8 << 30, accelerators=(("A100", 1),))
    node.admission.resize(Resources(0), node.capacity)
    node.labels = {"disk": "ssd"}
    node.connected = True
    return node


def test_an_agent_is_shown_with_what_is_free() -> None:
    place = node()
    task = live_task(task_row())
    for serial in (1, 2):
        demand = Resources(3_000, accelerators=(("A100", 1),))
        place.held[serial] = Attempt(serial, task, Shape(0, 1, demand, ()), 0, 1, place, AT)
        place.admission.arrive(serial, demand)
    place.admission.admit(1)
    place.held[1].started_at = AT
    view = views.agent_view(place, Heartbeat(1, cpu=250, memory=5, load=1_500), seen=0.5)
    assert (view.agent_id, view.name, view.state, view.labels) == ("a-uuid", "n1", "UP", {"disk": "ssd"})
    assert view.capacity == ResourcesView(4.0, 8 << 30, 0, {"A100": 1})
    assert view.free == ResourcesView(1.0, 8 << 30, 0, {})
    assert (view.running, view.waiting) == (1, 1)
    assert (view.cpu, view.memory, view.load, view.seen) == (0.25, 5, 1.5, 0.5)
    assert views.agent_view(place, None, seen=1.0).cpu == 0.0


def test_the_state_of_an_agent() -> None:
    place = node()
    assert views.agent_view(place, None, seen=0).state == "UP"
    place.connected = False
    assert views.agent_view(place, None, seen=0).state == "SUSPECT"
    place.state = NodeState.DRAINING
    assert views.agent_view(place, None, seen=0).state == "DRAINING"
    place.lost = True
    assert views.agent_view(place, None, seen=0).state == "LOST"
