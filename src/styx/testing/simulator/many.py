"""Many seeds, over several processes."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context

from styx.testing.simulator.play import Report, Simulator

__all__ = ["many"]

_CHUNK = 100  # seeds that a process runs at a time


def many(seeds: range, jobs: int) -> int:
    """Run them all; a line of progress now and then, and a summary."""
    began = told = time.monotonic()
    done = attempts = commits = lasted = 0
    failed: list[tuple[int, str]] = []
    for part in _parts(seeds, jobs):
        for report in part:
            done += 1
            attempts += report.attempts
            commits += report.commits
            lasted += report.lasted
            if report.violation:
                failed.append((report.seed, report.violation))
                print(f"seed {report.seed}: {report.violation[:300]}", flush=True)
        if time.monotonic() - told > 10:
            told = time.monotonic()
            print(f"{done:,} of {len(seeds):,} seeds, {len(failed)} violations", file=sys.stderr, flush=True)
    print(
        f"{done:,} seeds, {len(failed)} violations: {attempts:,} attempts, {commits:,} commits, "
        f"{lasted / 3_600_000:,.0f} virtual hours in {time.monotonic() - began:.0f} s"
    )
    if failed:
        print(f"replay with: python -m styx.testing.simulator {failed[0][0]}")
    return 1 if failed else 0


def _parts(seeds: range, jobs: int) -> Iterator[list[Report]]:
    chunks = [seeds[first : first + _CHUNK] for first in range(0, len(seeds), _CHUNK)]
    if jobs <= 1:
        yield from map(_run, chunks)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        for done in as_completed([pool.submit(_run, chunk) for chunk in chunks]):
            yield done.result()


def _run(seeds: range) -> list[Report]:
    return [Simulator(seed).run() for seed in seeds]
