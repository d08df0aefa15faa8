"""The shipping server and agents in virtual time: nothing that Styx promises breaks, whatever fails and whenever.

`make sim` runs many more seeds; STYX_SIM_SEEDS sets how many are run here, STYX_SIM_FIRST the first.
"""

from __future__ import annotations

import os

import pytest

from styx.testing import Simulator

SEEDS = int(os.environ.get("STYX_SIM_SEEDS", "5000"))
FIRST = int(os.environ.get("STYX_SIM_FIRST", "0"))
PARTS = 20  # tests, so that they spread over processes and a failure ends only one of them


@pytest.mark.parametrize("part", range(PARTS))
def test_seeds(part: int) -> None:
    attempts = 0
    for seed in range(FIRST + part, FIRST + SEEDS, PARTS):
        report = Simulator(seed).run()
        assert not report.violation, f"python -m styx.testing.simulator {seed}\n{report.script}"
        attempts += report.attempts
    assert attempts > 5 * (SEEDS // PARTS)
