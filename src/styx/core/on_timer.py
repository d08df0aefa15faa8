"""What is due when a timer fires: ends of backoffs, deadlines, reservations, recalls, the end of the mass-loss brake,
looking after machines."""

from __future__ import annotations

from heapq import heappop

from styx.core.effects import Answer
from styx.core.events import TimerFired
from styx.core.on_job import DEADLINE_REASON, cancel_job
from styx.core.on_node import lose_node
from styx.core.placement import recall
from styx.core.records import ElementsDue
from styx.core.states import TaskState
from styx.core.tending import tend
from styx.core.timers import BACKOFF, DEADLINE, MASS_LOSS, RECALL, TEND
from styx.core.turn import Turn
from styx.core.world import World

__all__ = ["on_timer"]


def on_timer(turn: Turn, event: TimerFired) -> Answer:
    """Work off what is due, a step's worth; the rest is due at once again."""
    world = turn.world
    timers = world.timers
    due: list[tuple[int, int, int]] = []
    recalling = tending = False
    room = turn.settings.step_limit
    while timers and timers[0][0] <= turn.now and room:
        _, kind, serial, ordinal, index = heappop(timers)
        room -= 1
        job = world.jobs.get(serial)
        if kind == BACKOFF:
            due.append((serial, ordinal, index))
        elif kind == DEADLINE:
            if job is not None and job.deadline_at <= turn.now:
                cancel_job(turn, job, DEADLINE_REASON)
        elif kind == MASS_LOSS:
            node = world.nodes.get(index)
            if node is not None and node.suspect_at and not node.lost:
                lose_node(turn, node)
        elif kind == RECALL:
            recalling = True
        elif kind == TEND:
            tending = True
    # Looked at last: a deadline that came due in the same moment may have ended the wait already.
    elements = tuple(element for element in sorted(set(due)) if _backoff_over(world, *element, turn.now))
    if elements:
        turn.record(ElementsDue(elements))
    if recalling:
        recall(turn)
    if tending:
        tend(turn)
    return None


def _backoff_over(world: World, serial: int, ordinal: int, index: int, now: int) -> bool:
    """Whether this element waits, and for no longer; the timer may be an older one that its wait has outlived."""
    job = world.jobs.get(serial)
    if job is None or job.cancelling:
        return False
    task = job.tasks[ordinal]
    return task.states[index] == TaskState.BACKOFF and (task.due or {}).get(index, 0) <= now
