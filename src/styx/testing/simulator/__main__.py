"""python -m styx.testing.simulator SEED                      replay a seed, and shrink what it finds
python -m styx.testing.simulator --seeds N [--jobs K] [--first S]   run many; exit code 1 when anything did not hold
With --clouds it is runs with machines that a cloud brings up (`clouds`).
"""

from __future__ import annotations

import argparse
import sys

from styx.testing.simulator.clouds import CloudRun
from styx.testing.simulator.many import many, many_clouds
from styx.testing.simulator.plan import draw
from styx.testing.simulator.play import Simulator
from styx.testing.simulator.shrink import shrink


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m styx.testing.simulator", description="Styx in virtual time.")
    parser.add_argument("seed", nargs="?", type=int, help="replay this seed")
    parser.add_argument("--seeds", type=int, default=0, help="run so many seeds")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--jobs", type=int, default=1, help="processes to run them in")
    parser.add_argument("--clouds", action="store_true", help="with a cloud that brings machines up")
    parser.add_argument("--no-shrink", action="store_true", help="show a violation as it was found")
    given = parser.parse_args(arguments)
    if given.seed is not None and given.clouds:
        report = CloudRun(given.seed).run()
        print(report.script if report.violation else f"seed {given.seed}: everything held")
        return 1 if report.violation else 0
    if given.seed is not None:
        return replay(given.seed, shrinking=not given.no_shrink)
    if given.seeds <= 0:
        parser.error("give a seed, or --seeds")
    seeds = range(given.first, given.first + given.seeds)
    return many_clouds(seeds, given.jobs) if given.clouds else many(seeds, given.jobs)


def replay(seed: int, *, shrinking: bool = True) -> int:
    plan = draw(seed)
    report = Simulator(plan=plan).run()
    if not report.violation:
        print(f"seed {seed}: everything held ({report.attempts} attempts, {report.lasted / 1_000:.1f} virtual s)")
        return 0
    if shrinking:
        plan, report = shrink(plan, report)
    print(report.script)
    return 1


if __name__ == "__main__":
    sys.exit(main())
