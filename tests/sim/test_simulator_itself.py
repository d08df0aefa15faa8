"""The simulator under test: it is deterministic, it sees what is broken on purpose, and it shrinks what it finds."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from styx.testing.simulator import Simulator
from styx.testing.simulator.plan import draw
from styx.testing.simulator.shrink import shrink


def test_the_hash_seed_and_the_process_change_nothing() -> None:
    script = (
        "from styx.testing.simulator import Simulator\n"
        "Simulator.digesting = True\n"
        "for seed in range(40):\n"
        "    report = Simulator(seed).run()\n"
        "    print(seed, report.digest, report.attempts, report.commits, report.lasted)\n"
    )
    told = [
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert len(told[0].splitlines()) == 40
    assert told[0] == told[1]
