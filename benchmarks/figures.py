"""What a figure is, and how the noise of the machine is seen: the part of the benchmarks that needs nothing but Python.

The programs in `peers/` run in the peer's own virtual environment and use only this; `kit` has the rest.

A figure keeps all its values, one a round. The best of them is what the machine can do when nobody disturbs it; the median beside it
and the noise of the document say how far that may be trusted.
"""

from __future__ import annotations

import os
import platform
import signal
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

__all__ = ["Figure", "document", "end_when_told", "interleave", "pin", "pss", "quantile", "rounded", "spend"]


class Figure:
    """One measured quantity: its values, one a round, and what it is held against.

    `target` is an absolute one, or, with a `floor`, the share of that figure which must be reached in the same run: the best of the one
    against the best of the other, so that a disturbed round of the floor helps nobody. More is better unless `less` says otherwise. `work` names the row of the table of peers that it belongs to (see `works`). `curve` is
    (panel, line, how many): a point of the chart that shows whether the cost of one stays flat as they grow."""

    def __init__(
        self,
        name: str,
        unit: str,
        values: Sequence[float],
        *,
        less: bool = False,
        target: float | None = None,
        floor: Figure | None = None,
        note: str = "",
        work: str = "",
        curve: tuple[str, str, int] | None = None,
    ) -> None:
        self.name = name
        self.unit = unit
        self.values = list(values)
        self.less = less
        self.target = target
        self.floor = floor
        self.note = note
        self.work = work
        self.curve = curve

    @property
    def best(self) -> float:
        return min(self.values) if self.less else max(self.values)

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def ratios(self) -> list[float]:
        return (
            [value / other for value, other in zip(self.values, self.floor.values, strict=True)] if self.floor else []
        )

    @property
    def held(self) -> float:
        """What is held against the target: the best value, or its share of the floor's best."""
        return self.best / self.floor.best if self.floor else self.best

    @property
    def met(self) -> bool | None:
        """Whether the best meets the target; None when there is none."""
        if self.target is None:
            return None
        return self.held <= self.target if self.less else self.held >= self.target

    def shown(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "name": self.name,
            "unit": self.unit,
            "best": rounded(self.best),
            "median": rounded(self.median),
            "values": [rounded(value) for value in self.values],
            "less_is_better": self.less,
        }
        if self.floor is not None:
            found |= {
                "floor": self.floor.name,
                "floor_best": rounded(self.floor.best),
                "ratio_median": round(statistics.median(self.ratios), 3),
                "ratio_best": round(self.held, 3),
            }
        if self.target is not None:
            found |= {"target": self.target, "met": self.met}
        for key, value in (("note", self.note), ("work", self.work), ("curve", self.curve)):
            if value:
                found[key] = value
        return found


def rounded(value: float) -> float:
    return round(value) if abs(value) >= 1_000 else float(f"{value:.4g}")


def document(measure: Callable[[], list[Figure]]) -> dict[str, Any]:
    """The figures with the machine that they were measured on and how noisy it was."""
    before = _spins()
    load = os.getloadavg()[0]
    figures = measure()
    spins = before + _spins()
    return {
        "figures": [figure.shown() for figure in figures],
        "machine": {
            "cpu": _cpu_name(),
            "cores": len(os.sched_getaffinity(0)),
            "python": platform.python_version(),
            "kernel": platform.release(),
        },
        # The same fixed piece of pure Python, timed before and after: 1.0 is a machine that nobody else uses.
        "noise": {
            "slowest_to_fastest_spin": round(max(spins) / min(spins), 2),
            "load_before": round(load, 1),
            "load_after": round(os.getloadavg()[0], 1),
        },
    }


def _spins() -> list[float]:
    taken = []
    for _ in range(10):
        begin = time.perf_counter()
        sum(i * i for i in range(100_000))
        taken.append(time.perf_counter() - begin)
    return taken


def _cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def pin(cores: str) -> None:
    """Keep this process, and all that it starts, on these cores ("0,1"; nothing for all)."""
    if cores:
        os.sched_setaffinity(0, {int(core) for core in cores.split(",")})


def end_when_told() -> None:
    """Let SIGTERM end this program as an error would: what it has started is ended with it."""
    signal.signal(signal.SIGTERM, _out_of_time)


def _out_of_time(number: int, frame: FrameType | None) -> None:
    raise SystemExit(1)


_until = [float("inf")]  # when no further round begins


def spend(seconds: float) -> None:
    """From now on let `interleave` begin no round that would end after so many seconds; two rounds are always run."""
    _until[0] = time.monotonic() + seconds


def interleave(ways: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Run every way once a round, in turns; each returns its figure."""
    values: dict[str, list[float]] = {name: [] for name in ways}
    longest = 0.0
    for number in range(rounds):
        started = time.monotonic()
        if number >= 2 and started + longest > _until[0]:
            print(f"{number} of {rounds} rounds: the time is spent", file=sys.stderr, flush=True)
            break
        for name, way in ways.items():
            begin = time.perf_counter()
            values[name].append(way())
            took = time.perf_counter() - begin
            print(f"  round {number + 1}: {name}: {values[name][-1]:.4g} ({took:.1f} s)", file=sys.stderr, flush=True)
        longest = max(longest, time.monotonic() - started)
    return values


def quantile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def pss(*pids: int) -> float:
    """MB that these processes take, shared pages split among those who share them; who has ended takes none."""
    total = 0
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1_000
