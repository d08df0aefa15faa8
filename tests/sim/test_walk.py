"""Random walks through the core: nothing breaks an invariant, everything ends, a rebuilt world equals the lived one."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from styx.core.invariants import check
from styx.testing.walk import Walk

SEEDS = int(os.environ.get("STYX_WALKS", "60"))


@pytest.mark.parametrize("seed", range(SEEDS))
def test_walk(seed: int) -> None:
    walk = Walk(seed)
    try:
        for _ in range(4):
            for _ in range(20):
                walk.run_some(1)
            lived, rebuilt = walk.rebuilt()
            assert rebuilt == lived
        check(walk.talk.world)
        walk.settle()
    except BaseException:
        print("\n".join(walk.script))
        raise


def test_the_hash_seed_changes_nothing() -> None:
    """What is decided does not depend on the order of sets of strings."""
    script = (
        "from styx.testing.walk import Walk; import hashlib; w = Walk(7); w.run_some(150);"
        "print(hashlib.sha256(repr(w.talk.records).encode()).hexdigest())"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(told) == 1
