"""What must hold after every step, whatever happened. Tests and the simulator check all of it; it costs O(world).

`snapshot` reduces a world to what two worlds must agree on when one was lived and the other rebuilt from the store:
everything but what a restart forgets on purpose (connections, reservations, measured pace, timers and queues, which are
hints and orders rather than facts).
"""

from __future__ import annotations

from typing import Any

from styx.core.admission import LOOK_AT
from styx.core.apply import BrokenInvariant
from styx.core.resources import Resources, least
from styx.core.states import TaskState
from styx.core.world import Job, Node, Task, World

__all__ = ["check", "snapshot"]

_UNDER_WAY = (int(TaskState.ASSIGNED), int(TaskState.RUNNING), int(TaskState.CANCELLING))
_STATES = range(len(TaskState))
_ENDED = int(TaskState.SUCCEEDED)  # the first of the states that are ends


def check(world: World) -> None:
    """Raise BrokenInvariant, naming what is wrong, unless the world is sound."""
    counts = [0] * len(TaskState)
    live = 0
    for job in world.jobs.values():
        _check_job(world, job)
        live += job.open
        counts = [a + b for a, b in zip(counts, job.counts, strict=True)]
    _require(live == world.live, f"world.live is {world.live}, the jobs say {live}")
    _require(counts == world.counts, f"world.counts are {world.counts}, the jobs say {counts}")
    _require({job.id: s for s, job in world.jobs.items()} == world.by_id, "by_id differs from jobs")
    _require({n.agent: s for s, n in world.nodes.items() if n.agent} == world.by_agent, "by_agent differs from nodes")
    tokens = {n.instance.token: s for s, n in world.nodes.items() if n.instance is not None}
    _require(tokens == world.by_token, "by_token differs from nodes")
    for node in world.nodes.values():
        _check_node(world, node)
    held = sum(len(node.held) for node in world.nodes.values())
    _require(held == len(world.attempts), f"nodes hold {held} attempts, the world has {len(world.attempts)}")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise BrokenInvariant(message)


def _check_job(world: World, job: Job) -> None:
    name = f"job {job.serial}"
    counts = [0] * len(TaskState)
    opened = usage = 0
    for task in job.tasks:
        counts = [a + b for a, b in zip(counts, _check_task(world, task, name), strict=True)]
        opened += task.open
        usage += sum(world.attempts[serial].shape.weight for serial in (task.live or {}).values())
    _require(opened == job.open, f"{name}: open is {job.open}, its tasks say {opened}")
    _require(job.open > 0, f"{name} has ended but is still in memory")
    _require(counts == job.counts, f"{name}: counts are {job.counts}, its tasks say {counts}")
    _require(usage == job.usage, f"{name}: usage is {job.usage}, its attempts weigh {usage}")


def _check_task(world: World, task: Task, where: str) -> list[int]:
    """Returns how many of its elements are in each state."""
    name = f"{where}, task {task.spec.name!r}"
    tasks, states = task.job.tasks, task.states
    counts = [states.count(state) for state in _STATES]
    still_open = sum(counts[:_ENDED])
    _require(still_open == task.open, f"{name}: open is {task.open}, its states say {still_open}")
    unsuccessful = task.size - still_open - counts[TaskState.SUCCEEDED]
    _require(
        unsuccessful == task.unsuccessful,
        f"{name}: unsuccessful is {task.unsuccessful}, should be {unsuccessful}",
    )
    unmet = sum(1 for need in task.needs if tasks[need].open) if task.needs else 0
    _require(unmet == task.unmet, f"{name}: unmet is {task.unmet}, its needs say {unmet}")
    if unmet:
        waiting = counts[TaskState.READY]
        _require(not waiting, f"{name}: {waiting} elements are READY with unmet needs")
    live = task.live or {}
    for index, serial in live.items():
        attempt = world.attempts.get(serial)
        state = states[index]
        _require(state in _UNDER_WAY, f"{name}[{index}] is {TaskState(state).name} with an attempt")
        _require(attempt is not None, f"{name}[{index}]: its attempt {serial} is nowhere")
        if attempt is not None:
            _require(attempt.task is task and attempt.index == index, f"{name}[{index}]: not its attempt")
            _require(attempt.cancelling == (state == TaskState.CANCELLING), f"{name}[{index}]: cancelling differs")
    under_way = sum(counts[state] for state in _UNDER_WAY)
    _require(under_way == len(live), f"{name}: {under_way} elements are under way, {len(live)} have an attempt")
    return counts


def _check_node(world: World, node: Node) -> None:
    name = f"node {node.name!r}"
    for serial, attempt in node.held.items():
        _require(world.attempts.get(serial) is attempt, f"{name} holds attempt {serial}, the world does not")
        _require(attempt.node is node, f"attempt {serial} is held by {name}, but thinks otherwise")
    admitted = node.admission.admitted
    _require(
        set(admitted) == {serial for serial, attempt in node.held.items() if attempt.admitted},
        f"{name}: admitted differs from its attempts",
    )
    _require(
        set(node.admission.waiting) == {serial for serial, attempt in node.held.items() if not attempt.admitted},
        f"{name}: waiting differs from its attempts",
    )
    used = Resources(0)
    for demand in admitted.values():
        used = used.plus(demand)
    _require(
        node.capacity.minus(used) == node.admission.free,
        f"{name}: free is not capacity less what is admitted",
    )
    free, demands = node.admission.free, list(admitted.values())[: -LOOK_AT - 1 : -1]
    most = free.cpus + max([demand.cpus for demand in demands], default=0)
    _require(
        node.admission.ending() == (demands, free.plus(least(demands)), most),
        f"{name}: what the next end will free was kept too long",
    )
    if node.connected:
        _require(used.fits(node.capacity), f"{name}: more is admitted than it has")
    _require(node.admission.head() is None, f"{name}: the head of its queue fits and was not admitted")


def snapshot(world: World) -> dict[str, Any]:
    """What a lived and a rebuilt world must agree on, as plain values that compare and print well."""
    return {
        "jobs": {serial: _job_snapshot(job) for serial, job in sorted(world.jobs.items())},
        "attempts": {
            serial: (
                a.task.job.serial,
                a.task.ordinal,
                a.index,
                a.number,
                a.node.id,
                a.started_at,
                a.cancelling,
                a.admitted,
            )
            for serial, a in sorted(world.attempts.items())
        },
        "nodes": {
            serial: (
                n.agent,
                n.name,
                n.host,
                n.boot,
                n.capacity,
                sorted(n.labels.items()),
                n.state.value,
                sorted(n.held),
            )
            for serial, n in sorted(world.nodes.items())
        },
        "live": world.live,
        "counts": list(world.counts),
        "keys": dict(sorted(world.keys.items())),
        "serials": (world.last_job, world.last_attempt, world.last_node),
    }


def _job_snapshot(job: Job) -> dict[str, Any]:
    return {
        "id": job.id,
        "spec": job.spec,
        "open": job.open,
        "cancelling": (job.cancelling, job.cancel_reason),
        "deadline": job.deadline_at,
        "failure": job.failure,
        "usage": job.usage,
        "tasks": [
            (
                task.spec,
                task.needs,
                bytes(task.states),
                [(i, n) for i, n in enumerate(task.numbers or ()) if n],
                [(i, n) for i, n in enumerate(task.failures or ()) if n],
                [(i, n) for i, n in enumerate(task.losses or ()) if n],
                sorted((task.live or {}).items()),
                task.unmet,
                task.unsuccessful,
            )
            for task in job.tasks
        ],
    }
