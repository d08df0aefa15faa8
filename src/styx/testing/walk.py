"""A random walk through the core: one seed decides everything that happens, all invariants hold after each step.

It drives the shipping Engine with the events that a hostile world would send, keeps a ledger of its own of what was said, and
finally rebuilds the world from the records that a store would have kept. A failing walk prints its script.
"""

from __future__ import annotations

from collections import Counter
from random import Random

from styx.core.effects import Accepted, ForgetAttempts, PlaceEffect, RecallAttempts, StartAttempts, StopAttempts
from styx.core.engine import Engine
from styx.core.events import (
    AgentDrained,
    AttemptEnding,
    AttemptsReported,
    CancelRequested,
    Continued,
    Held,
    RetryRequested,
)
from styx.core.invariants import snapshot
from styx.core.records import (
    AttemptAdmitted,
    AttemptAssigned,
    AttemptEnded,
    ElementsDue,
    InstanceDoubted,
    JobAccepted,
    JobCancelling,
    JobEnded,
    JobRevived,
    NodeReserved,
    Record,
    TasksReady,
    TasksStaged,
)
from styx.core.settings import CoreSettings
from styx.core.spec import Backoff, JobSpec, Priority, When
from styx.core.states import Outcome, TaskState
from styx.testing.dialogue import Dialogue, task

__all__ = ["Walk"]

DERIVED = (TasksReady, AttemptAdmitted, ElementsDue, NodeReserved, InstanceDoubted)


class Walk:
    """`run_some` takes random steps, `settle` lets everything end; `script` tells what was done, line by line."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.talk = Dialogue(settings=CoreSettings(step_limit=self.random.choice([3, 50, 1_000])))
        self.script: list[str] = [f"seed {seed}"]
        self.there: dict[
            str, dict[int, int]
        ] = {}  # agent -> attempt -> 0 queued, 1 running, 2 ended: the truth of its owner
        self.boots: dict[str, int] = {}
        self.linked: set[str] = set()
        self.kept: list[Record] = []
        self.serials: list[int] = []
        self._read = 0

    def run_some(self, steps: int) -> None:
        """Take random steps."""
        moves = [
            (6, self.submit),
            (4, self.connect),
            (2, self.cut),
            (1, self.lose),
            (1, self.reboot),
            (1, self.drain),
            (10, self.progress),
            (2, self.cancel),
            (1, self.retry),
            (4, self.wait),
        ]
        weights = [weight for weight, _ in moves]
        for _ in range(steps):
            ((_, move),) = self.random.choices(moves, weights)
            move()
            self._obey()

    def note(self, line: str) -> None:
        self.script.append(f"{len(self.script):4} {line}")

    # -- moves ----------------------------------------------------------------------------------------------

    def submit(self) -> None:
        if len(self.talk.world.jobs) > 6:
            return
        random = self.random
        count = random.choice([1, 1, 2, 5, 12])
        tasks = []
        for n in range(count):
            needs = random.sample([f"t{k}" for k in range(n)], k=min(n, random.choice([0, 1, 1, 2])))
            tasks.append(
                task(
                    f"t{n}",
                    cpus=random.choice([0.5, 1, 1, 2, 3]),
                    needs=sorted(needs),
                    array=random.choice([0, 0, 0, 2, 7]),
                    retries=random.choice([0, 0, 1, 2]),
                    backoff=Backoff(random.choice([1, 500]), 2.0, 4_000),
                    max_lost=random.choice([0, 1, 5]),
                    when=random.choice([When.SUCCESS, When.SUCCESS, When.ALWAYS]),
                    allow_failure=random.random() < 0.2,
                )
            )
        spec = JobSpec("j", tuple(tasks), random.choice(list(Priority)), random.choice([0, 0, 0, 20_000]))
        self.note(f"submit {count} tasks")
        answer = self.talk.try_submit(spec, key=self._key(), chunk=random.choice([2, 1_000]))
        if isinstance(answer, Accepted) and not answer.again:
            self.serials.append(answer.job)

    def _key(self) -> str:
        """Sometimes one that is known. Keys of ended jobs are the shell's business, which asks the store."""
        known: list[str] = sorted(self.talk.world.keys)
        if known and self.random.random() < 0.3:
            return known[0]
        return f"key-{len(self.script)}" if self.random.random() < 0.2 else ""

    def connect(self) -> None:
        agent = self.random.choice("abcd")
        held = self.there.setdefault(agent, {})
        self.note(f"connect {agent} holding {held}")
        boot = f"boot-{self.boots.setdefault(agent, 0)}"
        self.linked.add(agent)
        self.talk.connect(
            agent, cpus=3 if agent == "a" else 2, boot=boot, held=[Held(a, state, 5) for a, state in held.items()]
        )

    def cut(self) -> None:
        if self.linked:
            agent = self.random.choice(sorted(self.linked))
            self.linked.discard(agent)
            self.note(f"cut {agent}")
            self.talk.suspect(self.talk.world.by_agent[agent])

    def lose(self) -> None:
        gone = sorted(set(self.there) - self.linked)
        if gone and (agent := self.random.choice(gone)) in self.talk.world.by_agent:
            self.note(f"lose {agent}")
            self.talk.lose(self.talk.world.by_agent[agent])

    def reboot(self) -> None:
        if self.there:
            agent = self.random.choice(sorted(self.there))
            self.note(f"reboot {agent}")
            self.boots[agent] = self.boots.get(agent, 0) + 1
            self.there[agent] = {}
            self.linked.discard(agent)
            if agent in self.talk.world.by_agent:
                self.talk.suspect(self.talk.world.by_agent[agent])

    def drain(self) -> None:
        if self.linked:
            agent = self.random.choice(sorted(self.linked))
            self.note(f"drain {agent}")
            self.talk.say(AgentDrained(self.talk.world.by_agent[agent], self.random.random() < 0.5))

    def progress(self) -> None:
        """A program of some agent starts or ends; what a cut-off agent has to say comes late."""
        busy = sorted(agent for agent, held in self.there.items() if held)
        if not busy:
            return
        agent = self.random.choice(busy)
        held = self.there[agent]
        attempt = self.random.choice(sorted(held))
        if held[attempt] == 0 and self.random.random() < 0.5:
            held[attempt] = 1
            self.note(f"{agent} starts {attempt}")
            if agent in self.linked:
                self.talk.say(AttemptsReported(self.talk.world.by_agent[agent], (attempt,)))
            return
        held[attempt] = 2
        outcome = self.random.choice([Outcome.EXITED] * 6 + [Outcome.TIMED_OUT, Outcome.KILLED, Outcome.REJECTED])
        code = self.random.choice([0, 0, 0, 1]) if outcome == Outcome.EXITED else 143
        self.note(f"{agent} ends {attempt}: {outcome.name} {code}")
        if agent in self.linked:
            self._report(agent, attempt, outcome, code)

    def _report(self, agent: str, attempt: int, outcome: Outcome = Outcome.EXITED, code: int = 0) -> None:
        node = self.talk.world.by_agent[agent]
        ending = AttemptEnding(attempt, outcome, code, self.random.randrange(50), 0, "recalled")
        for _ in range(self.random.choice([1, 1, 2])):  # told twice at times
            self.talk.say(AttemptsReported(node, (), (ending,)))

    def cancel(self) -> None:
        if self.talk.world.jobs:
            serial = self.random.choice(sorted(self.talk.world.jobs))
            ordinal = self.random.choice([-1, self.random.randrange(len(self.talk.world.jobs[serial].tasks))])
            index = 0 if ordinal >= 0 and self.random.random() < 0.3 else -1
            self.note(f"cancel {serial} {ordinal} {index}")
            self.talk.say(CancelRequested(serial, ordinal, index))

    def retry(self) -> None:
        if self.serials:
            serial = self.random.choice(self.serials)
            history = () if serial in self.talk.world.jobs else tuple(self._history(serial))
            failed = self.random.random() < 0.5
            self.note(f"retry {serial} failed={failed}")
            self.talk.say(RetryRequested(serial, failed, -1, history))

    def wait(self) -> None:
        for_ = self.random.choice([1, 300, 2_000, 61_000])
        self.note(f"wait {for_} ms")
        self.talk.sleep(for_)

    # -- what the agents do ---------------------------------------------------------------------------------

    def _obey(self) -> None:
        """Effects reach agents that are linked; others miss them, and the next hello puts it right."""
        self._keep()
        while self.talk.effects:
            effect = self.talk.effects.pop(0)
            if isinstance(effect, PlaceEffect):
                continue  # nothing is brought up here
            agent = self.talk.world.nodes[effect.node].agent
            if agent not in self.linked:
                continue
            held = self.there[agent]
            if isinstance(effect, StartAttempts):
                for attempt in effect.attempts:
                    held.setdefault(attempt, 0)
            elif isinstance(effect, ForgetAttempts):
                for attempt in effect.attempts:
                    held.pop(attempt, None)
            else:
                self._give_back(agent, effect)

    def _give_back(self, agent: str, effect: StopAttempts | RecallAttempts) -> None:
        held = self.there[agent]
        for attempt in effect.attempts:
            state = held.get(attempt)
            if state is None or state == 2 or (isinstance(effect, RecallAttempts) and state == 1):
                continue
            held[attempt] = 2
            outcome = Outcome.KILLED if isinstance(effect, StopAttempts) else Outcome.REJECTED
            self._report(agent, attempt, outcome, 143)

    def _keep(self) -> None:
        fresh = self.talk.records[self._read :]
        self._read = len(self.talk.records)
        self.kept += [record for record in fresh if not isinstance(record, DERIVED)]

    # -- the end --------------------------------------------------------------------------------------------

    def _history(self, serial: int) -> list[Record]:
        """A job's records in the order in which a store hands them out, its ends left out."""
        skipped = (JobCancelling, JobRevived)
        return [r for r in self._ordered() if getattr(r, "job", 0) == serial and not isinstance(r, skipped)]

    def _ordered(self) -> list[Record]:
        """What a store would hand out: nodes first, then by job, attempts in the order of their serials."""
        self._keep()
        owner = {r.attempt: r.job for r in self.kept if isinstance(r, AttemptAssigned)}
        nodes: dict[int, list[Record]] = {}
        jobs: dict[int, list[tuple[int, int, Record]]] = {}
        for record in self.kept:
            if type(record).__name__.startswith("Node"):
                nodes.setdefault(record.node, []).append(record)  # type: ignore[union-attr]
            elif isinstance(record, JobEnded):
                continue
            else:
                attempt = getattr(record, "attempt", 0)
                serial = owner[attempt] if attempt else record.job  # type: ignore[union-attr]
                after = attempt or getattr(record, "after", 0)
                jobs.setdefault(serial, []).append((after, 0 if attempt else 1, record))
        ordered: list[Record] = [record for records in nodes.values() for record in records]
        for _, entries in sorted(jobs.items()):
            heads = [r for _, _, r in entries if isinstance(r, TasksStaged | JobAccepted)]
            wishes = [r for _, _, r in entries if isinstance(r, JobCancelling | JobRevived)]
            rest = [e for e in entries if not isinstance(e[2], TasksStaged | JobAccepted | JobCancelling | JobRevived)]
            revived = [r for r in wishes if isinstance(r, JobRevived)][-1:]
            cancelling = [r for r in wishes[-1:] if isinstance(r, JobCancelling)]
            ordered += [*heads, *revived, *cancelling]
            ordered += [record for _, _, record in sorted(rest, key=lambda entry: entry[:2])]
        return ordered

    def settle(self) -> None:
        """Everybody comes back and everything is let run out; then the books must balance."""
        self.note("settle")
        for _ in range(4_000):
            if not self.talk.world.jobs:
                break
            for agent in "abcd":
                self.there.setdefault(agent, {})
                if agent not in self.linked or self.talk.world.nodes[self.talk.world.by_agent[agent]].state != "UP":
                    self.linked.add(agent)
                    held = [Held(attempt, state, 5) for attempt, state in self.there[agent].items()]
                    self.talk.connect(
                        agent, cpus=3 if agent == "a" else 2, boot=f"boot-{self.boots.setdefault(agent, 0)}", held=held
                    )
                    self._obey()
            for agent in "abcd":
                for attempt in list(self.there[agent]):
                    if attempt in self.there[agent]:
                        self.there[agent][attempt] = 2
                        self._report(agent, attempt)
                        self._obey()
            self.talk.sleep(70_000)
            self._obey()
        assert not self.talk.world.jobs, "work that every place could hold never ended"
        self.audit()

    def audit(self) -> None:
        """Each attempt has one terminal record, and no element two winners between two retries."""
        self._keep()
        assigned = [r.attempt for r in self.kept if isinstance(r, AttemptAssigned)]
        ended = Counter(r.attempt for r in self.kept if isinstance(r, AttemptEnded))
        assert len(assigned) == len(set(assigned))
        assert set(ended) == set(assigned), "an attempt without a terminal record"
        assert set(ended.values()) <= {1}, "an attempt with two terminal records"
        winners: Counter[tuple[int, int, int]] = Counter()
        for record in self.kept:
            if isinstance(record, AttemptEnded) and record.state == TaskState.SUCCEEDED:
                winners[record.job, record.task, record.index] += 1
                assert winners[record.job, record.task, record.index] == 1, f"two winners: {record}"
            elif type(record).__name__ == "SpansReset":
                for ordinal, first, count in record.spans:  # type: ignore[union-attr]
                    for index in range(first, first + count):
                        winners.pop((record.job, ordinal, index), None)  # type: ignore[union-attr]

    def rebuilt(self) -> tuple[dict[str, object], dict[str, object]]:
        """What the lived and the rebuilt world say, to be compared."""
        engine = Engine(settings=self.talk.engine.settings)
        live = set(self.talk.world.jobs)
        self._keep()
        owner = {r.attempt: r.job for r in self.kept if isinstance(r, AttemptAssigned)}
        ordered = [
            record
            for record in self._ordered()
            if type(record).__name__.startswith("Node")
            or (owner[record.attempt] if hasattr(record, "attempt") else record.job) in live  # type: ignore[union-attr]
        ]
        engine.recover(ordered)
        world = self.talk.world
        engine.recovered((world.last_job, world.last_attempt, world.last_node), self.talk.now)
        other = Dialogue(engine=engine)
        other.now = self.talk.now
        while engine.unfinished:
            other.step(Continued())
        other.sleep(0)  # what came due while it was away
        return snapshot(world), snapshot(engine.world)
