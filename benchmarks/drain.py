"""Is the server still there for everybody while a million tasks drain?

They are one array, then 1,000 arrays, and then as many different tasks, on two agents with --no-work. Meanwhile a client reads tasks and submits
small ones, one request after the other on a kept connection, from when the first job is accepted: different tasks come in ten jobs, so that
the others are still being submitted then."""

from __future__ import annotations

import json
import random
import sys
import threading
import time

from health import Stretch
from kit import Figure, Options, Server, main, quantile, served

COUNT = 1_000_000
BODY = 100_000  # different tasks in one request, the most that the limit of a body lets through
FORMS = ("one array", "1,000 arrays", "different tasks")
SMALL = b'{"name":"small","command":"true"}'
PAUSE = 0.004  # seconds between two requests


def bodies(form: str, count: int) -> list[bytes]:
    """The requests that submit so many tasks."""
    if form == "one array":
        jobs = [{"t": {"command": ["true"], "array": count}}]
    elif form == "1,000 arrays":
        jobs = [{f"t{number}": {"command": ["true"], "array": max(1, count // 1_000)} for number in range(1_000)}]
    else:
        jobs = [
            {f"t{number}": {"command": ["echo", str(number)]} for number in range(first, min(first + BODY, count))}
            for first in range(0, count, BODY)
        ]
    return [json.dumps({"name": form, "tasks": tasks}).encode() for tasks in jobs]


class Drain(threading.Thread):
    """Submits them all and waits for their ends. `took`: seconds from the first submission to the last known end."""

    def __init__(self, server: Server, requests: list[bytes]) -> None:
        super().__init__()
        self._server = Server(server.cluster)
        self._requests = requests
        self.jobs: list[str] = []
        self.first = threading.Event()  # one is accepted
        self.over = threading.Event()
        self.accepted = self.took = 0.0
        self.statuses: list[str] = []

    def run(self) -> None:
        try:
            begin = time.perf_counter()
            for request in self._requests:
                self.jobs.append(self._server.submit(request))
                self.first.set()
            self.accepted = time.perf_counter() - begin
            self.statuses = [self._server.wait(job)["status"] for job in self.jobs]
            self.took = time.perf_counter() - begin
        finally:
            self.first.set()
            self.over.set()


def asked(server: Server, tasks: list[str], over: threading.Event) -> tuple[list[float], list[float]]:
    """Milliseconds of reads and of submissions, until it is over."""
    reads: list[float] = []
    submissions: list[float] = []
    while not over.wait(PAUSE):
        task = random.choice(tasks)
        begin = time.perf_counter()
        server.ask("GET", f"/api/v1/tasks/{task}")
        reads.append((time.perf_counter() - begin) * 1_000)
        begin = time.perf_counter()
        server.ask("POST", "/api/v1/tasks", SMALL)
        submissions.append((time.perf_counter() - begin) * 1_000)
    return reads, submissions


def readable(server: Server, job: str, form: str, count: int) -> list[str]:
    """Ids of some tasks of the job: of each array, and of elements in it."""
    ids = [task["task_id"] for task in server.ask("GET", f"/api/v1/jobs/{job}/tasks?limit=1000")["items"]]
    if form == "different tasks":
        return ids
    each = max(1, count // len(ids))
    return ids + [f"{random.choice(ids)}.{random.randrange(each)}" for _ in range(1_000)]


def drain(form: str, count: int) -> list[float]:
    with served(agents=2, cpus=2, no_work=True) as server:
        server.run({"name": "warm", "tasks": {"t": {"command": ["true"], "array": 2_000}}})
        requests = bodies(form, count)
        stretch = Stretch(server)
        work = Drain(server, requests)
        work.start()
        work.first.wait()
        reads, submissions = asked(server, readable(server, work.jobs[0], form, count), work.over)
        work.join()
        (late,) = stretch.lag(0.999)
    if set(work.statuses) != {"SUCCEEDED"}:
        raise RuntimeError(f"the jobs did not end well: {work.statuses}")
    print(f"{form}: {count / work.took:,.0f} tasks/s, {len(reads)} reads", file=sys.stderr)
    return [count / work.accepted, count / work.took, quantile(reads, 0.99), quantile(submissions, 0.99), late]


def measure(options: Options) -> list[Figure]:
    figures: list[Figure] = []
    count = options.of(COUNT)
    for form in FORMS:
        columns = list(zip(*(drain(form, count) for _ in range(options.rounds)), strict=True))
        what = f"{count:,} as {form}"
        figures += [
            Figure(f"submitted, {what}", "tasks/s", columns[0]),
            Figure(f"drained, {what}", "tasks/s", columns[1]),
            Figure(f"GET of a task meanwhile, p99, {what}", "ms", columns[2], less=True, target=25.0),
            Figure(f"small submission meanwhile, p99, {what}", "ms", columns[3], less=True, target=25.0),
            Figure(f"delay of the server's loop, p99.9, {what}", "ms", columns[4], less=True, target=20.0),
        ]
    return figures


if __name__ == "__main__":
    main("Is the server there for everybody while a million tasks drain?", measure, rounds=1)
