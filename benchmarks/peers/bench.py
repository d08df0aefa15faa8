"""What every peer's program needs: rounds of a work within a span of time, and one document at the end.

    with Peer("dask", version, "what handicaps it") as peer:
        peer.measure("nothing", lambda count: rate(count, run))
        peer.absent("array", "why it cannot do this")

A work that fails, or the end of the time that the program is given, ends the program; what was measured by then is printed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

from figures import Figure, document, end_when_told, pin, pss, quantile
from orphans import adopt, end_all
from works import WORKS

__all__ = ["Peer", "free_port", "latencies", "pss", "quantile", "rate", "stop", "until"]


class Peer:
    """A peer under measurement: entering reads the options and pins this process, leaving prints the document.

    Whatever the peer prints on standard output goes to standard error, so that the document stands alone."""

    def __init__(self, key: str, version: str, *handicaps: str) -> None:
        self.key = key
        self.version = version
        self.handicaps = list(handicaps)
        self._figures: list[Figure] = []
        self._absent: dict[str, str] = {}
        parser = argparse.ArgumentParser(description=f"{key}: the works of works.py")
        parser.add_argument("--rounds", type=int, default=3)
        parser.add_argument(
            "--seconds", type=float, default=25, help="of a work: none begins later than this, save a second one"
        )
        parser.add_argument("--scale", type=float, default=1.0, help="share of the full amount of work (1)")
        parser.add_argument("--cores", default="", help="cores to run on, such as 0,1 (all)")
        self._options = parser.parse_args()
        pin(self._options.cores)
        os.environ.pop("PYTHONPATH", None)  # our own modules are not for the peer's processes
        os.environ["PATH"] = f"{sys.prefix}/bin:{os.environ['PATH']}"  # where its programs are
        self.folder = Path(tempfile.mkdtemp(prefix=f"{key}-"))
        os.environ["TMPDIR"] = str(self.folder)  # what the peer leaves behind goes with it
        os.chdir(self.folder)
        self._out = os.dup(1)
        os.dup2(2, 1)

    def __enter__(self) -> Peer:
        adopt()
        end_when_told()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if kind is not None:
            why = "the time was spent" if kind is SystemExit else f"ended with {kind.__name__}"
            done = {figure.work for figure in self._figures} | set(self._absent)
            self.absent(" ".join(work for work in WORKS if work not in done), why)
        found = document(lambda: self._figures)
        named = {"peer": self.key, "version": self.version, "handicaps": self.handicaps, "absent": self._absent}
        options = {"rounds": self._options.rounds, "scale": self._options.scale}
        os.write(self._out, json.dumps(named | options | found, indent=1).encode() + b"\n")
        end_all()
        os.chdir("/")
        shutil.rmtree(self.folder, ignore_errors=True)
        return False

    def measure(
        self,
        works: str,
        way: Callable[[int], float | Sequence[float]],
        *,
        most: int | None = None,
        note: str = "",
        notes: Mapping[str, str] | None = None,
    ) -> None:
        """Rounds of one work, or of several that the same run answers ("a b", and `way` gives one value each).

        `most` is how much of it is done at most, where the full amount would take minutes; the `note` should say so. `notes` tells several apart."""
        keys = works.split()
        count = WORKS[keys[0]].count
        if count > 1:
            count = max(20, round(min(count, most or count) * self._options.scale))
        values: list[Sequence[float]] = []
        spent = longest = 0.0
        while len(values) < self._options.rounds:
            span = self._options.seconds
            if longest > span or (len(values) >= 2 and spent + longest > span):
                break
            begin = time.perf_counter()
            value = way(count)
            took = time.perf_counter() - begin
            values.append((value,) if isinstance(value, float | int) else value)
            spent, longest = spent + took, max(longest, took)
            figures = ", ".join(f"{one:.4g} {WORKS[key].unit}" for key, one in zip(keys, values[-1], strict=True))
            print(f"  {self.key}: {works}: {figures} ({took:.1f} s)", file=sys.stderr, flush=True)
        for key, column in zip(keys, zip(*values, strict=True), strict=True):
            work = WORKS[key]
            self._figures.append(
                Figure(work.title, work.unit, column, less=work.less, note=(notes or {}).get(key, note), work=key)
            )

    def absent(self, works: str, why: str) -> None:
        """What it cannot do, or what would mean nothing."""
        self._absent |= dict.fromkeys(works.split(), why)


def rate(count: int, run: Callable[[], object]) -> float:
    """How many a second."""
    begin = time.perf_counter()
    run()
    return count / (time.perf_counter() - begin)


def latencies(count: int, run: Callable[[], object], *, pause: float = 0.0) -> list[float]:
    """Milliseconds of each of so many runs, one after the other, after some that are not counted. `pause` seconds lie before each, for
    a peer that gathers what comes soon after."""
    taken = []
    for number in range(-20, count):
        time.sleep(pause)
        begin = time.perf_counter()
        run()
        if number >= 0:
            taken.append((time.perf_counter() - begin) * 1_000)
    return taken


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(what: str, condition: Callable[[], object], *, seconds: float = 60.0, pause: float = 0.005) -> None:
    """Wait until it holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:.0f} s: {what}")
        time.sleep(pause)


def stop(*processes: subprocess.Popen[bytes]) -> None:
    """Kill them, in this order: nothing of theirs is kept."""
    for process in processes:
        process.kill()
        process.wait()
