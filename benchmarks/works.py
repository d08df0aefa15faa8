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
    """`count` is how much of it is done; `short` names it in the chart, in which only a work with a short name has a place."""

    title: str
    unit: str
    count: int = 1
    less: bool = False
    short: str = ""


WORKS = {
    "processes": Work("10,000 x `true` as processes", "tasks/s", 10_000, short="10,000 x true as processes"),
    "nothing": Work(
        "50,000 tasks without work (theirs: a function that returns None)", "tasks/s", 50_000,
        short="50,000 tasks without work",
    ),
    "dag": Work(
        "DAG of 100 layers x 100, 2 needs each, no work", "tasks/s", 10_000, short="DAG, 100 layers x 100, no work"
    ),
    "chain": Work("chain of 2,000, no work", "hops/s", 2_000, short="chain of 2,000, no work"),
    "array": Work("100,000 submitted in bulk as one array", "tasks/s", 100_000),
    "bulk": Work(
        "100,000 different tasks submitted in bulk", "tasks/s", 100_000, short="100,000 different tasks submitted"
    ),
    "submit-p50": Work("one submission, p50", "ms", 500, less=True),
    "submit-p99": Work("one submission, p99", "ms", 500, less=True),
    "end-process": Work(
        "submission to known end with a process, p50", "ms", 100, less=True, short="submission to known end, a process"
    ),
    "end-nothing": Work("submission to known end without work, p50", "ms", 200, less=True),
    "pss-server": Work("server, idle, PSS", "MB", less=True, short="memory of an idle server (PSS)"),
    "pss-worker": Work("worker with its helpers, idle, PSS", "MB", less=True),
    "healthy": Work("server start to healthy", "ms", less=True),
    "first": Work("start to the end of a first task", "ms", less=True, short="start to the end of a first task"),
    "help": Work("`--help`, the whole process", "ms", less=True),
    "whole": Work(
        "`styx run -- true` embedded, the whole process (theirs: `sky launch --dryrun`)", "ms", less=True
    ),
}  # fmt: skip
