"""How long does the command line take: `styx --help` beside bare Python, and the whole of `styx run -- true` embedded?"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from kit import Figure, Options, interleave, main

STYX = str(Path(sys.executable).with_name("styx"))
TIMES = 10  # starts in one round; the round's figure is the fastest of them


def fastest(*command: str) -> float:
    """Milliseconds of the fastest of some runs, each with a home of its own."""
    taken = []
    for _ in range(TIMES):
        with tempfile.TemporaryDirectory() as home:
            environment = {name: value for name, value in os.environ.items() if not name.startswith("STYX_")}
            begin = time.perf_counter()
            subprocess.run(
                command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/",
                env={**environment, "STYX_HOME": home},
            )  # fmt: skip
            taken.append((time.perf_counter() - begin) * 1_000)
    return min(taken)


def measure(options: Options) -> list[Figure]:
    values = interleave(
        {
            "bare Python": lambda: fastest(sys.executable, "-c", "pass"),
            "styx --help": lambda: fastest(STYX, "--help"),
            "styx run -- true": lambda: fastest(STYX, "run", "--", "true"),
        },
        options.rounds,
    )
    bare = Figure("bare Python", "ms", values["bare Python"], less=True)
    return [
        bare,
        Figure("styx --help", "ms", values["styx --help"], less=True, floor=bare, target=5.0, work="help"),
        Figure("styx run -- true, embedded", "ms", values["styx run -- true"], less=True, target=500, work="whole"),
    ]


if __name__ == "__main__":
    main("How long does the command line take?", measure)
