"""The simulator: the shipping server and agents in virtual time, on a network and a disk that fail, decided by one seed.

    report = Simulator(seed).run()
    print(report.violation or "everything held")

`python -m styx.testing.simulator SEED` replays a seed, prints what happened if something did not hold, and looks for a shorter way
to the same; `--seeds N --jobs K` runs many. To change what may happen, add an item kind in `plan` and its act in `play`; to change
what must hold, look in `ledger` (what is durable), in `running` (what programs did) and in `play` (after each step, at the end).
"""

from __future__ import annotations

from styx.testing.simulator.play import Report, Simulator

__all__ = ["Report", "Simulator"]
