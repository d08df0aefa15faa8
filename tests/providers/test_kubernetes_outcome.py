"""What a pod's status means: one line for each way that pods end or wait, as clusters really write it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from styx.core.states import Outcome
from styx.providers.kubernetes.objects import Pod, instant
from styx.providers.kubernetes.outcome import ENDED, RUNNING, WAITING, judge

START, END = "2026-11-25T10:00:00Z", "2026-11-25T10:00:05Z"


def pod(
    phase: str = "Running",
    *,
    state: dict[str, Any] | None = None,
    first: dict[str, Any] | None = None,
    node: str = "node-1",
    deletion: tuple[str, int] | None = None,
    conditions: list[dict[str, str]] | None = None,
    reason: str = "",
    message: str = "",
) -> Pod:
    document: dict[str, Any] = {
        "metadata": {"name": "p"},
        "spec": {"nodeName": node} if node else {},
        "status": {"phase": phase, "reason": reason, "message": message, "conditions": conditions},
    }
    if state is not None:
        document["status"]["containerStatuses"] = [{"name": "task", "state": state}]
    if first is not None:
        document["status"]["initContainerStatuses"] = [{"name": "workdir", "state": first}]
    if deletion is not None:
        document["metadata"] |= {"deletionTimestamp": deletion[0], "deletionGracePeriodSeconds": deletion[1]}
    return msgspec.json.decode(msgspec.json.encode(document), type=Pod)


def ended(code: int, reason: str = "", message: str = "", *, at: str = END) -> dict[str, Any]:
    reason = reason or ("Completed" if code == 0 else "Error")
    return {
        "terminated": {"exitCode": code, "reason": reason, "message": message, "startedAt": START, "finishedAt": at}
    }


def disrupted(reason: str, message: str) -> list[dict[str, str]]:
    return [{"type": "DisruptionTarget", "status": "True", "reason": reason, "message": message}]


def test_a_program_that_ended_by_itself() -> None:
    found = judge(pod("Succeeded", state=ended(0, message="result")))
    assert (found.state, found.outcome, found.code, found.result, found.ran) == (
        ENDED,
        Outcome.EXITED,
        0,
        b"result",
        5_000,
    )
    found = judge(pod("Failed", state=ended(3, message="last words")))
    assert (found.outcome, found.code, found.result, found.reason) == (Outcome.EXITED, 3, b"last words", "")
    assert judge(pod("Failed", state=ended(139))).reason == "killed by SIGSEGV"


def test_memory() -> None:
    found = judge(pod("Failed", state=ended(137, "OOMKilled")))
    assert (found.outcome, found.code) == (Outcome.EXITED, 137)
    assert found.reason.startswith("OOMKilled")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ('exec: "/no/such": stat /no/such: no such file or directory', 127),
        ('exec: "x": executable file not found in $PATH', 127),
        ("permission denied", 126),
    ],
)
def test_a_program_that_cannot_be_started(words: str, code: int) -> None:
    found = judge(pod("Failed", state=ended(128, "StartError", words)))
    assert (found.outcome, found.code, found.started_at) == (Outcome.EXITED, code, 0)
    assert words in found.reason


@pytest.mark.parametrize(
    "lost",
    [
        pod("Failed", reason="Evicted", message="The node was low on resource: memory."),
        pod("Failed", reason="Evicted", message="low on memory", state=ended(137)),
        pod("Failed", state=ended(143), conditions=disrupted("PreemptionByScheduler", "preempted")),
        pod(
            "Failed", reason="Terminated", message="Pod was terminated in response to imminent node shutdown.", state=ended(137)
        ),
        pod("Failed", reason="NodeLost"),
        pod("Failed", reason="OutOfcpu", message="Node didn't have enough resource: cpu"),
        pod("Failed", reason="UnexpectedAdmissionError", message="Allocate failed"),
        pod("Failed", state=ended(137, "ContainerStatusUnknown", "The container could not be located")),
        pod("Failed"),
    ],
)  # fmt: skip
def test_what_took_its_place_is_no_fault_of_the_program(lost: Pod) -> None:
    found = judge(lost)
    assert (found.state, found.outcome, found.killed) == (ENDED, Outcome.LOST, False)
    assert found.reason


def test_one_that_had_succeeded_is_not_lost_with_its_node() -> None:
    found = judge(pod("Succeeded", state=ended(0), conditions=disrupted("EvictionByEvictionAPI", "drained")))
    assert (found.outcome, found.code) == (Outcome.EXITED, 0)


def test_deadlines() -> None:
    for found in (
        judge(pod("Failed", reason="DeadlineExceeded", message="it was active too long", state=ended(143))),
        judge(pod("Failed", reason="DeadlineExceeded", message="it was active too long")),
    ):
        assert found.outcome == Outcome.TIMED_OUT
        assert "active too long" in found.reason


@pytest.mark.parametrize(
    ("deletion", "code", "at", "killed"),
    [
        (("2026-11-25T10:00:34Z", 30), 143, END, True),  # asked at :04, ended at :05
        (("2026-11-25T10:00:34Z", 30), 0, END, True),  # it said goodbye politely
        (("2026-11-25T10:00:35Z", 30), 143, END, True),  # in the same second
        (("2026-11-25T10:00:35Z", 30), 0, END, False),
        (("2026-11-25T10:00:36Z", 30), 3, END, False),  # it had ended before
        (("2026-11-25T10:05:00Z", 0), 3, END, False),
    ],
)
def test_whether_the_deletion_ended_it(deletion: tuple[str, int], code: int, at: str, killed: bool) -> None:
    found = judge(pod("Failed", state=ended(code, at=at), deletion=deletion))
    assert (found.killed, found.code) == (killed, code)
    assert (found.outcome == Outcome.EXITED) == (not killed)


def test_deleted_ones_that_say_nothing_more() -> None:
    running = {"running": {"startedAt": START}}
    assert judge(pod(state=running, deletion=(END, 0))).killed  # forced
    assert judge(pod("Pending", node="", deletion=(END, 30))).killed
    assert judge(pod(state=running, deletion=(END, 30))).state == RUNNING  # its node will say


def test_waiting() -> None:
    unschedulable = [
        {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": "0/3 nodes are available: 3 Insufficient cpu.",
        }
    ]
    found = judge(pod("Pending", node="", conditions=unschedulable))
    assert (found.state, found.waiting) == (WAITING, "Unschedulable: 0/3 nodes are available: 3 Insufficient cpu.")
    assert judge(pod("Pending", node="")).waiting == "no node has been chosen for its pod yet"
    creating = judge(pod("Pending", state={"waiting": {"reason": "ContainerCreating"}}))
    assert (creating.waiting, creating.stuck) == ("its container is made on node node-1", 0)
    back_off = judge(pod("Pending", state={"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}))
    assert (back_off.waiting, back_off.stuck) == ("ImagePullBackOff: no such image", 127)
    config = judge(pod("Pending", state={"waiting": {"reason": "CreateContainerConfigError", "message": "no user"}}))
    assert config.stuck == 126
    fetching = pod("Pending", first={"running": {"startedAt": START}}, state={"waiting": {"reason": "PodInitializing"}})
    assert judge(fetching).waiting == "its working folder is fetched"
    first = pod(
        "Pending", first={"waiting": {"reason": "ErrImagePull"}}, state={"waiting": {"reason": "PodInitializing"}}
    )
    assert judge(first).stuck == 127


def test_a_working_folder_that_does_not_come() -> None:
    gone = judge(pod("Failed", first=ended(3, message="the server does not have it any more")))
    assert (gone.outcome, gone.code) == (Outcome.EXITED, 126)
    assert "does not have it" in gone.reason
    away = judge(pod("Failed", first=ended(1, message="connection refused")))
    assert away.outcome == Outcome.LOST
    assert "connection refused" in away.reason


def test_running() -> None:
    found = judge(pod(state={"running": {"startedAt": START}}))
    assert (found.state, found.started_at) == (RUNNING, instant(START))


def test_instants() -> None:
    assert instant("1970-01-01T00:00:02Z") == 2_000
    assert instant("1970-01-01T00:00:02.5Z") == 2_500
    assert (instant(None), instant(""), instant("yesterday")) == (0, 0, 0)
