"""Figures of the running server, counted where the records pass by anyway, and read from the world when they are asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from styx.core.records import AttemptEnded, JobAccepted, JobEnded, Record, SpansEnded
from styx.core.states import LIVE, Outcome, TaskState
from styx.core.world import Node, World
from styx.telemetry.metrics import Metrics, Rate

__all__ = ["Figures"]

_NAMES = tuple(state.name for state in TaskState)
_OUTCOMES = tuple(outcome.name for outcome in Outcome)


class Figures:
    """Notes committed records into `metrics`. `submitted` and `ended` count elements since the start; elements of before a restart
    may be among those that end."""

    def __init__(self, world: World, metrics: Metrics) -> None:
        self.metrics = metrics
        self.ended = 0
        self._rate = Rate()
        self._world = world
        metrics.live.read = self._live
        metrics.agents.read = self._agents
        metrics.live_jobs.read = lambda: len(world.jobs)
        metrics.running.read = lambda: len(world.attempts)

    @property
    def submitted(self) -> int:
        return self.metrics.submitted.value

    def rate(self, at: int) -> float:
        """Elements that ended a second, over the last 10 s; `at` is epoch milliseconds."""
        return self._rate.per_second(at / 1_000)

    def note(self, records: Iterable[Record], at: int) -> None:
        """Take notice of records that were committed at `at`."""
        metrics = self.metrics
        states = [0] * len(_NAMES)
        outcomes = [0] * len(_OUTCOMES)
        for record in records:
            if type(record) is AttemptEnded:
                outcomes[record.outcome] += 1
                states[record.state] += 1
            elif type(record) is SpansEnded:
                states[record.state] += sum(count for _, _, count in record.spans)
            elif type(record) is JobAccepted:
                metrics.submitted.add(record.elements)
            elif type(record) is JobEnded:
                metrics.jobs.add(record.state.value)
        for outcome, count in enumerate(outcomes):
            if count:
                metrics.attempts.add(_OUTCOMES[outcome], amount=count)
        ended = sum(states[TaskState.SUCCEEDED :])
        if ended:
            self.ended += ended
            self._rate.add(ended, at / 1_000)
            for state in range(TaskState.SUCCEEDED, len(states)):
                if states[state]:
                    metrics.elements.add(_NAMES[state], amount=states[state])

    def _live(self) -> Mapping[str, float]:
        return {state.name: self._world.counts[state] for state in LIVE}

    def _agents(self) -> Mapping[str, float]:
        counts = {"UP": 0, "SUSPECT": 0, "LOST": 0, "DRAINING": 0, "GONE": 0}
        for node in self._world.nodes.values():
            counts[_shown(node)] += 1
        return counts


def _shown(node: Node) -> str:
    if node.lost:
        return "LOST"
    state = node.state.value
    return state if state in {"DRAINING", "GONE"} else "UP" if node.connected else "SUSPECT"
