"""The simulator under test: it is deterministic, it sees what is broken on purpose, and it shrinks what it finds."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import styx
from styx.core.on_attempt import on_reported
from styx.testing.simulator import Simulator
from styx.testing.simulator.plan import draw
from styx.testing.simulator.shrink import shrink

SOURCE = Path(styx.__file__).parent.parent


def python(script: str, **env: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, **env}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_hash_seed_and_the_process_change_nothing() -> None:
    script = (
        "from styx.testing.simulator import Simulator\n"
        "Simulator.digesting = True\n"
        "for seed in range(40):\n"
        "    report = Simulator(seed).run()\n"
        "    print(seed, report.digest, report.attempts, report.commits, report.lasted)\n"
    )
    told = [python(script, PYTHONHASHSEED=seed) for seed in ("1", "2")]
    assert len(told[0].splitlines()) == 40
    assert told[0] == told[1]


FAULTS = [
    (
        "an answer of another node is believed",
        "core/on_attempt.py",
        "        attempt = held.get(ending.attempt)\n",
        "        attempt = turn.world.attempts.get(ending.attempt) or next(iter(turn.world.attempts.values()), None)\n",
    ),
    (
        "the last dependant is not counted down",
        "core/apply.py",
        "        for ordinal in task.dependants:\n            tasks[ordinal].unmet -= 1",
        "        for ordinal in task.dependants[:-1]:\n            tasks[ordinal].unmet -= 1",
    ),
    (
        "a stalled server does not extend the leases",
        "runtime/leases.py",
        "            self._extend(gap - self.interval, at)",
        "            pass",
    ),
    (
        "a report is acknowledged before it is on disk",
        "runtime/links.py",
        "        link.seen = message.number\n",
        "        link.seen = message.number\n        link.outbox.ack(message.number)\n",
    ),
    (
        "effects are performed before the commit",
        "runtime/loop.py",
        "        if turn.records or marks or outputs:\n            self._in_flight = True",
        "        await self._perform(turn.records, turn.effects)\n"
        "        if turn.records or marks or outputs:\n            self._in_flight = True",
    ),
    (
        "callers are answered before the commit",
        "runtime/loop.py",
        "        if turn.records or marks or outputs:\n            self._in_flight = True",
        "        for entry in turn.entries:\n            if entry.answer is not None and not entry.answer.done():\n"
        "                entry.answer.set_result(entry.result)\n"
        "        if turn.records or marks or outputs:\n            self._in_flight = True",
    ),
    (
        "output is acknowledged when it has come",
        "runtime/collector.py",
        "        if committed >= end:",
        "        link.outbox.output_ack(attempt, stream, end)\n        if committed >= end:",
    ),
    (
        "what did not reach its node is not sent again",
        "core/on_node.py",
        "        turn.effect(StartAttempts(node.id, tuple(resend)))",
        "        pass",
    ),
    (
        "work that is nobody's runs on",
        "core/on_node.py",
        "    stop += [serial for serial, state in there.items() if serial not in node.held and state != ENDED]\n",
        "",
    ),
    ("the brake on mass loss is gone", "core/on_node.py", "    if braked(turn, node):", "    if False:"),
    (
        "the agent's lease ends after the server's",
        "agent/pulse.py",
        "                self.lease_end = sent + self.lease",
        "                self.lease_end = now + self.lease + 1_000",
    ),
    ("losses are forgiven for ever", "core/on_attempt.py", "        if lost <= spec.max_lost:", "        if lost:"),
    (
        "a rebuilt world forgets the order of arrival",
        "core/admission.py",
        "        self.waiting = OrderedDict(sorted((self.admitted | self.waiting).items()))",
        "        self.waiting = OrderedDict(sorted((self.admitted | self.waiting).items(), reverse=True))",
    ),
    (
        "a reservation is ignored by those it is kept from",
        "core/fit.py",
        "    if node.reserved in {-1, shape.key}:",
        "    if node.reserved >= -1:",
    ),
]

HUNT = """
from styx.testing.simulator import Simulator
for seed in range(600):
    report = Simulator(seed).run()
    if report.violation:
        print(seed, report.violation)
        break
"""


@pytest.mark.parametrize(("file", "before", "after"), [pytest.param(*rest, id=name) for name, *rest in FAULTS])
def test_what_is_broken_on_purpose_is_seen(file: str, before: str, after: str, tmp_path: Path) -> None:
    shutil.copytree(SOURCE / "styx", tmp_path / "styx", ignore=shutil.ignore_patterns("__pycache__"))
    broken = tmp_path / "styx" / file
    text = broken.read_text()
    assert text.count(before) == 1, "this fault does not apply any more"
    broken.write_text(text.replace(before, after))
    assert python(HUNT, PYTHONPATH=str(tmp_path), PYTHONDONTWRITEBYTECODE="1"), "nothing was seen in 600 seeds"


def test_a_violation_comes_with_a_script_and_shrinks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports are believed only every other time: work is never over, and one submission is enough to show it."""
    from styx.core import engine
    from styx.core.events import AttemptsReported

    monkeypatch.setattr(Simulator, "patience", 200_000)

    monkeypatch.setitem(
        engine.HANDLERS,
        AttemptsReported,
        lambda turn, event: None if event.ended and event.ended[0].attempt % 2 else on_reported(turn, event),
    )
    seed = next(seed for seed in range(50) if Simulator(seed).run().violation and len(draw(seed).items) > 3)
    plan = draw(seed)
    report = Simulator(plan=plan).run()
    smaller, shorter = shrink(plan, report, tries=25)
    assert len(smaller.items) < len(plan.items)
    assert "> submit" in shorter.script
    assert "VIOLATION" in shorter.script
    assert Simulator(plan=smaller).run().violation == shorter.violation
