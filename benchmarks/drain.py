"""Is the server still there for everybody while a million tasks drain?

They are one array, and then 1,000 arrays, on two agents with --no-work. Meanwhile a client reads tasks and submits small ones, one request after the
other on a kept connection. The array, or the arrays, are one job; the client's requests come beside it."""

from __future__ import annotations

import random
import sys
import threading
import time
from typing import Any

from health import Stretch
from kit import Figure, Options, Server, main, quantile, served

COUNT = 1_000_000
FORMS = ("one array", "1,000 arrays")
SMALL = b'{"name":"small","command":"true"}'
PAUSE = 0.004  # seconds between two requests


def job(form: str, count: int) -> dict[str, Any]:
    if form == "one array":
        return {"name": form, "tasks": {"t": {"command": ["true"], "array": count}}}
    return {
        "name": form,
        "tasks": {f"t{number}": {"command": ["true"], "array": max(1, count // 1_000)} for number in range(1_000)},
    }


def asked(server: Server, tasks: list[str], each: int, over: threading.Event) -> tuple[list[float], list[float]]:
    """Milliseconds of reads and of submissions, until it is over."""
    reads: list[float] = []
    submissions: list[float] = []
    while not over.wait(PAUSE):
        task = f"{random.choice(tasks)}.{random.randrange(each)}" if len(reads) % 2 else random.choice(tasks)
        begin = time.perf_counter()
        server.ask("GET", f"/api/v1/tasks/{task}")
        reads.append((time.perf_counter() - begin) * 1_000)
        begin = time.perf_counter()
        server.ask("POST", "/api/v1/tasks", SMALL)
        submissions.append((time.perf_counter() - begin) * 1_000)
    return reads, submissions


def drain(form: str, count: int) -> list[float]:
    with served(agents=2, cpus=2, no_work=True) as server:
        server.run({"name": "warm", "tasks": {"t": {"command": ["true"], "array": 2_000}}})
        stretch = Stretch(server)
        begin = time.perf_counter()
        submitted = server.submit(job(form, count))
        accepted = time.perf_counter() - begin
        tasks = [task["task_id"] for task in server.ask("GET", f"/api/v1/jobs/{submitted}")["graph"]]
        over, ended = threading.Event(), []

        def wait() -> None:
            ended.append(Server(server.cluster).wait(submitted))
            over.set()

        waiting = threading.Thread(target=wait)
        waiting.start()
        reads, submissions = asked(server, tasks, count // len(tasks), over)
        waiting.join()
        took = time.perf_counter() - begin
        (late,) = stretch.lag(0.999)
    if not ended or ended[0]["status"] != "SUCCEEDED":
        raise RuntimeError(f"the job did not end well: {ended}")
    print(f"{form}: {count / took:,.0f} tasks/s, {len(reads)} reads", file=sys.stderr)
    return [count / accepted, count / took, quantile(reads, 0.99), quantile(submissions, 0.99), late]


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
