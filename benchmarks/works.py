"""The works by which Styx and its peers are compared: one row of the README's table each.

A question of ours marks the figure that answers a work with `work=`; a peer's program does the same. Whatever is not marked stands in
the long table only.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["PEERS", "SLOTS", "WORKS", "Work"]

SLOTS = 2  # what runs at once, of Styx and of every peer

PEERS = {
    "hyperqueue": "HyperQueue",
    "dask": "Dask",
    "ray": "Ray",
    "parsl": "Parsl",
    "skypilot": "SkyPilot",
}  # the module in `peers/`, its requirements beside it, and the column


class Work(NamedTuple):
    """A row: its title, its name in a sentence and in the chart, its unit, and how much of it is done."""

    title: str
    name: str
    unit: str
    count: int = 1
    less: bool = False
    charted: bool = False


WORKS = {
    "processes": Work("10,000 x `true` as processes", "true as processes", "tasks/s", 10_000, charted=True),
    "nothing": Work(
        "50,000 tasks without work (theirs: a function that returns None)", "tasks without work", "tasks/s", 50_000,
        charted=True,
    ),
    "dag": Work("DAG of 100 layers x 100, 2 needs each, no work", "DAG of 100 x 100, no work", "tasks/s", 10_000, charted=True),
    "chain": Work("chain of 2,000, no work", "chain of 2,000, no work", "hops/s", 2_000, charted=True),
    "array": Work("100,000 submitted in bulk as one array", "array submitted", "tasks/s", 100_000),
    "bulk": Work(
        "100,000 different tasks submitted in bulk", "different tasks submitted in bulk", "tasks/s", 100_000,
        charted=True,
    ),
    "submit-p50": Work("one submission, p50", "one submission", "ms", 500, less=True),
    "submit-p99": Work("one submission, p99", "its p99", "ms", 500, less=True),
    "end-process": Work(
        "submission to known end with a process, p50", "one process, submission to known end", "ms", 100, less=True,
        charted=True,
    ),
    "end-nothing": Work("submission to known end without work, p50", "the same without work", "ms", 200, less=True),
    "pss-server": Work("server, idle, PSS", "memory of an idle server", "MB", less=True, charted=True),
    "pss-worker": Work("worker with its helpers, idle, PSS", "memory of an idle worker", "MB", less=True),
    "healthy": Work("server start to healthy", "start to healthy", "ms", less=True),
    "first": Work("start to the end of a first task", "start to the end of a first task", "ms", less=True, charted=True),
    "help": Work("`--help`, the whole process", "--help", "ms", less=True),
    "whole": Work(
        "`styx run -- true` embedded, the whole process (theirs: `sky launch --dryrun`)", "a command's whole process",
        "ms", less=True,
    ),
}  # fmt: skip
