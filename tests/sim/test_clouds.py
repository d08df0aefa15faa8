"""Machines that a cloud brings up, in virtual time: none is leaked, none is ended that works, none is brought up twice for one intent.

`make sim` runs 10,000; STYX_CLOUD_SEEDS sets how many are run here, STYX_CLOUD_FIRST the first.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

import pytest

from styx.testing.simulator.clouds import CloudRun

SEEDS = int(os.environ.get("STYX_CLOUD_SEEDS", "200"))
FIRST = int(os.environ.get("STYX_CLOUD_FIRST", "0"))
PARTS = 8


@pytest.mark.parametrize("part", range(PARTS))
def test_runs_with_a_cloud(part: int) -> None:
    launched = 0
    for seed in range(FIRST + part, FIRST + SEEDS, PARTS):
        report = CloudRun(seed).run()
        assert not report.violation, f"python -m styx.testing.simulator --clouds {seed}\n{report.script}"
        launched += report.launched
    assert launched > 2 * (SEEDS // PARTS), "there was something to leak"


BROKEN: dict[str, tuple[str, str, Any]] = {
    "a stranger is never ended": ("on_instance", "_strangers", lambda *args: None),
    "idle machines are kept": ("tending", "_idle_timeout", lambda turn, node: 1 << 60),
    "a machine that nobody knows of is not asked for again": ("on_instance", "ask_later", lambda *args: None),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_broken_on_purpose_is_seen(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, name, instead = BROKEN[what]
    monkeypatch.setattr(importlib.import_module(f"styx.core.{module}"), name, instead)
    assert any(CloudRun(seed).run().violation for seed in range(60)), f"nobody noticed: {what}"
