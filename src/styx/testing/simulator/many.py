"""Many seeds, over several processes."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from typing import TypeVar

from styx.testing.simulator.clouds import CloudReport, CloudRun
from styx.testing.simulator.play import Report, Simulator

__all__ = ["many", "many_clouds"]

T = TypeVar("T")

_CHUNK = 100  # seeds that a process runs at a time


def many(seeds: range, jobs: int) -> int:
    """Run them all; a line of progress now and then, and a summary."""
    began = told = time.monotonic()
    done = attempts = commits = lasted = 0
    failed: list[tuple[int, str]] = []
    for part in _parts(seeds, jobs, _run):
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


def many_clouds(seeds: range, jobs: int) -> int:
    """The same with machines that a cloud brings up."""
    began = told = time.monotonic()
    done = launched = kills = calls = 0
    failed: list[int] = []
    for part in _parts(seeds, jobs, _run_clouds):
        for report in part:
            done += 1
            launched += report.launched
            kills += report.kills
            calls += report.calls
            if report.violation:
                failed.append(report.seed)
                print(f"seed {report.seed}: {report.violation[:300]}", flush=True)
        if time.monotonic() - told > 10:
            told = time.monotonic()
            print(f"{done:,} of {len(seeds):,} runs, {len(failed)} violations", file=sys.stderr, flush=True)
    print(
        f"{done:,} runs with a cloud, {len(failed)} violations: {launched:,} machines, {calls:,} calls, "
        f"{kills:,} kills of the server in {time.monotonic() - began:.0f} s"
    )
    if failed:
        print(f"replay with: python -m styx.testing.simulator --clouds {failed[0]}")
    return 1 if failed else 0


def _parts(seeds: range, jobs: int, run: Callable[[range], list[T]]) -> Iterator[list[T]]:
    chunks = [seeds[first : first + _CHUNK] for first in range(0, len(seeds), _CHUNK)]
    if jobs <= 1:
        yield from map(run, chunks)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        for done in as_completed([pool.submit(run, chunk) for chunk in chunks]):
            yield done.result()


def _run(seeds: range) -> list[Report]:
    return [Simulator(seed).run() for seed in seeds]


def _run_clouds(seeds: range) -> list[CloudReport]:
    return [CloudRun(seed).run() for seed in seeds]
