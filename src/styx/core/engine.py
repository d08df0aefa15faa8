"""The one door into the core: `step(event, now)` is synchronous, pure and refuses re-entry."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from heapq import heappush
from typing import Any

from styx.core.apply import apply, raise_serials
from styx.core.effects import Answer, Step
from styx.core.events import (
    AgentConnected,
    AgentDrained,
    AgentLost,
    AgentSuspected,
    AttemptsReported,
    CancelRequested,
    CatalogKnown,
    Continued,
    DownRequested,
    Event,
    InstanceLaunched,
    InstanceRefusedByCloud,
    InstanceUnsure,
    JobStaged,
    JobSubmitted,
    JobUnstaged,
    MachinesListed,
    PlacementDue,
    RetryRequested,
    TimerFired,
)
from styx.core.on_attempt import on_reported
from styx.core.on_instance import on_catalog, on_down, on_launched, on_listed, on_refused, on_unsure
from styx.core.on_job import (
    cancel_tasks,
    carry,
    on_cancel,
    on_staged,
    on_submitted,
    on_unstaged,
    open_tasks,
)
from styx.core.on_node import lose_node, on_connected, on_drained, on_lost, on_suspected
from styx.core.on_timer import on_timer
from styx.core.placement import place
from styx.core.places import Places
from styx.core.records import InstanceDoubted, NodeSuspected, Record
from styx.core.replay import admit_all, replay
from styx.core.retry import on_retry
from styx.core.scaling import scale
from styx.core.settings import CoreSettings
from styx.core.states import NodeState
from styx.core.timers import TEND
from styx.core.turn import Later, Turn
from styx.core.world import World

__all__ = ["HANDLERS", "Engine"]


class Engine:
    """The core at work on one world.

    `placement_due` asks for a PlacementDue after the batch, `unfinished` for a Continued, `wake_at` (milliseconds) for a
    TimerFired. The caller commits a Step's records before it performs its effects or tells anybody its answer.
    """

    __slots__ = ("_stepping", "_unfinished", "placement_due", "places", "settings", "world")

    def __init__(self, world: World | None = None, *, settings: CoreSettings | None = None) -> None:
        self.world = world or World()
        self.settings = settings or CoreSettings()
        self.places = Places()
        self.placement_due = False
        self._unfinished: deque[Later] = deque()
        self._stepping = False

    @property
    def unfinished(self) -> bool:
        return bool(self._unfinished)

    @property
    def wake_at(self) -> int | None:
        timers = self.world.timers
        return timers[0][0] if timers else None

    def step(self, event: Event, now: int) -> Step:
        """Decide what one event means at `now`, milliseconds since the epoch and never less than before."""
        if self._stepping:
            raise RuntimeError("Engine.step was called from within Engine.step")
        self._stepping = True
        try:
            turn = Turn(self.world, now, self.settings, self._unfinished, self.places)
            if type(event) is PlacementDue:
                limit = self.settings.step_limit
                self.placement_due = place(turn, min(event.limit or limit, limit))
                if self.places.usable and not self.placement_due:
                    self.placement_due = scale(turn)
                return Step(turn.records, turn.effects)
            answer = HANDLERS[type(event)](turn, event)
            if turn.records or type(event) in {TimerFired, CatalogKnown}:
                self.placement_due = True
            return Step(turn.records, turn.effects, answer)
        finally:
            self._stepping = False

    def recover(self, records: Iterable[Record]) -> None:
        """Fold records from the store into the world; may be called many times, in the order of `Store.load`."""
        replay(self.world, records)

    def recovered(self, serials: tuple[int, int, int], now: int) -> None:
        """The last record was folded in. `serials` are the highest (job, attempt, node) ever given out.

        Nobody is connected yet: every node is suspect from now on, and its lease starts anew. Wide work that the end of the
        last process cut short is begun again.
        """
        world = self.world
        raise_serials(world, serials)
        admit_all(world)
        for node in world.nodes.values():
            if node.agent:
                apply(world, NodeSuspected(node.id, now))
            elif node.state == NodeState.REQUESTED:  # the cloud may have been asked
                apply(world, InstanceDoubted(node.id, now))
                self.places.relaunch[node.id] = now
        for job in world.jobs.values():
            self._unfinished.append(("cancel" if job.cancelling else "open", job.serial, 0, 0))
        if world.by_token:
            self.places.tending = True
            heappush(world.timers, (now, TEND, 0, 0, 0))
        self.placement_due = True


def _on_continued(turn: Turn, event: Continued) -> Answer:
    if not turn.unfinished:
        return None
    what, subject, position, choice = turn.unfinished.popleft()
    if what == "lose":
        node = turn.world.nodes[subject]
        if node.lost:
            lose_node(turn, node)
        return None
    job = turn.world.jobs.get(subject)
    if job is None:
        return None
    if what == "open":
        open_tasks(turn, job, position)
    elif what == "cancel":
        cancel_tasks(turn, job, position)
    else:
        carry(turn, job.tasks[choice], position)
    return None


HANDLERS: dict[type, Callable[[Turn, Any], Answer]] = {
    JobStaged: on_staged,
    JobUnstaged: on_unstaged,
    JobSubmitted: on_submitted,
    CancelRequested: on_cancel,
    RetryRequested: on_retry,
    AgentConnected: on_connected,
    AgentSuspected: on_suspected,
    AgentLost: on_lost,
    AgentDrained: on_drained,
    AttemptsReported: on_reported,
    TimerFired: on_timer,
    CatalogKnown: on_catalog,
    InstanceLaunched: on_launched,
    InstanceRefusedByCloud: on_refused,
    InstanceUnsure: on_unsure,
    MachinesListed: on_listed,
    DownRequested: on_down,
    Continued: _on_continued,
}
